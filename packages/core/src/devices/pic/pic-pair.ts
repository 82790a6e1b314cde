import type { IrqLine, PortDevice, Stateful } from '../../bus/device.ts';
import { Pic8259, type PicState } from './pic.ts';
import { CASCADE_LEVEL, DEFAULT_LEVEL, ELCR_MASTER_MASK, ELCR_SLAVE_MASK } from './spec.ts';

export interface PicPairState {
  readonly master: PicState;
  readonly slave: PicState;
  readonly intr: boolean;
}

/** Data bus that nobody drives. */
const FLOATING = 0xff;

/**
 * The interrupt controllers of the PC/AT: IRQ0–7 on the master, IRQ8–15 on the slave, whose INT is the master's IR2.
 * After a change of `intr` to asserted the processor answers, when it can, with {@link acknowledge}.
 */
export class PicPair implements Stateful<PicPairState> {
  /** The slave's INT falls at each INTA and rises for a further request: its level says the same as its edges. */
  readonly #master = new Pic8259(ELCR_MASTER_MASK, 1 << CASCADE_LEVEL);
  readonly #slave = new Pic8259(ELCR_SLAVE_MASK);
  readonly #intr: IrqLine;
  #asserted = false;

  /** Ports 0x20–0x21, 0xA0–0xA1 and 0x4D0–0x4D1. */
  readonly masterPorts: PortDevice = this.#portsOf(this.#master);
  readonly slavePorts: PortDevice = this.#portsOf(this.#slave);
  readonly elcrPorts: PortDevice = {
    cycleBytes: 1,
    readPort: (offset) => (offset === 0 ? this.#master : this.#slave).elcr,
    writePort: (offset, _sizeBytes, value) => {
      (offset === 0 ? this.#master : this.#slave).elcr = value;
      this.#update();
    },
  };

  /** @param intr the INTR pin of the processor, or LINT0 of the local APICs */
  constructor(intr: IrqLine) {
    this.#intr = intr;
  }

  /**
   * @param irq 0 to 15 without 2, which is the slave's
   * @throws RangeError for any other
   */
  line(irq: number): IrqLine {
    if (!Number.isInteger(irq) || irq < 0 || irq > 15 || irq === CASCADE_LEVEL) {
      throw new RangeError(`the interrupt controllers have no input IRQ${irq}`);
    }
    const chip = irq < 8 ? this.#master : this.#slave;
    return {
      set: (asserted) => {
        chip.setLine(irq & 7, asserted);
        this.#update();
      },
    };
  }

  /** The level of `intr`. */
  hasDeliverable(): boolean {
    return this.#asserted;
  }

  /**
   * The processor's INTA cycles. Answers the vector: the spurious one of IRQ7 if the request is gone. (A request that
   * falls takes the slave's INT with it at once, so that no spurious IRQ15 comes about.)
   */
  acknowledge(): number {
    // INT falls at INTA, so that a further request makes an edge.
    this.#drive(false);
    const vector = this.#interruptAcknowledge();
    this.#update();
    return vector;
  }

  #interruptAcknowledge(): number {
    const requested = this.#master.pending() >= 0;
    const level = requested ? this.#master.acknowledge() : DEFAULT_LEVEL;
    if (!requested || !this.#master.isCascade(level)) return this.#master.vectorOf(level);
    return this.#slave.slaveId === CASCADE_LEVEL ? this.#slave.vectorOf(this.#slave.acknowledge()) : FLOATING;
  }

  saveState(): PicPairState {
    return { master: this.#master.saveState(), slave: this.#slave.saveState(), intr: this.#asserted };
  }
  restoreState(state: PicPairState): void {
    this.#master.restoreState(state.master);
    this.#slave.restoreState(state.slave);
    this.#asserted = state.intr;
  }

  #portsOf(chip: Pic8259): PortDevice {
    return {
      cycleBytes: 1,
      readPort: (offset) => {
        const value = chip.read(offset);
        this.#update();
        return value;
      },
      writePort: (offset, _sizeBytes, value) => {
        chip.write(offset, value);
        this.#update();
      },
    };
  }

  #update(): void {
    this.#master.setLine(CASCADE_LEVEL, this.#slave.pending() >= 0);
    this.#drive(this.#master.pending() >= 0);
  }
  #drive(asserted: boolean): void {
    if (this.#asserted === asserted) return;
    this.#asserted = asserted;
    this.#intr.set(asserted);
  }
}
