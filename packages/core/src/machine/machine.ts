import {
  type BootDescriptor,
  type ConsolePort,
  type Devices,
  type Entry,
  type ExitKind,
  type FirmwareTables,
  NO_DEVICES,
  type PciConnection,
  type PciDevice,
  type PlatformDefinition,
  type Machine as PluginMachine,
  type PortDevice,
  type ShutdownReason,
  type VirtioDevice,
  type VirtioPlacement,
  type VirtioSignals,
} from '@polyvisor/plugin-api';
import { PageAliases } from '../bus/page-aliases.ts';
import { bareDevices, virtioModels, virtioModelsInOrder } from '../devices/virtio/index.ts';
import { modernVirtioFunction, virtioFunction } from '../devices/virtio/pci/function.ts';
import type { Engine } from '../engine/engine.ts';
import type { EngineMemory } from '../engine/memory.ts';
import { CORE, SNIFF } from '../loader/boot/doors.ts';
import type { PluginCalls } from '../ports/plugin-calls.ts';
import { Attempts } from './attempts.ts';
import { Breakpoints } from './breakpoints/breakpoints.ts';
import { InstructionTime, MachineClock, WallTime } from './clock.ts';
import { directInstructions, leaves, unprivilegedInstructions } from './direct-instructions.ts';
import { makeEngine } from './engine-host.ts';
import { EngineSeat } from './engine-seat.ts';
import { chooseEntry } from './entries.ts';
import { type Ask, askPlugins } from './exits/ask.ts';
import { ExitDispatch } from './exits/dispatch.ts';
import { earlyFaults } from './exits/early-faults.ts';
import { Exceptions } from './exits/exceptions.ts';
import { ExitCounts } from './exits/exit-counts.ts';
import { firstRunOf } from './first-runs.ts';
import { MachineMemory } from './guest-memory.ts';
import { GuestStart } from './guest-start.ts';
import { Lifecycle } from './lifecycle.ts';
import { cpuid } from './native/cpuid.ts';
import { limitedCpuid } from './native/msrs.ts';
import type { MachineOptions, RunEnd } from './options.ts';
import { PcPlatform, type PlatformHost } from './platform/pc.ts';
import { DefinedPlatform } from './platform-definition.ts';
import { crashReport } from './report.ts';
import { Sampler } from './sampler.ts';
import { allocate, hiddenMemoryOf, placeOf } from './start.ts';
import { Turns } from './turns.ts';
import { MachineVcpu } from './vcpu.ts';

/** The composition root: one PC with its plug-ins, from boot to power-off. */
export class Machine implements PluginMachine {
  readonly memory: MachineMemory;
  readonly clock: MachineClock;
  readonly console: ConsolePort;
  readonly devices: Devices;
  readonly vcpus: readonly MachineVcpu[];
  readonly platform: DefinedPlatform;
  readonly entry: Entry;
  /** Memory beyond the guest's own, of which it knows nothing; see {@link PlatformDefinition.roomForOps}. */
  readonly hiddenMemory: { readonly gpa: number; readonly sizeBytes: number };
  /** Asked first, in this order, about each VMCALL of a guest's kernel (CPL 0). True: done, and RIP is where the guest goes on. */
  readonly kernelCalls = new Set<(vcpu: MachineVcpu) => boolean>();
  /** Whether the guest is told, beside the boot descriptor, that its kernel may register operations. */
  takesOps = false;
  readonly #options: MachineOptions;
  readonly #calls: PluginCalls;
  readonly #instructionTime: InstructionTime | undefined;
  readonly #engineMemory: EngineMemory;
  readonly #engine: Engine;
  readonly #seat: EngineSeat<MachineVcpu>;
  readonly #pc: PcPlatform;
  readonly #aliases: PageAliases;
  readonly #start: GuestStart;
  #bootDescriptor: BootDescriptor;
  readonly #lifecycle: Lifecycle;
  readonly #attempts: Attempts;
  readonly #counts = new ExitCounts();
  readonly #ask: Ask;
  readonly #turns: Turns;

  /** Finds the door, lays out memory, lets the plug-ins boot the image. @throws PolyvisorError */
  static async create(options: MachineOptions): Promise<Machine> {
    return new Machine(options);
  }

