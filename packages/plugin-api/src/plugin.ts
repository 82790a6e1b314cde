import type { Devices, VirtioDevice, VirtioPlacement, VirtioSignals } from './devices.ts';
import type { DirectCode, DirectKind } from './direct.ts';
import type { Exit, ExitAnswer, ExitKind, ExitOf } from './exit.ts';
import type { BootDescriptor, FirmwareTables, PciConnection, PciDevice, PortDevice } from './hardware.ts';
import type { Vcpu } from './vcpu.ts';

/** The version of this API; a plug-in's `api` range is checked against it. */
export const API_VERSION = '1.11.0';
/**
 * The versions of the API that ops modules in guest code can have been built against: `include/pvops.h` has them all, and a
 * module's source need not say which. Newest last.
 */
export const OPS_OBJECT_API_VERSIONS: readonly string[] = [API_VERSION, '2.0.0'];

/** A plug-in is plain data and one function. */
export interface Plugin {
  /** Lower-case word, unique among the loaded plug-ins: `xen`. */
  readonly name: string;
  /** The plug-in's own version (semver). */
  readonly version: string;
  /** Range of API versions it works with (semver range): `^1.0`. */
  readonly api: string;
  /** Other plug-ins that must be loaded first: name → semver range. */
  readonly requires?: Readonly<Record<string, string>>;
  /** Plug-ins it cannot be loaded beside: name → semver range. */
  readonly conflicts?: Readonly<Record<string, string>>;
  /** The options it knows, with a line of help each; an unknown option is refused before `apply`. */
  readonly options?: Readonly<Record<string, string>>;
  apply(host: PluginHost): void;
}

/** Things only one plug-in may own. Ranges are inclusive. */
export type Claim =
  | { readonly kind: 'cpuid'; readonly first: number; readonly last: number }
  | { readonly kind: 'msr'; readonly first: number; readonly last: number }
  | { readonly kind: 'port'; readonly first: number; readonly last: number }
  | { readonly kind: 'hypercall'; readonly abi: string; readonly first: number; readonly last: number }
  | { readonly kind: 'ident'; readonly ident: number }
  | { readonly kind: 'entryRegister'; readonly register: string };

/** Guest-physical memory of the machine. Addresses and sizes in bytes; out of range throws `RangeError` and touches nothing. */
export interface GuestMemory {
  readonly sizeBytes: number;
  read8(gpa: number): number;
  read16(gpa: number): number;
  read32(gpa: number): number;
  read64(gpa: number): bigint;
  write8(gpa: number, value: number): void;
  write16(gpa: number, value: number): void;
  write32(gpa: number, value: number): void;
  write64(gpa: number, value: bigint): void;
  /** A copy of `sizeBytes` bytes. */
  readBytes(gpa: number, sizeBytes: number): Uint8Array;
  writeBytes(gpa: number, bytes: Uint8Array): void;
  fill(gpa: number, sizeBytes: number, value: number): void;
  /** Atomic bit set/clear in a 64-bit little-endian bitmap; answers the old bit. */
  testAndSetBit(gpa: number, bit: number): boolean;
  testAndClearBit(gpa: number, bit: number): boolean;
  /**
   * Live 32-bit view of all of it (index = gpa / 4), for page-table work.
   * Write through it only to pages that hold no code.
   */
  readonly words: Int32Array;
}

/** The machine's time. Nothing in a guest's machine reads wall time anywhere else. */
export interface Clock {
  /** Nanoseconds since the machine was started. */
  nowNs(): number;
  /**
   * As {@link nowNs}, but perhaps a few milliseconds behind, and cheap: for what is looked at on every exit and need not
   * be exact. Never ahead of {@link nowNs}.
   */
  coarseNs(): number;
  /** The guest's time-stamp counter, in ticks of {@link tscHz}. */
  tsc(): bigint;
  readonly tscHz: number;
  /** Wall-clock time of the machine's start, ns since the epoch. */
  readonly startEpochNs: bigint;
  /** Call back once at or after `deadlineNs`; the callback runs between guest instructions. */
  at(deadlineNs: number, callback: () => void): Timer;
}
export interface Timer {
  cancel(): void;
}

/** The operator's end of the guest's console. */
export interface ConsolePort {
  /** Guest output; any bytes. */
  write(bytes: Uint8Array): void;
  /** Called with each chunk the operator types. One reader at a time. */
  onInput(listener: (bytes: Uint8Array) => void): void;
}

