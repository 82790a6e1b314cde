import type { Stateful } from '../../bus/device.ts';
import {
  CASCADE_LEVEL,
  DEFAULT_LEVEL,
  ICW2_VECTOR_MASK,
  ICW3_SLAVE_ID_MASK,
  Icw1,
  Icw4,
  LEVEL_MASK,
  OCW3,
  Ocw2,
  Ocw3,
  POLL_REQUEST,
} from './spec.ts';

export interface PicState {
  /** Levels of the inputs, and of those the edges that have not been acknowledged. */
  lines: number;
  edges: number;
  levelTriggered: number;
  imr: number;
  isr: number;
  /** The level of highest priority: 0 unless rotated. */
  top: number;
  vectorBase: number;
  icw3: number;
  /** The initialization word that comes next on A0 = 1; 0 outside the sequence. */
  nextIcw: 0 | 2 | 3 | 4;
  singleChip: boolean;
  wantsIcw4: boolean;
  initialised: boolean;
  autoEoi: boolean;
  rotateInAutoEoi: boolean;
  specialFullyNested: boolean;
  specialMask: boolean;
  readIsr: boolean;
  poll: boolean;
}

const powerOn = (): PicState => ({
  lines: 0,
  edges: 0,
  levelTriggered: 0,
  imr: 0,
  isr: 0,
  top: 0,
  vectorBase: 0,
  icw3: 0,
  nextIcw: 0,
  singleChip: false,
  wantsIcw4: false,
  initialised: false,
  autoEoi: false,
  rotateInAutoEoi: false,
  specialFullyNested: false,
  specialMask: false,
  readIsr: false,
  poll: false,
});

/** One 8259A. It has no output of its own: whoever changes it looks at {@link pending} afterwards. */
export class Pic8259 implements Stateful<PicState> {
  #state = powerOn();
  readonly #elcrMask: number;
  readonly #levelInputs: number;

  /**
   * @param elcrMask lines whose ELCR bit can be written
   * @param levelInputs lines that are sensed by level whatever the ELCR says
   */
  constructor(elcrMask: number, levelInputs = 0) {
    this.#elcrMask = elcrMask;
    this.#levelInputs = levelInputs;
  }

  saveState(): PicState {
    return { ...this.#state };
  }
  restoreState(state: PicState): void {
    this.#state = { ...state };
  }

  setLine(level: number, asserted: boolean): void {
    const state = this.#state;
    const bit = 1 << level;
    if (asserted && !(state.lines & bit)) state.edges |= bit;
    // An input that falls before INTA takes its request with it ("Interrupt sequence": DEFAULT IR7).
    if (!asserted) state.edges &= ~bit;
    state.lines = asserted ? state.lines | bit : state.lines & ~bit;
  }

  /** The interrupt request register. */
  get irr(): number {
    const { lines, levelTriggered, edges } = this.#state;
    const byLevel = levelTriggered | this.#levelInputs;
    return (lines & byLevel) | (edges & ~byLevel);
  }

  /** The level that asks for the processor, or -1. */
  pending(): number {
    const state = this.#state;
    const requests = this.irr & ~state.imr;
    if (requests === 0 || !state.initialised) return -1;
    const wanted = this.#highest(requests);
    // In special mask mode a masked level in service inhibits nobody ("Special mask mode").
    const inService = state.specialMask ? state.isr & ~state.imr : state.isr;
    if (inService === 0) return wanted;
    const current = this.#highest(inService);
    if (this.#rank(wanted) < this.#rank(current)) return wanted;
    // A slave in service is not locked out by itself ("The special fully nested mode").
    return state.specialFullyNested && wanted === current && this.isCascade(wanted) ? wanted : -1;
  }

  /** Whether a slave answers the second INTA for this level. */
  isCascade(level: number): boolean {
    return level === CASCADE_LEVEL && !this.#state.singleChip && (this.#state.icw3 & (1 << level)) !== 0;
  }
  /** ICW3 of a slave. */
  get slaveId(): number {
    return this.#state.icw3 & ICW3_SLAVE_ID_MASK;
  }

  /** The INTA cycles: answers the level that goes into service, DEFAULT IR7 if there is no request any more. */
  acknowledge(): number {
    const level = this.pending();
    if (level < 0) return DEFAULT_LEVEL;
    const state = this.#state;
    state.edges &= ~(1 << level);
    if (!state.autoEoi) state.isr |= 1 << level;
    else if (state.rotateInAutoEoi) state.top = (level + 1) & 7;
    return level;
  }
  vectorOf(level: number): number {
    return this.#state.vectorBase | level;
  }

  get elcr(): number {
    return this.#state.levelTriggered;
  }
  set elcr(value: number) {
    this.#state.levelTriggered = value & this.#elcrMask;
  }

  /** @param a0 the address pin: 0 or 1 */
  read(a0: number): number {
    const state = this.#state;
    if (state.poll) {
      state.poll = false;
      const requested = this.pending() >= 0;
      return this.acknowledge() | (requested ? POLL_REQUEST : 0);
    }
    if (a0) return state.imr;
    return state.readIsr ? state.isr : this.irr;
  }

  write(a0: number, value: number): void {
    if (a0) this.#writeData(value);
    else if (value & Icw1.INIT) this.#initialise(value);
    else if (value & OCW3) this.#writeOcw3(value);
    else this.#writeOcw2(value >> 5, value & LEVEL_MASK);
  }

  /** ICW1: what the data sheet lists under "Initialization command words", a to f. */
  #initialise(icw1: number): void {
    const { lines, levelTriggered } = this.#state;
    this.#state = {
      ...powerOn(),
      lines,
      levelTriggered,
      icw3: ICW3_SLAVE_ID_MASK,
      nextIcw: 2,
      singleChip: (icw1 & Icw1.SNGL) !== 0,
      wantsIcw4: (icw1 & Icw1.IC4) !== 0,
    };
  }

