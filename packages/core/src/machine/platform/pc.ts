import {
  type Clock,
  type ConsolePort,
  type PciConnection,
  type PciDevice,
  type PlatformChip,
  type PlatformDefinition,
  PolyvisorError,
} from '@polyvisor/plugin-api';
import type { IrqLine, PortDevice } from '../../bus/device.ts';
import { MmioBus } from '../../bus/mmio-bus.ts';
import { PortBus } from '../../bus/port-bus.ts';
import { SharedLine } from '../../bus/shared-line.ts';
import type { AcpiPlatform } from '../../devices/acpi/platform.ts';
import { PowerManagement } from '../../devices/acpi/power-management.ts';
import { PM_PORTS } from '../../devices/acpi/spec.ts';
import { ApicBus } from '../../devices/apic-bus/apic-bus.ts';
import { deliverMsi } from '../../devices/apic-bus/msi.ts';
import { Hpet } from '../../devices/hpet/hpet.ts';
import { KeyboardController } from '../../devices/i8042/i8042.ts';
import { COMMAND_PORT, DATA_PORT } from '../../devices/i8042/spec.ts';
import { IoApic } from '../../devices/ioapic/io-apic.ts';
import { LocalApic } from '../../devices/lapic/local-apic.ts';
import { ConfigAddressPorts, ConfigDataPorts, PciBus, type PciWindows, wireOf } from '../../devices/pci/bus.ts';
import { PciFunction } from '../../devices/pci/function.ts';
import { hostBridge } from '../../devices/pci/host-bridge.ts';
import { CONFIG_ADDRESS_PORT, CONFIG_DATA_PORT, Config } from '../../devices/pci/spec.ts';
import { PicPair } from '../../devices/pic/pic-pair.ts';
import { Pit } from '../../devices/pit/pit.ts';
import { HARD_RESET, RESET_CONTROL_PORT, ResetControl } from '../../devices/reset/reset-control.ts';
import { Rtc } from '../../devices/rtc/rtc.ts';
import { SystemControlPortA, SystemControlPortB } from '../../devices/system-control/system-control.ts';
import {
  TEST_IRQ_LINES,
  TEST_MEMORY,
  TestExit,
  TestIrqLines,
  TestMemory,
  TestOutput,
  TestPort,
  TestWord,
} from '../../devices/testdev/test-device.ts';
import { UART_PORTS } from '../../devices/uart/spec.ts';
import { Uart } from '../../devices/uart/uart.ts';
import { TimeStampCounter } from '../tsc.ts';
import { Address, IO_APIC_ID, Irq, PCI_GSI, PCI_IRQ, PCI_MEMORY, PCI_PORTS, Port, TIMER_GSI } from './layout.ts';
import { ProcessorPlatform } from './processor.ts';

/** What the chips need of the machine. */
export interface PlatformHost {
  readonly clock: Clock;
  readonly console: ConsolePort;
  powerOff(): void;
  reset(): void;
  /** The test device's exit port was written. */
  testsDone(status: number): void;
  /** An interrupt has come up that a vCPU may have to notice. */
  kick(vcpu: number): void;
  nmi(vcpu: number): void;
  init(vcpu: number): void;
  startup(vcpu: number, vector: number): void;
  log(message: string): void;
}

/** What the data bus holds when no interrupt controller answers an acknowledge cycle. */
const FLOATING_VECTOR = 0xff;
const IO_APIC_BYTES = 4096;
/** The 8259 pair has inputs for these; the I/O APIC has more. */
const ISA_IRQS = 16;
/** The 8259 pair's own. */
const PIC_CASCADE = 2;
const HPET_BYTES = 1024;

/** A line that leads to those of these that are there. */
const both = (...lines: (IrqLine | undefined)[]): IrqLine => ({
  set: (asserted) => {
    for (const line of lines) line?.set(asserted);
  },
});