/** How a guest ended, or was ended. */
export type ShutdownReason =
  | { readonly kind: 'poweroff' }
  | { readonly kind: 'reboot' }
  | { readonly kind: 'suspend' }
  | { readonly kind: 'crash'; readonly message: string }
  | { readonly kind: 'watchdog' }
  | { readonly kind: 'softReset' }
  /** The test device was told that the guest's tests are over; 0: they passed. Since API 1.2. */
  | { readonly kind: 'testsDone'; readonly status: number };

/** A decompressed, recognised guest image. */
export interface GuestImage {
  readonly name: string;
  /** What it is, in words: `bzImage (Linux 6.1.0, xz payload)`. */
  readonly description: string;
  /** `disk`: the first sector is one to start from; since API 1.2. */
  readonly format: 'elf64' | 'elf32' | 'bzimage' | 'multiboot' | 'disk' | 'unknown';
  /** The file as given, less an outer compression (`vmlinux.gz`). */
  readonly file: Uint8Array;
  /** The ELF inside (the file itself, or a bzImage's unpacked payload), if there is one. */
  readonly elf?: ElfImage;
}

/** ELF headers as parsed by core's loader. Offsets into {@link bytes}; addresses as in the file. */
export interface ElfImage {
  readonly bytes: Uint8Array;
  readonly class: 32 | 64;
  readonly machine: number;
  readonly entry: bigint;
  readonly programHeaders: readonly ElfProgramHeader[];
  readonly sections: readonly ElfSection[];
  /** All ELF notes: those of PT_NOTE segments, or, without such, those of SHT_NOTE sections. */
  readonly notes: readonly ElfNote[];
  section(name: string): ElfSection | undefined;
}
export interface ElfProgramHeader {
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly vaddr: bigint;
  readonly paddr: bigint;
  readonly fileSizeBytes: number;
  readonly memorySizeBytes: number;
  readonly align: bigint;
}
export interface ElfSection {
  readonly name: string;
  readonly type: number;
  readonly flags: bigint;
  readonly address: bigint;
  readonly offset: number;
  readonly sizeBytes: number;
}
export interface ElfNote {
  readonly owner: string;
  readonly type: number;
  readonly desc: Uint8Array;
  /** Where it was found: `PT_NOTE` or a section's name. */
  readonly where: string;
}

/** A door into an image: one way to start it. */
export interface Entry {
  /** Name used by `--entry`: `pv`, `pvh`, `native`. */
  readonly name: string;
  /** The ABI, in words: `Xen PV 64-bit`. */
  readonly abi: string;
  readonly address: bigint;
  /** Where the address was found: `ELF note XEN_ELFNOTE_ENTRY (PT_NOTE)`. */
  readonly foundIn: string;
  /** Plug-in that offers it; `core`: the PC's own doors. */
  readonly plugin: string;
  /** Higher wins when no `--entry` is given. */
  readonly priority: number;
}
/** A door that the image has, but that cannot be gone through here. */
export interface ClosedDoor extends Omit<Entry, 'priority'> {
  /** Why not. */
  readonly reason: string;
}
/** A door that the image does not have. */
export interface MissingDoor {
  readonly name: string;
  readonly abi: string;
  readonly reason: string;
}
/** What a finder answers: doors that it opens, doors that it sees but does not open, and why others are not there. */
export interface EntrySearch {
  readonly entries: readonly Entry[];
  /** Since API 1.1. */
  readonly closed?: readonly ClosedDoor[];
  readonly missing: readonly MissingDoor[];
}

/** A file that is handed to a guest at its start. */
export interface BootModule {
  readonly bytes: Uint8Array;
  readonly commandLine: string;
}

/** Everything needed to start one guest. */
export interface BootRequest {
  readonly image: GuestImage;
  readonly entry: Entry;
  readonly commandLine: string;
  readonly initrd?: Uint8Array;
  /** Files that the image gets beside it, each with its text (Multiboot: modules). Since API 1.2. */
  readonly modules?: readonly BootModule[];
  /** Memory promised to the guest, bytes. The machine has more: see {@link PlatformDefinition.overheadBytes}. */
  readonly memoryBytes: number;
}