  private constructor(options: MachineOptions) {
    this.#options = options;
    this.#calls = options.plugins.calls;
    this.console = options.console;
    this.devices = options.devices ?? NO_DEVICES;
    this.entry = chooseEntry(options.image, options.plugins.calls, options.entryName);
    this.platform = new DefinedPlatform(this.entry, options, (what) => this.#calls.took(what));
    this.#bootDescriptor = { hypervisor: 'none', guestType: this.entry.name, abiVersion: 0 };
    this.#calls.configure(this.platform);
    this.platform.checkVcpus();
    this.hiddenMemory = hiddenMemoryOf(this.platform);
    this.#engineMemory = allocate(this.hiddenMemory.gpa + this.hiddenMemory.sizeBytes);
    const { bytes, ram } = this.#engineMemory;
    options.onMemory?.(bytes, placeOf(options.image, this.entry, ram));
    this.memory = new MachineMemory(
      this.#engineMemory,
      (host, size) => {
        this.#engine.code.written(host, size);
      },
      (writes, again) => {
        this.#engine.codeWritten(writes, again);
      },
    );
    this.#instructionTime = options.clockKind === 'icount' ? new InstructionTime() : undefined;
    const source = this.#instructionTime ?? new WallTime(() => options.wallClock.nowNs());
    this.clock = new MachineClock(source, options.wallClock.epochNs());
    this.#lifecycle = new Lifecycle(this.clock);
    this.#attempts = new Attempts(() => options.wallClock.nowNs());
    this.#ask = askPlugins(this.#calls, options.onExit);
    this.#pc = new PcPlatform(this.platform, this.#platformHost());
    this.#pc.mmio.aliases = this.#aliases = new PageAliases(this.memory);
    this.#plugInDevices();
    this.#engine = this.#makeEngine();
    this.#seat = new EngineSeat<MachineVcpu>(this.#engine, this.platform.vcpus);
    this.vcpus = this.#pc.processors.map((processor, id) => new MachineVcpu(id, this.#engine, processor, this.#seat));
    this.#seat.take(this.vcpus[0]);
    for (const vcpu of this.vcpus.slice(1)) vcpu.startup.waitForStartup();
    this.#start = new GuestStart({
      ...{ calls: this.#calls, platform: this.platform, memory: this.memory, console: this.console },
      ...{ vcpus: this.vcpus, pc: this.#pc, native: this.#nativeMachine, disks: this.devices.disks },
    });
    this.#turns = this.#makeTurns();
    for (const vcpu of this.vcpus) this.#calls.vcpuCreate(vcpu);
    this.#start.boot(this, options);
    this.#allowDirect();
    this.#calls.onChange(() => this.#allowDirect());
  }
  /** Instructions that nobody wants to see need not leave generated code. */
  #allowDirect(): void {
    const { onExit, exits } = this.#options;
    const asked = (kind: ExitKind) => this.#calls.has('exit', kind);
    if (onExit || exits === 'all') this.#direct = 0;
    else this.#direct = exits === 'privileged' ? unprivilegedInstructions(asked) : directInstructions(asked);
    for (const vcpu of this.vcpus) vcpu.direct = this.#direct;
  }
  #direct = 0;
  /** Whether an instruction of this kind leaves guest code, somebody being asked about it; of writes to control registers, those of CR3. */
  leaves(kind: ExitKind): boolean {
    return leaves(kind, this.#direct);
  }

  /** The host's ends of devices, as virtio functions where there is a PCI bus for them. */
  #plugInDevices(): void {
    const { pci } = this.#pc;
    if (!pci || !this.platform.chips.has('virtio')) return;
    for (const model of virtioModels(this.devices)) {
      pci.plug(virtioFunction(model, this.memory, (message) => this.#options.log?.(message)));
    }
  }

  plugVirtio({ interrupt, irqOf, firstGpa, sizeBytes }: VirtioPlacement): void {
    const log = (message: string) => this.#options.log?.(message);
    const models = virtioModelsInOrder(this.devices, this.console);
    const functions = models.map((model) => modernVirtioFunction(model, this.memory, log));
    this.#pc.plugPlaced(functions, { interrupt, irqOf, memory: { first: firstGpa, sizeBytes } });
    this.#calls.took('its bus for virtio devices');
  }

  virtioDevices(signals: VirtioSignals): readonly VirtioDevice[] {
    this.#calls.took('its bus for virtio devices');
    const log = (message: string) => this.#options.log?.(message);
    return bareDevices(this.devices, this.console, { memory: this.memory, signals, log });
  }

  #platformHost(): PlatformHost {
    return {
      clock: this.clock,
      console: this.console,
      powerOff: () => this.shutdown({ kind: 'poweroff' }),
      reset: () => this.shutdown({ kind: 'reboot' }),
      testsDone: (status) => this.shutdown({ kind: 'testsDone', status }),
      kick: (vcpu) => this.vcpus[vcpu].kick(),
      nmi: (vcpu) => this.vcpus[vcpu].raiseNmi(),
      // The bootstrap processor starts at the reset vector again, where firmware starts the machine anew.
      init: (vcpu) => (vcpu === 0 ? this.shutdown({ kind: 'reboot' }) : this.vcpus[vcpu].startup.init()),
      startup: (vcpu, vector) => this.vcpus[vcpu].startup.startup(vector),
      log: (message) => this.#options.log?.(message),
    };
  }

  #makeEngine(): Engine {
    const surroundings = {
      vcpu: () => this.running,
      entropy: this.devices.entropy,
      tellOfMmio: (gpa: number, sizeBytes: number, write: boolean) => this.#tellOfMmio(gpa, sizeBytes, write),
    };
    const { directCode } = this.platform;
    const { onFirstRun, engine } = this.#options;
    const onDecoded = onFirstRun && ((linear: bigint) => onFirstRun(firstRunOf(this.running, linear)));
    return makeEngine(this.#engineMemory, surroundings, { ...engine, directCode, onDecoded });
  }

  /** An access beyond RAM, in the middle of an instruction: plug-ins are told of it, whatever they answer. */
  #tellOfMmio(gpa: number, sizeBytes: number, write: boolean): void {
    if (this.#calls.has('exit', 'mmio')) this.#ask(this.running, { kind: 'mmio', gpa, sizeBytes, write });
  }
  /** The vCPU that the engine runs, or ran last. */
  get running(): MachineVcpu {
    return this.#seat.holder ?? this.vcpus[0];
  }

  #makeTurns(): Turns {
    const { vcpus, clock, devices } = this;
    const { onSample, wallClock } = this.#options;
    const crash = (message: string) => this.shutdown({ kind: 'crash', message });
    const exceptions = new Exceptions(this.#ask, this.#counts, crash);
    const breakpoints = new Breakpoints();
    const dispatch = new ExitDispatch({
      ask: this.#ask,
      counts: this.#counts,
      exceptions,
      breakpoints,
      native: this.#nativeMachine,
      kernelCall: (vcpu) => this.#kernelCall(vcpu),
      hasEnded: () => this.#lifecycle.hasEnded,
    });
    if (this.entry.plugin === CORE && this.entry.name === SNIFF) {
      const answer = earlyFaults(this.#nativeMachine, crash);
      this.#calls.tapExit('exception', SNIFF, (vcpu, exit) => answer(vcpus[vcpu.id], exit));
    }
    return new Turns({
      ...{ vcpus, clock, exceptions, dispatch, breakpoints },
      seat: this.#seat,
      instructionTime: this.#instructionTime,
      lifecycle: this.#lifecycle,
      calls: this.#calls,
      attempts: this.#attempts,
      sampler: onSample && new Sampler(this.memory, onSample),
      hasNetwork: devices.nics.length > 0,
      nowNs: () => wallClock.nowNs(),
    });
  }

  firmware(): FirmwareTables {
    return this.#start.firmware();
  }
  claimPorts(name: string, firstPort: number, ports: number, device: PortDevice): void {
    this.#pc.ports.claim(name, firstPort, ports, device);
    this.#calls.took('its devices behind I/O ports');
  }
  plugPci(device: PciDevice): PciConnection {
    const connection = this.#pc.plug(device);
    this.#calls.took('its PCI devices');
    return connection;
  }
  aliasPage(gpa: number, targetGpa: number | undefined): void {
    this.#aliases.set(gpa, targetGpa);
    this.#calls.took('its pages above all memory');
  }
  describeBoot(descriptor: BootDescriptor): void {
    this.#bootDescriptor = descriptor;
    this.#calls.took('its boot descriptor');
  }

  cpuid(leaf: number, subleaf: number) {
    return this.#cpuid(this.vcpus[0], leaf, subleaf);
  }
  #cpuid(vcpu: MachineVcpu, leaf: number, subleaf: number) {
    const { platform } = vcpu;
    const apic = platform.hasLocalApic ? { id: vcpu.id, enabled: platform.apicEnabled } : undefined;
    const { tscHz } = this.clock;
    return cpuid(leaf, subleaf, {
      vcpus: this.vcpus.length,
      tscHz,
      apic,
      limited: limitedCpuid(vcpu),
      random: this.devices.entropy !== undefined,
      bootDescriptor: this.#bootDescriptor,
      takesOps: this.takesOps,
    });
  }
  raiseTimerInterrupt(): void {
    this.#pc.raiseTimerInterrupt();
  }
  symbol(gva: bigint): string | undefined {
    return this.#options.symbols?.(gva);
  }
  shutdown(reason: ShutdownReason): void {
    if (this.#lifecycle.hasEnded) return;
    const report = reason.kind === 'crash' ? crashReport(this, this.running, reason.message) : undefined;
    this.#lifecycle.finish(report === undefined ? { reason } : { reason, report });
    this.#calls.shutdown(reason);
    for (const vcpu of this.vcpus) vcpu.kick();
  }
  /** End the run from outside; the guest is not told. */
  stop(): void {
    this.#lifecycle.finish({ reason: { kind: 'stopped' } });
    this.resume();
  }
  get paused(): boolean {
    return this.#lifecycle.paused;
  }
  /**
   * Between instructions: none is executed and no timer fires until {@link resume}. The guest's time stands still: by
   * itself if it comes from instructions; under a wall clock it is behind the host's from then on.
   */
  pause(): void {
    this.#lifecycle.pause();
  }
  resume(): void {
    this.#lifecycle.resume();
  }
  /**
   * The same until `work` is done: for an exit that cannot be answered at once, nothing comes between it and what `work` leaves.
   * What that throws ends {@link run}.
   */
  hold(work: Promise<unknown>): void {
    this.#lifecycle.hold(work);
  }
  /** Ask the guest to power off by itself. False: nobody here can ask it. */
  requestPoweroff(): boolean {
    return this.#calls.requestPoweroff();
  }

  /**
   * Tries between two instructions, now and then every few thousand of them, until `attempt` answers something or
   * `forNs` have passed by the host's clock: then `undefined`. What it throws is thrown here.
   */
  attempt<T>(attempt: () => T | undefined, forNs: number): Promise<T | undefined> {
    return this.#attempts.add(attempt, forNs, () => this.#lifecycle.hasEnded || this.paused);
  }

  /** Run until the guest ends or {@link stop} is called. */
  async run(): Promise<RunEnd> {
    const lifecycle = this.#lifecycle;
    while (!lifecycle.hasEnded) {
      if (lifecycle.standsStill) await lifecycle.goesOn;
      else this.#turns.slice();
      if (lifecycle.hasEnded) break;
      this.#pc.flush();
      if (lifecycle.standsStill) continue;
      await this.#options.idle(this.#turns.idleNs);
    }
    this.#pc.flush();
    for (const vcpu of this.vcpus) this.#calls.vcpuTerminate(vcpu);
    return lifecycle.end as RunEnd;
  }

  /** A VMCALL at CPL 0 that is of the machine's own making. */
  #kernelCall(vcpu: MachineVcpu): boolean {
    if (this.#start.biosCall(vcpu)) return true;
    for (const take of this.kernelCalls) if (take(vcpu)) return true;
    return false;
  }

  readonly #nativeMachine = {
    cpuid: (vcpu: MachineVcpu, leaf: number, subleaf: number) => this.#cpuid(vcpu, leaf, subleaf),
    portRead: (port: number, sizeBytes: number) => this.#pc.ports.read(port, sizeBytes),
    portWrite: (port: number, sizeBytes: number, value: number) => this.#pc.ports.write(port, sizeBytes, value),
  };

  /** Figures for `--stats`. */
  stats(): Record<string, number | string> {
    return {
      instructions: this.#turns.executed,
      'machine time ms': Math.round(this.clock.nowNs() / 1e6),
      ...this.#engine.statistics(),
      ...this.#counts.figures(),
    };
  }
}