/** The chips of one machine, placed and wired. */
export class PcPlatform {
  readonly ports: PortBus;
  readonly mmio: MmioBus;
  /** Where devices can be plugged in before the guest starts. */
  readonly pci: PciBus | undefined;
  readonly #definition: PlatformDefinition;
  readonly #host: PlatformHost;
  /** What each vCPU sees, by its number. */
  readonly processors: readonly ProcessorPlatform[];
  readonly #pic: PicPair | undefined;
  readonly #apicBus = new ApicBus();
  readonly #localApics: readonly LocalApic[];
  readonly #ioApic: IoApic | undefined;
  readonly #ioApicPins = new Map<number, SharedLine>();
  readonly #picInputs = new Map<number, SharedLine>();
  readonly #hpet: Hpet | undefined;
  readonly #uart: Uart | undefined;

  /** @throws PolyvisorError PV2020 if two chips claim one port or address */
  constructor(definition: PlatformDefinition, host: PlatformHost) {
    this.#definition = definition;
    this.#host = host;
    this.ports = new PortBus(host.log);
    this.mmio = new MmioBus(host.log);
    this.#pic = this.#has('pic') ? this.#placePic() : undefined;
    const counters = Array.from({ length: definition.vcpus }, () => new TimeStampCounter(host.clock));
    this.#localApics = this.#has('localApic') ? counters.map((tsc, id) => this.#makeLocalApic(id, tsc)) : [];
    this.#ioApic = this.#has('ioApic') ? this.#placeIoApic() : undefined;
    this.processors = counters.map((tsc, id) => {
      const interrupts = id === 0 ? this.#pic : undefined;
      return new ProcessorPlatform({ mmio: this.mmio, tsc, apic: this.#localApics[id], interrupts });
    });
    this.#hpet = this.#has('hpet') ? this.#placeHpet() : undefined;
    if (this.#has('pit')) this.#placeTimers();
    if (this.#has('rtc')) this.#placeRtc();
    this.#uart = this.#has('uart') ? this.#placeUart() : undefined;
    if (this.#has('keyboardController')) this.#placeKeyboardController();
    if (this.#has('acpi')) this.#placePowerManagement();
    this.pci = this.#has('pci') ? this.#placePci() : undefined;
    if (this.#has('testDevice')) this.#placeTestDevice();
  }

  #has(chip: PlatformChip): boolean {
    return this.#definition.chips.has(chip);
  }

  #placePic(): PicPair {
    const pic = new PicPair({
      set: (asserted) => {
        if (this.#localApics.length > 0) for (const apic of this.#localApics) apic.lint0.set(asserted);
        else if (asserted) this.#host.kick(0);
      },
    });
    this.ports.claim('pic', Port.picMaster, 2, pic.masterPorts);
    this.ports.claim('pic', Port.picSlave, 2, pic.slavePorts);
    this.ports.claim('pic', Port.elcr, 2, pic.elcrPorts);
    // What ACPI and PCI drive is level triggered.
    const levels = [Irq.sci, ...PCI_IRQ].reduce((bits, irq) => bits | (1 << irq), 0);
    pic.elcrPorts.writePort(0, 1, levels & 0xff);
    pic.elcrPorts.writePort(1, 1, levels >> 8);
    return pic;
  }

  #makeLocalApic(id: number, tsc: TimeStampCounter): LocalApic {
    const host = this.#host;
    return new LocalApic({
      id,
      bootstrap: id === 0,
      clock: host.clock,
      bus: this.#apicBus,
      processor: {
        interruptPending: () => host.kick(id),
        nmi: () => host.nmi(id),
        smi: () => host.log(`SMI to processor ${id}: there is no system-management mode`),
        init: () => host.init(id),
        startup: (vector) => host.startup(id, vector),
      },
      acknowledgeExternal: () => this.#pic?.acknowledge() ?? FLOATING_VECTOR,
      nsOfTsc: (low, high) => tsc.nsOf(low, high),
    });
  }

  #placeIoApic(): IoApic {
    const ioApic = new IoApic(this.#apicBus, IO_APIC_ID);
    this.mmio.claim('I/O APIC', Address.ioApic, IO_APIC_BYTES, ioApic);
    return ioApic;
  }

  /** A source at an input of the I/O APIC; inputs are shared. */
  #ioApicPin(pin: number): IrqLine | undefined {
    if (!this.#ioApic) return undefined;
    let line = this.#ioApicPins.get(pin);
    if (!line) this.#ioApicPins.set(pin, (line = new SharedLine(this.#ioApic.pin(pin))));
    return line.source();
  }
  /** A source at an input of the 8259 pair. */
  #picInput(irq: number): IrqLine | undefined {
    if (!this.#pic) return undefined;
    let line = this.#picInputs.get(irq);
    if (!line) this.#picInputs.set(irq, (line = new SharedLine(this.#pic.line(irq))));
    return line.source();
  }
  /** An interrupt of the ISA bus: an input of the 8259 pair and one of the I/O APIC. */
  #isaLine(irq: number): IrqLine {
    return both(this.#picInput(irq), this.#ioApicPin(irq === Irq.timer ? TIMER_GSI : irq));
  }

  /** A rising edge at the timer's interrupt, whatever level the 8254 drives. */
  raiseTimerInterrupt(): void {
    this.#isaLine(Irq.timer);
    this.#picInputs.get(Irq.timer)?.strobe();
    this.#ioApicPins.get(TIMER_GSI)?.strobe();
  }

  #placeHpet(): Hpet {
    const hpet = new Hpet({
      clock: this.#host.clock,
      route: (input) => this.#ioApicPin(input) ?? both(),
      irq0: this.#isaLine(Irq.timer),
      irq8: this.#isaLine(Irq.rtc),
    });
    this.mmio.claim('hpet', Address.hpet, HPET_BYTES, hpet);
    return hpet;
  }

  #placeTimers(): void {
    const { clock } = this.#host;
    const pit = new Pit(clock, this.#hpet?.intervalTimer ?? this.#isaLine(Irq.timer));
    this.ports.claim('pit', Port.pit, 4, pit);
    this.ports.claim('system control port B', Port.systemControlB, 1, new SystemControlPortB(clock, pit));
    // Addresses always have all their bits: the A20 gate of the PC/AT is kept and has no effect.
    const portA = new SystemControlPortA(
      () => this.#host.reset(),
      () => {},
    );
    this.ports.claim('system control port A', Port.systemControlA, 1, portA);
  }

  #placeRtc(): void {
    const { clock } = this.#host;
    const memory = { below4GBytes: this.#definition.memoryBytes, above4GBytes: 0 };
    const irq8 = this.#hpet?.realTimeClock ?? this.#isaLine(Irq.rtc);
    // Bit 7 of its port gates the board's NMI sources; there are none.
    const maskNmi = () => {};
    this.ports.claim('rtc', Port.rtc, 2, new Rtc({ clock, irq8, memory, maskNmi }));
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

  #placeTestDevice(): void {
    const text = (value: number) => {
      this.flush();
      this.#host.console.write(Uint8Array.of(value));
    };
    const lines = Array.from({ length: TEST_IRQ_LINES }, (_, pin) =>
      pin < ISA_IRQS && pin !== PIC_CASCADE ? this.#isaLine(pin) : this.#ioApicPin(pin),
    );
    this.ports.claim('test device word', TestPort.word, 4, new TestWord());
    this.ports.claim('test device text', TestPort.text, 1, new TestOutput(text));
    this.ports.claim('test device exit', TestPort.exit, 4, new TestExit((status) => this.#host.testsDone(status)));
    this.ports.claim('test device interrupts', TestPort.irqLines, TEST_IRQ_LINES, new TestIrqLines(lines));
    this.mmio.claim('test device memory', TEST_MEMORY.first, TEST_MEMORY.sizeBytes, new TestMemory());
  }

  #placePci(): PciBus {
    const sendMessage = (address: bigint, data: number) => {
      if (address >> 32n === 0n) deliverMsi(this.#apicBus, Number(address), data);
    };
    const bus = new PciBus(this.#pciWires(), sendMessage);
    const selected = new ConfigAddressPorts(new ResetControl(() => this.#host.reset()));
    this.ports.claim('pci', CONFIG_ADDRESS_PORT, 4, selected);
    this.ports.claim('pci', CONFIG_DATA_PORT, 4, new ConfigDataPorts(bus, selected));
    this.ports.subtractive = bus;
    this.mmio.subtractive = bus;
    bus.plug(hostBridge(), 0);
    return bus;
  }

  /** Each wire has an input of the I/O APIC; two share an IRQ of the 8259 pair. */
  #pciWires(): IrqLine[] {
    return PCI_IRQ.map((irq, wire) => both(this.#picInput(irq), this.#ioApicPin(PCI_GSI[wire])));
  }

  /** Put a plug-in's device on the PCI bus. @throws PolyvisorError PV2021 if there is none */
  plug(device: PciDevice): PciConnection {
    if (!this.pci) {
      throw new PolyvisorError('PV2021', `there is no PCI bus for ${device.name}`, "add 'pci' to the platform's chips");
    }
    const pciFunction = new PciFunction(device);
    this.pci.plug(pciFunction);
    return { setInterrupt: (asserted) => pciFunction.setPin(asserted) };
  }

  /**
   * Functions in the first free slots, whose interrupts somebody else takes, with addresses, decoding and interrupt lines as
   * firmware leaves them. @throws PolyvisorError PV2021 if there is no PCI bus, or no room for them
   */
  plugPlaced(
    functions: readonly PciFunction[],
    place: {
      readonly memory: PciWindows['memory'];
      irqOf(index: number): number;
      interrupt(index: number, asserted: boolean): void;
    },
  ): void {
    const { pci } = this;
    if (!pci) throw new PolyvisorError('PV2021', 'there is no PCI bus', "add 'pci' to the platform's chips");
    try {
      functions.forEach((device, index) => {
        pci.plug(device, undefined, 0, (asserted) => place.interrupt(index, asserted));
      });
      pci.assignResources({ memory: place.memory, ports: PCI_PORTS }, PCI_IRQ);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new PolyvisorError('PV2021', error.message, 'give the guest fewer devices', 2);
    }
    functions.forEach((device, index) => {
      device.writeConfig(Config.interruptLine, 1, place.irqOf(index));
    });
  }

  /** What firmware does to the chips before it starts anything. */
  initialiseLikeFirmware(): void {
    this.#localApics[0]?.enterVirtualWireMode();
    this.pci?.assignResources({ memory: PCI_MEMORY, ports: PCI_PORTS }, PCI_IRQ);
  }

  /** What the ACPI tables tell; `undefined`: there are none. */
  describe(): AcpiPlatform | undefined {
    if (!this.#has('acpi') && !this.#has('localApic')) return undefined;
    return {
      vcpus: this.#definition.vcpus,
      ...(this.#has('acpi') && { fixedHardware: { sciIrq: Irq.sci, port: Port.powerManagement } }),
      ...(this.#localApics.length > 0 && { localApicAddress: Address.localApic }),
      ...(this.#ioApic && { ioApic: { id: IO_APIC_ID, address: Address.ioApic } }),
      pic: this.#has('pic'),
      pit: this.#has('pit'),
      rtc: this.#has('rtc'),
      keyboardController: this.#has('keyboardController'),
      ...(this.#uart && { uart: { port: Port.uart, ports: UART_PORTS, irq: Irq.uart } }),
      ...(this.#hpet && { hpet: { address: Address.hpet, sizeBytes: HPET_BYTES, blockId: this.#hpet.readMmio(0, 4) } }),
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