/**
 * The chips a PC may have: 8259 pair, 8254 timer with the system control ports, local APICs, I/O APIC, HPET, clock and CMOS,
 * 16550 at COM1, keyboard controller, PCI bus with the reset register, virtio
 * functions on it for `Machine.devices`, ACPI hardware and tables.
 */
// biome-ignore format: a table
export const PLATFORM_CHIPS = [
  'pic', 'pit', 'localApic', 'ioApic', 'hpet', 'rtc', 'uart', 'keyboardController', 'pci', 'virtio', 'acpi',
] as const;
/** `testDevice`: ports that suites of machine tests drive; in no PC unless it is asked for. */
export type PlatformChip = (typeof PLATFORM_CHIPS)[number] | 'testDevice';

/** What the PC is made of; plug-ins may change it in `configure`. */
export interface PlatformDefinition {
  /** The door that the guest is started through (since 1.2). */
  readonly entry: Entry;
  /**
   * The chips that are there. All of them where the machine itself starts the guest (door `native`), none where a plug-in
   * does: it adds what its guests expect. Their absence shows in CPUID and in the ACPI tables.
   */
  readonly chips: Set<PlatformChip>;
  readonly memoryBytes: number;
  /** Machine memory beyond the guest's own that plug-ins need for their tables; add to it. */
  overheadBytes: number;
  /**
   * Whether the machine keeps memory behind all of that for operations put into the guest's kernel, which it maps there:
   * only where the guest's page tables are the processor's. True where the machine itself starts the guest, else false
   * unless the plug-in wants it (since 1.2).
   */
  roomForOps: boolean;
  /** How many the operator wants; a plug-in leaves it as it is. */
  vcpus: number;
  /** How many the door takes: 8 where the machine itself starts the guest, else 1 unless the plug-in says more (since 1.2). */
  mostVcpus: number;
  /**
   * Build code that generated code runs before an exit of this kind; at once, and again whenever it is compiled (since 1.2).
   * @throws PolyvisorError PV2023 if there is such code already
   */
  direct(kind: DirectKind, build: (code: DirectCode) => void): void;
  /** Claimable CPUID policy: leaf handlers are asked by the `cpuid` exit hook. */
  readonly commandLine: string;
}

/** The machine, as a plug-in sees it. */
export interface Machine {
  readonly memory: GuestMemory;
  readonly clock: Clock;
  readonly console: ConsolePort;
  /** Host ends of disks, network links, folder shares and entropy, for a transport to serve (since 1.1). */
  readonly devices: Devices;
  /**
   * {@link devices} and the console as virtio devices, for a plug-in that has a bus of its own for them; the console comes
   * first, then disks, network cards, shares and entropy. To be called once, on a platform without the chip `virtio`. Since API 1.2.
   */
  virtioDevices(signals: VirtioSignals): readonly VirtioDevice[];
  /**
   * The same devices as functions of the PCI bus for drivers of Virtio 1.0 and later, in the first free slots: registers
   * behind BAR 0, placed and decoded, INTA to the plug-in, no MSI-X. To be called once, instead of {@link virtioDevices},
   * on a platform with the chip `pci` and without `virtio`; at any time. Since API 1.2.
   * @throws PolyvisorError PV2021 without a PCI bus, or if they do not fit
   */
  plugVirtio(placement: VirtioPlacement): void;
  readonly vcpus: readonly Vcpu[];
  readonly platform: Readonly<PlatformDefinition>;
  /** The CPU's own CPUID answer, by the policy "what is implemented" (SDM vol. 2A, CPUID). */
  cpuid(leaf: number, subleaf: number): { eax: number; ebx: number; ecx: number; edx: number };
  /**
   * Do what firmware does before it starts anything: chips in their working state, PCI resources, MTRRs, ACPI tables in
   * memory below 1 MiB. For `boot`, by the plug-in that starts the guest; the second call answers the same (since 1.2).
   */
  firmware(): FirmwareTables;
  /** Place a device behind I/O ports; for `boot` (since 1.2). @throws PolyvisorError PV2020 if a port is taken */
  claimPorts(name: string, firstPort: number, ports: number, device: PortDevice): void;
  /** Put a device into the first free slot; for `boot` (since 1.2). @throws PolyvisorError PV2021 if there is no PCI bus */
  plugPci(device: PciDevice): PciConnection;
  /**
   * Show a page of memory at another guest-physical address too, above all memory; `undefined` takes it away again. All
   * accesses there are as slow as a device's. Addresses are multiples of 4,096 (since 1.2).
   * @throws RangeError for others, and where there is memory already
   */
  aliasPage(gpa: number, targetGpa: number | undefined): void;
  /** What the guest finds in the CPUID leaves of the boot descriptor from now on (since 1.2). */
  describeBoot(descriptor: BootDescriptor): void;
  /** End the guest; the first call wins. Execution stops after the current exit. */
  shutdown(reason: ShutdownReason): void;
  /**
   * A rising edge at ISA IRQ 0, as the 8254 makes one: to the 8259 or the I/O APIC, as the guest has set them up. Without
   * these chips nothing happens. Since API 1.2.
   */
  raiseTimerInterrupt(): void;
  /** Name for an address, from the image's symbols if it has any: `startup_xen+0x10`. */
  symbol(gva: bigint): string | undefined;
}