  #writeData(value: number): void {
    const state = this.#state;
    switch (state.nextIcw) {
      case 2:
        state.vectorBase = value & ICW2_VECTOR_MASK;
        state.nextIcw = state.singleChip ? this.#afterIcw3() : 3;
        break;
      case 3:
        state.icw3 = value;
        state.nextIcw = this.#afterIcw3();
        break;
      case 4:
        state.autoEoi = (value & Icw4.AEOI) !== 0;
        state.specialFullyNested = (value & Icw4.SFNM) !== 0;
        state.nextIcw = 0;
        break;
      default:
        state.imr = value;
        return;
    }
    if (state.nextIcw === 0) state.initialised = true;
  }
  #afterIcw3(): 0 | 4 {
    return this.#state.wantsIcw4 ? 4 : 0;
  }

  #writeOcw3(value: number): void {
    const state = this.#state;
    if (value & Ocw3.ESMM) state.specialMask = (value & Ocw3.SMM) !== 0;
    // Polling overrides a read command in the same word ("Operation control word 3").
    if (value & Ocw3.POLL) state.poll = true;
    else if (value & Ocw3.RR) state.readIsr = (value & Ocw3.RIS) !== 0;
  }

  #writeOcw2(command: number, level: number): void {
    const state = this.#state;
    switch (command) {
      case Ocw2.ROTATE_IN_AEOI_CLEAR:
      case Ocw2.ROTATE_IN_AEOI_SET:
        state.rotateInAutoEoi = command === Ocw2.ROTATE_IN_AEOI_SET;
        break;
      case Ocw2.SET_PRIORITY:
        state.top = (level + 1) & 7;
        break;
      case Ocw2.NON_SPECIFIC_EOI:
      case Ocw2.ROTATE_ON_NON_SPECIFIC_EOI:
        this.#nonSpecificEoi(command === Ocw2.ROTATE_ON_NON_SPECIFIC_EOI);
        break;
      case Ocw2.SPECIFIC_EOI:
      case Ocw2.ROTATE_ON_SPECIFIC_EOI:
        state.isr &= ~(1 << level);
        if (command === Ocw2.ROTATE_ON_SPECIFIC_EOI) state.top = (level + 1) & 7;
        break;
    }
  }

  /** Ends the highest level in service, less those masked in special mask mode ("End of interrupt"). */
  #nonSpecificEoi(rotate: boolean): void {
    const state = this.#state;
    const inService = state.specialMask ? state.isr & ~state.imr : state.isr;
    if (inService === 0) return;
    const level = this.#highest(inService);
    state.isr &= ~(1 << level);
    if (rotate) state.top = (level + 1) & 7;
  }

  #rank(level: number): number {
    return (level - this.#state.top) & 7;
  }
  #highest(levels: number): number {
    const { top } = this.#state;
    const byRank = (levels >> top) | (levels << (8 - top));
    return (31 - Math.clz32(byRank & -byRank) + top) & 7;
  }
}
