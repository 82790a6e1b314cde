import {
  type BootDescriptor,
  type BootModule,
  type BootRequest,
  type ConsolePort,
  type Devices,
  type Entry,
  type Exit,
  type ExitAnswer,
  type FirmwareTables,
  type GuestImage,
  NO_DEVICES,
  type PciConnection,
  type PciDevice,
  PLATFORM_CHIPS,
  type PlatformChip,
  type PlatformDefinition,
  type Machine as PluginMachine,
  PolyvisorError,
  type PortDevice,
  type ShutdownReason,
  type VirtioDevice,
  type VirtioSignals,
} from '@polyvisor/plugin-api';
import { PageAliases } from '../bus/page-aliases.ts';
import { ARG, EXIT_RECORD, FAULT_ADDRESS, FAULT_ERROR_CODE, FAULT_VECTOR, RESULT } from '../cpu/state.ts';
import { bareDevices, virtioModels } from '../devices/virtio/index.ts';
import { virtioFunction } from '../devices/virtio/pci/function.ts';
import { Engine, type EngineOptions } from '../engine/engine.ts';
import { ExitCode } from '../engine/exit-code.ts';
import type { EngineMemory } from '../engine/memory.ts';
import { exitNumber } from '../isa/instruction-exit.ts';
import { CORE, SNIFF } from '../loader/boot/doors.ts';
import { BIOS_DOORS, bootNatively } from '../loader/boot/index.ts';
import type { MemoryMap } from '../loader/boot/memory-map.ts';
import type { PluginCalls } from '../ports/plugin-calls.ts';
import type { BiosHost } from './bios/call.ts';
import { leaveBiosBehind } from './bios/rom.ts';
import { answerBiosCall } from './bios/services.ts';
import { Breakpoints, type WatchedStep } from './breakpoints/breakpoints.ts';
import { allowAccess } from './breakpoints/debug-registers.ts';
import { InstructionTime, MachineClock, WallTime } from './clock.ts';
import { directInstructions } from './direct-instructions.ts';
import { chooseEntry } from './entries.ts';
import { MachineMemory } from './guest-memory.ts';
import { instructionExit } from './instruction-exits.ts';
import { afterDeliveryFault, type NativeAnswer, type NativeFault, undefinedOpcode, Vector } from './native/answer.ts';
import { cpuid } from './native/cpuid.ts';
import { deliver } from './native/delivery.ts';
import { FORCED_CPUID_BYTES, isForcedCpuid } from './native/forced-cpuid.ts';
import { cpuidInstruction, nativeInstructions } from './native/instructions.ts';
import { firmwareMtrrs } from './native/memory-types.ts';
import { writeControlRegister } from './native/registers.ts';
import { MTRR_DEVICES, memoryMapOf, placeAcpiTables } from './platform/firmware.ts';
import { PcPlatform, type PlatformHost } from './platform/pc.ts';
import type { ProcessorPlatform } from './platform/processor.ts';
import { crashReport } from './report.ts';
import { type GuestSample, Sampler } from './sampler.ts';
import { allocate } from './start.ts';
import { MachineVcpu } from './vcpu.ts';

/** Instructions between looks at timers and the console. */
const QUANTUM = 200_000;
/** How long guest code may run before the host's event loop gets its turn. */
const SLICE_NS = 4_000_000;
/** Longest idle wait, so that `stop` is noticed. */
const MAX_IDLE_NS = 100_000_000;
const PAGE = 4096;
/** Beyond what any memory map tells: a large page for code that is put into a running guest. */
const HIDDEN_BYTES = 2 << 20;
/** Instructions between two tries while somebody waits for the guest to be in a certain state. */
const TRY_QUANTUM = 2000;
const VMCALL = exitNumber('vmcall');
const IRET = exitNumber('iret');
const SYSCALL = exitNumber('syscall');
const SYSRET = exitNumber('sysret');
const SOFTWARE_INTERRUPTS: ReadonlySet<number> = new Set(
  (['softwareInterrupt', 'int3', 'into'] as const).map(exitNumber),
);
/** An instruction that the engine has carried out. */
const NO_DETAIL = -1;
const PORT_INSTRUCTIONS: ReadonlySet<number> = new Set((['in', 'out', 'ins', 'outs'] as const).map(exitNumber));