/** A tap on a hook; hooks are tapable hooks without `call`. */
export interface HookFacade<Args extends unknown[], Result> {
  tap(name: string, fn: (...args: Args) => Result): void;
}
export interface HookMapFacade<K extends string, Args extends unknown[], Result> {
  for(key: K): HookFacade<Args, Result>;
}

/** The hooks a plug-in may tap. See docs/plugin-authoring.md for Type, Kind, When and late taps of each. */
export interface HostHooks {
  /** SyncHook — every image is shown to every finder. */
  readonly findEntries: HookFacade<[image: GuestImage], EntrySearch>;
  /** SyncHook — before memory is allocated; the platform can still change. */
  readonly configure: HookFacade<[platform: PlatformDefinition], void>;
  /** SyncBailHook — `true`: this plug-in has placed the image and set vCPU 0's registers. */
  readonly boot: HookFacade<[request: BootRequest, machine: Machine], true | undefined>;
  readonly vcpuCreate: HookFacade<[vcpu: Vcpu], void>;
  readonly vcpuSwitch: HookFacade<[from: Vcpu | undefined, to: Vcpu], void>;
  readonly vcpuTerminate: HookFacade<[vcpu: Vcpu], void>;
  /** SyncBailHook per kind — first level; the first answer that is not `pass` decides. */
  readonly exit: { for<K extends ExitKind>(kind: K): HookFacade<[vcpu: Vcpu, exit: ExitOf<K>], ExitAnswer> };
  /** SyncHook — before a runnable vCPU enters guest code: the place to deliver pending virtual interrupts. */
  readonly beforeEntry: HookFacade<[vcpu: Vcpu], void>;
  /** SyncBailHook — the operator wants the guest to power off by itself; `true`: it has been asked. Since API 1.1. */
  readonly requestPoweroff: HookFacade<[], true | undefined>;
  readonly shutdown: HookFacade<[reason: ShutdownReason], void>;
  /**
   * SyncHook, of this plug-in alone — what the guest uses of it at present, in a few words each: `hypercall page`. With any
   * of it the plug-in is not removed. What the host sees itself need not be said. Since API 1.7.
   */
  readonly inUse: HookFacade<[], readonly string[]>;
  /** SyncHook, of this plug-in alone — it has been removed: cancel timers, let go of the vCPUs. Since API 1.7. */
  readonly removed: HookFacade<[], void>;
}

/** What `apply` gets: the plug-in's own view of the host. */
export interface PluginHost {
  readonly apiVersion: string;
  readonly hooks: HostHooks;
  readonly options: Readonly<Record<string, string>>;
  /** Take sole ownership; throws a coded error that names both claimants. */
  claim(claim: Claim): void;
  /**
   * A file that the operator named in an option, relative to the working folder. Since API 1.2.
   * @throws PolyvisorError PV1018 if it cannot be read, or is larger than 16 MiB
   */
  readFile(path: string): Uint8Array;
  /** Counters shown by `--stats`: `count('hypercall.mmu_update')`. */
  count(name: string, by?: number): void;
  /** A typed trace event; free when nobody listens. `make` runs only if the channel is on. */
  trace(channel: 'hypercalls' | 'exits' | 'events', make: () => Readonly<Record<string, unknown>>): void;
  /** Whether somebody listens to a channel at present. Since API 1.2. */
  isTraced(channel: 'hypercalls' | 'exits' | 'events'): boolean;
  log(level: 'debug' | 'info' | 'warn' | 'error', message: string): void;
}

export type { Exit, ExitAnswer, ExitKind };
