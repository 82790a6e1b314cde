import type { Clock, ConsolePort, PlatformChip, PlatformDefinition } from '@polyvisor/plugin-api';
import type { IrqLine, PortDevice } from '../../bus/device.ts';
import { MmioBus } from '../../bus/mmio-bus.ts';
import { PortBus } from '../../bus/port-bus.ts';
import type { AcpiPlatform } from '../../devices/acpi/platform.ts';
import { PowerManagement } from '../../devices/acpi/power-management.ts';
import { PM_PORTS } from '../../devices/acpi/spec.ts';
import { KeyboardController } from '../../devices/i8042/i8042.ts';
import { COMMAND_PORT, DATA_PORT } from '../../devices/i8042/spec.ts';
import { ConfigAddressPorts, ConfigDataPorts, PciBus, wireOf } from '../../devices/pci/bus.ts';
import { hostBridge } from '../../devices/pci/host-bridge.ts';
import { CONFIG_ADDRESS_PORT, CONFIG_DATA_PORT } from '../../devices/pci/spec.ts';
import { PicPair } from '../../devices/pic/pic-pair.ts';
import { Pit } from '../../devices/pit/pit.ts';
import { HARD_RESET, RESET_CONTROL_PORT, ResetControl } from '../../devices/reset/reset-control.ts';
import { SystemControlPortA, SystemControlPortB } from '../../devices/system-control/system-control.ts';
import { UART_PORTS } from '../../devices/uart/spec.ts';
import { Uart } from '../../devices/uart/uart.ts';
import { Irq, PCI_GSI, PCI_IRQ, PCI_MEMORY, PCI_PORTS, Port } from './layout.ts';

/** What interrupts a vCPU from outside. */
export interface InterruptSource {
  /** INTR is asserted. */
  hasInterrupt(): boolean;
  /** The vector of the interrupt, which is then in service. */
  acknowledge(): number;
}

/** What the chips need of the machine. */
export interface PlatformHost {
  readonly clock: Clock;
  readonly console: ConsolePort;
  powerOff(): void;
  reset(): void;
  /** Something that a vCPU may have to notice has changed: INTR, NMI. */
  kick(vcpu: number): void;
  log(message: string): void;
}

/** Nobody listens at the other end. */
const UNCONNECTED: IrqLine = { set: () => {} };

/** The chips of one machine, placed and wired. */
export class PcPlatform {
  readonly ports: PortBus;
  readonly mmio: MmioBus;
  /** Where devices can be plugged in before the guest starts. */
  readonly pci: PciBus | undefined;
  readonly #definition: PlatformDefinition;
  readonly #host: PlatformHost;
  readonly #pic: PicPair | undefined;
  readonly #uart: Uart | undefined;