export interface MachineOptions {
  readonly image: GuestImage;
  /** Door to use; without it the one with the highest priority. */
  readonly entryName?: string;
  readonly commandLine: string;
  readonly initrd?: Uint8Array;
  readonly bootModules?: readonly BootModule[];
  /** Chips beside those that the door brings. */
  readonly chips?: readonly PlatformChip[];
  readonly memoryBytes: number;
  readonly clockKind: 'icount' | 'wall';
  readonly console: ConsolePort;
  /** Host ends of the guest's devices; without them it has none. */
  readonly devices?: Devices;
  /** The loaded plug-ins, by their hooks. */
  readonly plugins: { readonly calls: PluginCalls };
  readonly wallClock: { nowNs(): number; epochNs(): bigint };
  readonly symbols?: (gva: bigint) => string | undefined;
  readonly engine?: EngineOptions;
  /** Wait at most this long; resolves early on console input. 0: let pending input in. */
  idle(maxNs: number): Promise<void>;
  /** The machine's own remarks for the operator, of no more than debugging's interest. */
  readonly log?: (message: string) => void;
  /** `all`: each instruction that can leave generated code does so, though nobody is asked about it; for comparisons. */
  readonly exits?: 'all';
  /** Told of every exit that a plug-in could see; only if someone wants it. */
  readonly onExit?: (event: ExitEvent) => void;
  /** Told every 20,000 to 60,000 instructions where the guest is; only if someone wants it. */
  readonly onSample?: (sample: GuestSample) => void;
}

/** An exit as a trace shows it. */
export interface ExitEvent {
  readonly vcpu: number;
  /** RIP when the exit was taken: at the instruction, also for faults. */
  readonly rip: bigint;
  readonly exit: Exit;
  /** What the plug-ins made of it. */
  readonly answer: ExitAnswer;
}

/** How a run ended. */
export interface RunEnd {
  readonly reason: ShutdownReason | { readonly kind: 'stopped' };
  /** A few lines for a person: guest RIP, symbol, reason. */
  readonly report?: string;
}

interface ExitCount {
  count: number;
}

/** The composition root: one PC with its plug-ins, from boot to power-off. */
export class Machine implements PluginMachine {
  readonly memory: MachineMemory;
  readonly clock: MachineClock;
  readonly console: ConsolePort;
  readonly devices: Devices;
  readonly vcpus: readonly MachineVcpu[];
  readonly platform: PlatformDefinition;
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
  readonly #pc: PcPlatform;
  readonly #aliases: PageAliases;
  #firmware: FirmwareTables | undefined;
  /** What the BIOS's services work with, where there is one. */
  #bios: BiosHost | undefined;
  #bootDescriptor: BootDescriptor;
  #end: RunEnd | undefined;
  /** Opens when a paused machine goes on or ends. */
  #gate: { readonly opened: Promise<void>; open(): void } | undefined;
  #executed = 0;
  /** Exits by name, and the same records by the number of the instruction or exception. */
  readonly #exitCounts = new Map<string, ExitCount>();
  readonly #instructionCounts: (ExitCount | undefined)[] = [];
  readonly #exceptionCounts: (ExitCount | undefined)[] = [];
  readonly #sampler: Sampler | undefined;
  readonly #breakpoints = new Breakpoints();

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
    this.platform = {
      entry: this.entry,
      chips: new Set([...(this.entry.plugin === CORE ? PLATFORM_CHIPS : []), ...(options.chips ?? [])]),
      memoryBytes: options.memoryBytes,
      overheadBytes: 0,
      roomForOps: this.entry.plugin === CORE,
      vcpus: 1,
      commandLine: options.commandLine,
    };
    this.#bootDescriptor = { hypervisor: 'none', guestType: this.entry.name, abiVersion: 0 };
    this.#calls.configure(this.platform);
    const knownBytes = Math.ceil((this.platform.memoryBytes + this.platform.overheadBytes) / PAGE) * PAGE;
    const hides = this.platform.roomForOps;
    const hiddenAt = hides ? Math.ceil(knownBytes / HIDDEN_BYTES) * HIDDEN_BYTES : knownBytes;
    this.hiddenMemory = { gpa: hiddenAt, sizeBytes: hides ? HIDDEN_BYTES : 0 };
    this.#engineMemory = allocate(hiddenAt + this.hiddenMemory.sizeBytes);
    this.memory = new MachineMemory(
      this.#engineMemory,
      (host, size) => {
        for (const vcpu of this.vcpus) vcpu.engine.code.written(host, size);
      },
      (places) => {
        for (const vcpu of this.vcpus) vcpu.engine.codeWritten(places);
      },
    );
    this.#sampler = options.onSample && new Sampler(this.memory, options.onSample);
    this.#instructionTime = options.clockKind === 'icount' ? new InstructionTime() : undefined;
    const source = this.#instructionTime ?? new WallTime(() => options.wallClock.nowNs());
    this.clock = new MachineClock(source, options.wallClock.epochNs());
    this.#pc = new PcPlatform(this.platform, this.#platformHost());
    this.#pc.mmio.aliases = this.#aliases = new PageAliases(this.memory);
    this.#plugInDevices();
    this.vcpus = [new MachineVcpu(0, this.#engine(0, this.#pc.processors[0]), this.#pc.processors[0])];
    for (const vcpu of this.vcpus) this.#calls.vcpuCreate(vcpu);
    this.#boot();
    this.#allowDirect();
    this.#calls.onChange(() => this.#allowDirect());
  }
  /** Instructions that nobody wants to see need not leave generated code. */
  #allowDirect(): void {
    const { onExit, exits } = this.#options;
    const bits = onExit || exits === 'all' ? 0 : directInstructions((kind) => this.#calls.has('exit', kind));
    for (const vcpu of this.vcpus) vcpu.direct = bits;
  }

  /** The host's ends of devices, as virtio functions where there is a PCI bus for them. */
  #plugInDevices(): void {
    const { pci } = this.#pc;
    if (!pci || !this.platform.chips.has('virtio')) return;
    for (const model of virtioModels(this.devices)) {
      pci.plug(virtioFunction(model, this.memory, (message) => this.#options.log?.(message)));
    }
  }

  virtioDevices(signals: VirtioSignals): readonly VirtioDevice[] {
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
      log: (message) => this.#options.log?.(message),
    };
  }

  #engine(vcpu: number, platform: ProcessorPlatform): Engine {
    return new Engine(
      this.#engineMemory,
      {
        mmioRead: (gpa, into) => {
          this.#tellOfMmio(vcpu, gpa, into.length, false);
          platform.readMmio(gpa, into);
        },
        mmioWrite: (gpa, bytes) => {
          this.#tellOfMmio(vcpu, gpa, bytes.length, true);
          platform.writeMmio(gpa, bytes);
        },
        helpers: {
          rdtsc: (state, base) => {
            platform.tsc.store(state, base + RESULT[0].offset);
            return -1;
          },
          invlpg: (state, base) => {
            this.vcpus[vcpu].flushTlb(state.getBigUint64(base + ARG[0].offset, true));
            return -1;
          },
          writeCr3: (state, base) => {
            const written = writeControlRegister(this.vcpus[vcpu], 3, state.getBigUint64(base + ARG[0].offset, true));
            return typeof written === 'string' ? -1 : written.vector;
          },
        },
      },
      this.#options.engine,
    );
  }

  /** An access beyond RAM, in the middle of an instruction: plug-ins are told of it, whatever they answer. */
  #tellOfMmio(vcpu: number, gpa: number, sizeBytes: number, write: boolean): void {
    if (this.#calls.has('exit', 'mmio')) this.#ask(this.vcpus[vcpu], { kind: 'mmio', gpa, sizeBytes, write });
  }