  /** @throws PolyvisorError PV2020 if two chips claim one port or address */
  constructor(definition: PlatformDefinition, host: PlatformHost) {
    this.#definition = definition;
    this.#host = host;
    this.ports = new PortBus(host.log);
    this.mmio = new MmioBus(host.log);
    this.#pic = this.#has('pic') ? this.#placePic() : undefined;
    if (this.#has('pit')) this.#placeTimers();
    this.#uart = this.#has('uart') ? this.#placeUart() : undefined;
    if (this.#has('keyboardController')) this.#placeKeyboardController();
    if (this.#has('acpi')) this.#placePowerManagement();
    this.pci = this.#has('pci') ? this.#placePci() : undefined;
  }

  #has(chip: PlatformChip): boolean {
    return this.#definition.chips.has(chip);
  }

  #placePic(): PicPair {
    const pic = new PicPair({ set: (asserted) => asserted && this.#host.kick(0) });
    this.ports.claim('pic', Port.picMaster, 2, pic.masterPorts);
    this.ports.claim('pic', Port.picSlave, 2, pic.slavePorts);
    this.ports.claim('pic', Port.elcr, 2, pic.elcrPorts);
    // What ACPI and PCI drive is level triggered.
    const levels = [Irq.sci, ...PCI_IRQ].reduce((bits, irq) => bits | (1 << irq), 0);
    pic.elcrPorts.writePort(0, 1, levels & 0xff);
    pic.elcrPorts.writePort(1, 1, levels >> 8);
    return pic;
  }

  /** An interrupt line of the ISA bus. */
  #isaLine(irq: number): IrqLine {
    return this.#pic?.line(irq) ?? UNCONNECTED;
  }

  #placeTimers(): void {
    const { clock } = this.#host;
    const pit = new Pit(clock, this.#isaLine(Irq.timer));
    this.ports.claim('pit', Port.pit, 4, pit);
    this.ports.claim('system control port B', Port.systemControlB, 1, new SystemControlPortB(clock, pit));
    // Addresses always have all their bits: the A20 gate of the PC/AT is kept and has no effect.
    const portA = new SystemControlPortA(
      () => this.#host.reset(),
      () => {},
    );
    this.ports.claim('system control port A', Port.systemControlA, 1, portA);
  }

  #placeUart(): Uart {
    const { clock, console } = this.#host;
    const uart = new Uart({ irq: this.#isaLine(Irq.uart), clock, console });
    this.ports.claim('uart', Port.uart, UART_PORTS, uart);
    return uart;
  }

  #placeKeyboardController(): void {
    const controller = new KeyboardController({
      keyboardIrq: this.#isaLine(Irq.keyboard),
      auxiliaryIrq: this.#isaLine(Irq.mouse),
      reset: () => this.#host.reset(),
    });
    this.ports.claim('keyboard controller', DATA_PORT, 1, controller.dataPort);
    this.ports.claim('keyboard controller', COMMAND_PORT, 1, controller.commandPort);
  }

  #placePowerManagement(): void {
    const { clock } = this.#host;
    const sci = this.#isaLine(Irq.sci);
    const block: PortDevice = new PowerManagement({ sci, clock, powerOff: () => this.#host.powerOff() });
    this.ports.claim('acpi', Port.powerManagement, PM_PORTS, block);
  }

  #placePci(): PciBus {
    const bus = new PciBus(this.#pciWires(), () => {});
    const selected = new ConfigAddressPorts(new ResetControl(() => this.#host.reset()));
    this.ports.claim('pci', CONFIG_ADDRESS_PORT, 4, selected);
    this.ports.claim('pci', CONFIG_DATA_PORT, 4, new ConfigDataPorts(bus, selected));
    this.ports.subtractive = bus;
    this.mmio.subtractive = bus;
    bus.plug(hostBridge(), 0);
    return bus;
  }

  /** Two wires share an IRQ of the 8259 pair: it is asserted while one of them is. */
  #pciWires(): IrqLine[] {
    const levels = [false, false, false, false];
    const lines = PCI_IRQ.map((irq) => this.#isaLine(irq));
    return PCI_IRQ.map((irq, wire) => ({
      set: (asserted) => {
        levels[wire] = asserted;
        lines[wire].set(levels.some((level, other) => level && PCI_IRQ[other] === irq));
      },
    }));
  }

  /** What interrupts a vCPU; `undefined`: there is no interrupt controller. */
  interruptsOf(vcpu: number): InterruptSource | undefined {
    const pic = this.#pic;
    if (!pic || vcpu !== 0) return undefined;
    return { hasInterrupt: () => pic.hasDeliverable(), acknowledge: () => pic.acknowledge() };
  }

  /** Give PCI devices their addresses, as firmware does before it starts anything. */
  assignPciResources(): void {
    this.pci?.assignResources({ memory: PCI_MEMORY, ports: PCI_PORTS }, PCI_IRQ);
  }

  /** What the ACPI tables tell; `undefined`: there are none. */
  describe(): AcpiPlatform | undefined {
    if (!this.#has('acpi')) return undefined;
    return {
      vcpus: this.#definition.vcpus,
      sciIrq: Irq.sci,
      pmPort: Port.powerManagement,
      pic: this.#has('pic'),
      pit: this.#has('pit'),
      rtc: this.#has('rtc'),
      keyboardController: this.#has('keyboardController'),
      ...(this.#uart && { uart: { port: Port.uart, ports: UART_PORTS, irq: Irq.uart } }),
      ...(this.pci && {
        resetPort: { port: RESET_CONTROL_PORT, value: HARD_RESET },
        pci: {
          memory: PCI_MEMORY,
          gsiOfWire: PCI_GSI,
          irqOfWire: PCI_IRQ,
          wireOf: (slot, pin) => wireOf(slot, pin + 1),
        },
      }),
    };
  }

  /** Hand the console what has been sent to it. */
  flush(): void {
    this.#uart?.flush();
  }
}