  #boot(): void {
    const request: BootRequest = {
      image: this.#options.image,
      entry: this.entry,
      commandLine: this.#options.commandLine,
      memoryBytes: this.platform.memoryBytes,
      ...(this.#options.initrd ? { initrd: this.#options.initrd } : {}),
      ...(this.#options.bootModules && { modules: this.#options.bootModules }),
    };
    if (this.#calls.boot(request, this)) return;
    if (this.entry.plugin === CORE) {
      this.#bootNatively(request);
      return;
    }
    throw new PolyvisorError(
      'PV2010',
      `nobody starts ${request.image.name} through its door ${this.entry.name}`,
      `load plug-in ${this.entry.plugin}`,
      3,
    );
  }

  /** What firmware leaves behind, then the image's boot protocol. */
  #bootNatively(request: BootRequest): void {
    const { memoryMap, rsdpAddress } = this.firmware();
    if (BIOS_DOORS.has(this.entry.name)) this.#startBios(memoryMap);
    bootNatively(request, {
      memory: this.memory,
      vcpu: this.vcpus[0],
      memoryMap,
      ...(rsdpAddress !== undefined && { rsdpAddress }),
    });
  }

  #startBios(memoryMap: MemoryMap): void {
    leaveBiosBehind(this.memory, this.#pc.ports);
    const print = (byte: number) => {
      this.#pc.flush();
      this.console.write(Uint8Array.of(byte));
    };
    this.#bios = { memory: this.memory, memoryMap, print, ...this.#nativeMachine };
  }

  firmware(): FirmwareTables {
    this.#firmware ??= this.#runFirmware();
    return this.#firmware;
  }
  #runFirmware(): FirmwareTables {
    this.#pc.initialiseLikeFirmware();
    for (const vcpu of this.vcpus)
      for (const [index, value] of firmwareMtrrs(MTRR_DEVICES)) vcpu.msrs.set(index, value);
    const memoryMap = memoryMapOf(this.platform.memoryBytes, this.memory.sizeBytes);
    const description = this.#pc.describe();
    return { memoryMap, ...(description && { rsdpAddress: placeAcpiTables(description, this.memory) }) };
  }
  claimPorts(name: string, firstPort: number, ports: number, device: PortDevice): void {
    this.#pc.ports.claim(name, firstPort, ports, device);
  }
  plugPci(device: PciDevice): PciConnection {
    return this.#pc.plug(device);
  }
  aliasPage(gpa: number, targetGpa: number | undefined): void {
    this.#aliases.set(gpa, targetGpa);
  }
  describeBoot(descriptor: BootDescriptor): void {
    this.#bootDescriptor = descriptor;
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
    if (this.#end) return;
    const report = reason.kind === 'crash' ? crashReport(this, this.vcpus[0], reason.message) : undefined;
    this.#end = report === undefined ? { reason } : { reason, report };
    this.#calls.shutdown(reason);
    for (const vcpu of this.vcpus) vcpu.kick();
  }
  /** End the run from outside; the guest is not told. */
  stop(): void {
    this.#end ??= { reason: { kind: 'stopped' } };
    this.resume();
  }
  get paused(): boolean {
    return this.#gate !== undefined;
  }
  /**
   * Between instructions: none is executed and no timer fires until {@link resume}. The guest's time stands still: by
   * itself if it comes from instructions; under a wall clock it is behind the host's from then on.
   */
  pause(): void {
    if (this.#gate || this.#end) return;
    let open = () => {};
    const opened = new Promise<void>((resolve) => {
      open = resolve;
    });
    this.#gate = { opened, open };
    this.clock.freeze();
  }
  resume(): void {
    const gate = this.#gate;
    if (!gate) return;
    this.#gate = undefined;
    this.clock.thaw();
    gate.open();
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
    const untilNs = this.#options.wallClock.nowNs() + forNs;
    return new Promise((resolve, reject) => {
      const tryOnce = (): boolean => {
        try {
          const answer = attempt();
          const isOver = this.#end !== undefined || this.paused || this.#options.wallClock.nowNs() >= untilNs;
          if (answer === undefined && !isOver) return false;
          resolve(answer);
        } catch (error) {
          reject(error);
        }
        return true;
      };
      if (!tryOnce()) this.#attempts.push(tryOnce);
    });
  }
  /** Each answers whether it is done. */
  #attempts: (() => boolean)[] = [];
  #tryAttempts(): void {
    if (this.#attempts.length === 0) return;
    this.#attempts = this.#attempts.filter((tryOnce) => !tryOnce());
  }

  /** Run until the guest ends or {@link stop} is called. */
  async run(): Promise<RunEnd> {
    while (!this.#end) {
      if (this.#gate) await this.#gate.opened;
      else this.#slice();
      if (this.#end) break;
      this.#pc.flush();
      if (this.#gate) continue;
      await this.#options.idle(this.#idleNs());
    }
    this.#pc.flush();
    for (const vcpu of this.vcpus) this.#calls.vcpuTerminate(vcpu);
    return this.#end as RunEnd;
  }

  /** Run guest code for a few milliseconds, or until there is nothing to do. */
  #slice(): void {
    const until = this.#options.wallClock.nowNs() + SLICE_NS;
    this.#tryAttempts();
    while (!this.#end && this.#options.wallClock.nowNs() < until) {
      this.clock.fireDue();
      let ran = false;
      for (const vcpu of this.vcpus) {
        ran = this.#runVcpu(vcpu) || ran;
        this.#tryAttempts();
        this.#sampler?.look(vcpu);
      }
      if (ran) continue;
      // With a network the next event may come from outside: the host gets its turn before each leap in time.
      if (!this.#skipIdleTime() || this.devices.nics.length > 0) return;
    }
  }

  /** All vCPUs sleep: go on at the next timer, if time may be moved there. */
  #skipIdleTime(): boolean {
    const deadline = this.clock.nextDeadlineNs;
    return Number.isFinite(deadline) && this.clock.skipTo(deadline);
  }
  /** How long to let the host wait: 0 while a vCPU can run. */
  #idleNs(): number {
    if (this.#end || this.vcpus.some((vcpu) => !vcpu.blocked && !vcpu.offline)) return 0;
    return Math.max(0, Math.min(MAX_IDLE_NS, this.clock.nextDeadlineNs - this.clock.nowNs()));
  }

  /** One turn of a vCPU; false: it had nothing to do. */
  #runVcpu(vcpu: MachineVcpu): boolean {
    if (vcpu.offline) return false;
    const turn = this.#turn();
    let left = turn;
    while (left > 0 && !this.#end) {
      if (vcpu.blocked && vcpu.hasDeliverableEvent) vcpu.wake();
      this.#calls.beforeEntry(vcpu);
      // What beforeEntry has delivered or raised may be what it waits for.
      if (vcpu.blocked && vcpu.hasDeliverableEvent) vcpu.wake();
      if (vcpu.blocked || vcpu.offline || this.#end) return left !== turn;
      const oneInstruction = this.#deliverEvents(vcpu);
      if (this.#breakpoints.stopsAt(vcpu)) {
        this.#raise(vcpu, { vector: Vector.DB });
        left--;
        continue;
      }
      const watched = this.#breakpoints.watch(vcpu);
      if (vcpu.holdsDirect !== (watched !== undefined)) vcpu.holdsDirect = watched !== undefined;
      const stepping = vcpu.singleStep;
      vcpu.debugShadow = false;
      const { engine } = vcpu;
      vcpu.noteWaitingInterrupt();
      engine.budget = left;
      this.#instructionTime?.enter(engine);
      const code = stepping || oneInstruction || watched ? engine.step() : engine.run();
      const executed = left - engine.budget;
      left -= Math.max(1, executed);
      this.#account(executed);
      if (code === ExitCode.budget) break;
      this.#dispatch(vcpu, code, stepping, watched);
      if (this.clock.takeEarlierDeadline()) left = Math.min(left, this.#turn());
    }
    return true;
  }

  #turn(): number {
    const most = Math.min(this.#attempts.length > 0 ? TRY_QUANTUM : QUANTUM, this.#sampler?.untilNext ?? QUANTUM);
    if (!this.#instructionTime) return most;
    const untilTimer = this.clock.nextDeadlineNs - this.clock.nowNs();
    return Math.max(1, Math.min(most, Math.ceil(untilTimer)));
  }
  #account(executed: number): void {
    this.#executed += executed;
    this.#sampler?.executed(executed);
    this.#instructionTime?.advance(executed);
  }

  #dispatch(vcpu: MachineVcpu, code: number, stepping: boolean, watched: WatchedStep | undefined): void {
    if (code === ExitCode.fault) {
      this.#breakpoints.abandon();
      this.#fault(vcpu);
      return;
    }
    if (code === ExitCode.stop) {
      this.#endOfInstruction(vcpu, NO_DETAIL, stepping, watched);
      return;
    }
    const detail = vcpu.engine.exitDetail;
    const done = this.#instruction(vcpu);
    // For these RFLAGS.TF counts as it is afterwards (SDM vol. 2B, SYSCALL and SYSRET).
    if (detail === SYSCALL || detail === SYSRET) this.#endOfInstruction(vcpu, detail, vcpu.singleStep, watched);
    else if (done) this.#endOfInstruction(vcpu, detail, stepping, watched);
    else if (SOFTWARE_INTERRUPTS.has(detail)) this.#endOfInstruction(vcpu, detail, false, watched);
    else this.#breakpoints.abandon();
  }
  /** RFLAGS.TF was set before the instruction that is now done, or a breakpoint watches it (SDM vol. 3B, 18.3.1). */
  #endOfInstruction(vcpu: MachineVcpu, detail: number, singleStep: boolean, watched: WatchedStep | undefined): void {
    if (!(singleStep || watched) || this.#end) return;
    const port = PORT_INSTRUCTIONS.has(detail) ? { number: vcpu.arg32(0), sizeBytes: vcpu.arg32(1) } : undefined;
    const after = { singleStep, ...(port && { port }), loadsFlags: detail === IRET };
    if (!this.#breakpoints.trapsAfter(vcpu, watched, after)) return;
    // Behind HLT, too: it is over.
    vcpu.wake();
    this.#raise(vcpu, { vector: Vector.DB });
  }

  #fault(vcpu: MachineVcpu): void {
    const { view } = this.#engineMemory;
    const { base } = vcpu.engine;
    if (view.getUint32(base + EXIT_RECORD.offset, true) !== 0) vcpu.engine.rewindToRecord();
    const vector = view.getInt32(base + FAULT_VECTOR.offset, true);
    const errorCode = view.getInt32(base + FAULT_ERROR_CODE.offset, true);
    const fault: NativeFault = {
      vector,
      ...(errorCode >= 0 ? { errorCode } : {}),
      ...(vector === Vector.PF ? { cr2: view.getBigUint64(base + FAULT_ADDRESS.offset, true) } : {}),
    };
    this.#raise(vcpu, fault);
  }

  /** An exception at RIP: to the plug-ins, then to the guest's IDT. */
  #raise(vcpu: MachineVcpu, fault: NativeFault): void {
    const counter = (this.#exceptionCounts[fault.vector] ??= this.#counter(`exception.${fault.vector}`));
    counter.count++;
    const answer = this.#ask(vcpu, { kind: 'exception', ...fault });
    if (answer === 'handled' || (fault.vector === Vector.UD && this.#sniffs(vcpu) && this.#forcedCpuid(vcpu))) return;
    const raised: NativeFault = typeof answer === 'object' ? { vector: answer.fault, ...pick(answer) } : fault;
    if (raised.vector === Vector.PF && raised.cr2 !== undefined) vcpu.cr2 = raised.cr2;
    this.#deliver(vcpu, raised.vector, raised.errorCode);
  }

  /**
   * What waits to be delivered before the next instruction: an injected event, or else an interrupt (SDM vol. 3A, 6.9).
   * True: there is an interrupt, and only the instruction after STI or MOV SS comes before it.
   */
  #deliverEvents(vcpu: MachineVcpu): boolean {
    const shadow = vcpu.interruptShadow;
    vcpu.interruptShadow = false;
    const event = vcpu.pending;
    if (event) {
      vcpu.pending = undefined;
      this.#deliver(vcpu, event.vector, event.errorCode);
      return false;
    }
    if (!vcpu.hasDeliverableEvent || shadow) return vcpu.hasDeliverableEvent;
    if (vcpu.takeNmi()) this.#deliver(vcpu, Vector.NMI, undefined);
    else this.#deliver(vcpu, vcpu.acknowledgeInterrupt(), undefined);
    return false;
  }

  /** Through the IDT; a fault on the way becomes a double fault, then a shutdown (SDM vol. 3A, 6.15). */
  #deliver(vcpu: MachineVcpu, vector: number, errorCode: number | undefined): void {
    let first: number | undefined = vector;
    if (vector === Vector.DB) allowAccess(vcpu);
    let fault = deliver(vcpu, { vector, errorCode, software: false });
    while (fault && first !== undefined) {
      if (fault.vector === Vector.PF && fault.cr2 !== undefined) vcpu.cr2 = fault.cr2;
      const next: NativeFault | undefined = afterDeliveryFault(first, fault);
      first = next?.vector;
      if (next) fault = deliver(vcpu, { vector: next.vector, errorCode: next.errorCode, software: false });
    }
    if (!fault) return;
    const message = this.#sniffs(vcpu)
      ? `early fault: exception ${vector} before the guest has an interrupt descriptor table`
      : `triple fault: exception ${vector} could not be delivered`;
    this.shutdown({ kind: 'crash', message });
  }

  /** The guest came in through the door `sniff` and cannot take a fault yet. */
  #sniffs(vcpu: MachineVcpu): boolean {
    return this.entry.name === SNIFF && this.entry.plugin === CORE && vcpu.tables.idtr.limit === 0;
  }
  /** At #UD: CPUID behind the prefix that asks for its emulation. False: that is not what stands there. */
  #forcedCpuid(vcpu: MachineVcpu): boolean {
    const code = vcpu.read(vcpu.rip, FORCED_CPUID_BYTES);
    if (!code.ok || !isForcedCpuid(code.bytes)) return false;
    cpuidInstruction({ vcpu, machine: this.#nativeMachine, lengthBytes: FORCED_CPUID_BYTES, privileged: false });
    vcpu.stepOver(FORCED_CPUID_BYTES);
    return true;
  }

  /** An instruction for TypeScript. False: it ended in an exception or interrupt. */
  #instruction(vcpu: MachineVcpu): boolean {
    const { engine } = vcpu;
    engine.rewindToRecord();
    const lengthBytes = engine.exitLengthBytes;
    const detail = engine.exitDetail;
    const { name, exit } = instructionExit(detail, lengthBytes, vcpu);
    vcpu.ripMoved = false;
    const counter = (this.#instructionCounts[detail] ??= this.#counter(exit?.kind ?? `native.${name}`));
    counter.count++;
    if (detail === VMCALL && vcpu.cpl === 0 && this.#kernelCall(vcpu)) return true;
    const answer = exit ? this.#ask(vcpu, exit) : 'pass';
    if (answer === 'handled') {
      if (!vcpu.ripMoved) vcpu.stepOver(lengthBytes);
      return exit?.kind !== 'softwareInterrupt';
    }
    if (typeof answer === 'object') {
      this.#raise(vcpu, { vector: answer.fault, ...pick(answer) });
      return false;
    }
    if (exit?.kind === 'softwareInterrupt') {
      const { rip } = vcpu;
      vcpu.stepOver(lengthBytes);
      this.#softwareInterrupt(vcpu, exit.vector, rip, name === 'softwareInterrupt');
      return false;
    }
    const native = nativeInstructions[name];
    const done: NativeAnswer = native
      ? native({ vcpu, machine: this.#nativeMachine, lengthBytes, privileged: answer === 'common' })
      : undefinedOpcode;
    if (done === 'next') vcpu.stepOver(lengthBytes);
    else if (done !== 'done') this.#raise(vcpu, done);
    return typeof done === 'string';
  }

  /** A VMCALL at CPL 0 that is of the machine's own making. */
  #kernelCall(vcpu: MachineVcpu): boolean {
    if (this.#bios && answerBiosCall(vcpu, this.#bios)) return true;
    for (const take of this.kernelCalls) if (take(vcpu)) return true;
    return false;
  }

  readonly #nativeMachine = {
    cpuid: (vcpu: MachineVcpu, leaf: number, subleaf: number) => this.#cpuid(vcpu, leaf, subleaf),
    portRead: (port: number, sizeBytes: number) => this.#pc.ports.read(port, sizeBytes),
    portWrite: (port: number, sizeBytes: number, value: number) => this.#pc.ports.write(port, sizeBytes, value),
  };

  #softwareInterrupt(vcpu: MachineVcpu, vector: number, rip: bigint, needsIopl: boolean): void {
    const fault = deliver(vcpu, { vector, errorCode: undefined, software: true, needsIopl });
    if (!fault) return;
    vcpu.rip = rip;
    this.#raise(vcpu, fault);
  }

  #ask(vcpu: MachineVcpu, exit: Exit): ExitAnswer {
    const { onExit } = this.#options;
    if (!onExit) return this.#calls.exit(exit.kind, vcpu, exit);
    const { rip } = vcpu;
    const answer = this.#calls.exit(exit.kind, vcpu, exit);
    onExit({ vcpu: vcpu.id, rip, exit, answer });
    return answer;
  }
  #counter(exit: string): ExitCount {
    let counter = this.#exitCounts.get(exit);
    if (!counter) this.#exitCounts.set(exit, (counter = { count: 0 }));
    return counter;
  }

  /** Figures for `--stats`. */
  stats(): Record<string, number | string> {
    const [{ engine }] = this.vcpus;
    const exits = Object.fromEntries(
      [...this.#exitCounts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([kind, { count }]) => [`exit.${kind}`, count]),
    );
    return {
      instructions: this.#executed,
      'machine time ms': Math.round(this.clock.nowNs() / 1e6),
      ...engine.statistics(),
      ...exits,
    };
  }
}

function pick(answer: { errorCode?: number; cr2?: bigint }): { errorCode?: number; cr2?: bigint } {
  return {
    ...(answer.errorCode === undefined ? {} : { errorCode: answer.errorCode }),
    ...(answer.cr2 === undefined ? {} : { cr2: answer.cr2 }),
  };
}
