import type { DiskMode, Machine, MachineOptions } from '@polyvisor/core';

/** The part of a machine that is used here; tests bring their own. */
export type RunnableMachine = Pick<
  Machine,
  'entry' | 'run' | 'stop' | 'stats' | 'paused' | 'pause' | 'resume' | 'requestPoweroff'
>;
export type CreateMachine = (options: MachineOptions) => Promise<RunnableMachine>;

/** What `vm run` was asked to do. */
export interface RunOptions {
  /** A path, or a name from the catalogue. */
  readonly image: string;
  /** `NAME[=options]` as typed; `undefined`: not said, the catalogue's choice. */
  readonly plugins: readonly string[] | undefined;
  readonly entryName: string | undefined;
  readonly append: string | undefined;
  readonly initrdPath: string | undefined;
  /** Files for the guest beside its image. */
  readonly bootModules: readonly BootModuleRequest[];
  /** Chips beside those that the door brings. */
  readonly chips: readonly ExtraChip[];
  /** Ops modules for the kernel, in the order in which they are loaded. */
  readonly modules: readonly string[];
  /** Whose ops modules files of the boot list may name. */
  readonly moduleDirectory: string | undefined;
  readonly memoryBytes: number;
  readonly vcpus: number;
  readonly console: ConsoleChoice;
  readonly trace: TraceRequest | undefined;
  readonly timeoutSeconds: number | undefined;
  readonly expect: string | undefined;
  readonly stats: boolean;
  /** Where the flame graph goes; `undefined`: no samples are taken. */
  readonly profilePath: string | undefined;
  /** Where to list the kernel's functions that have run. */
  readonly functionsPath: string | undefined;
  readonly reboot: boolean;
  readonly clock: 'icount' | 'wall';
  /** Whether there is a control socket, and under which name; `undefined`: one made of the image's. */
  readonly control: boolean;
  readonly name: string | undefined;
  readonly tier: TierChoice;
  /** Whether code is compiled in a thread of its own; `auto`: where the host can run two at a time. */
  readonly compileThread: CompileThreadChoice;
  /** Whether compiled code is kept for the next run. */
  readonly codeCache: boolean;
  readonly exits: ExitsChoice;
  readonly disks: readonly DiskRequest[];
  readonly net: NetRequest;
  readonly shares: readonly ShareRequest[];
}

export type CompileThreadChoice = 'auto' | 'on' | 'off';

/** A file for the guest, and the text that goes with it. */
export interface BootModuleRequest {
  readonly file: string;
  readonly text: string;
}

/** What `--chip` takes, and what the machine calls it. */
export const EXTRA_CHIPS = { testdev: 'testDevice' } as const;
export type ExtraChip = (typeof EXTRA_CHIPS)[keyof typeof EXTRA_CHIPS];

export interface DiskRequest {
  readonly file: string;
  readonly mode: DiskMode;
}

export type NetRequest =
  | { readonly kind: 'none' }
  | { readonly kind: 'nat'; readonly forwards: readonly PortForward[] }
  | { readonly kind: 'socket'; readonly address: StreamAddress };

/** A TCP port of the host's loopback that leads to one of the guest's. */
export interface PortForward {
  readonly hostPort: number;
  readonly guestPort: number;
}

/** A Unix socket, or a TCP port of this host's loopback. */
export type StreamAddress = { readonly path: string } | { readonly host: string; readonly port: number };

export interface ShareRequest {
  readonly directory: string;
  readonly tag: string;
  readonly writable: boolean;
}

/** How code is run: interpreted; compiled the first time it is reached; or compiled once it is reached `threshold` times. */
export type TierChoice =
  | { readonly kind: 'interpret' }
  | { readonly kind: 'compile' }
  | { readonly kind: 'both'; readonly threshold: number | undefined };

/**
 * Which instructions leave generated code, of those that need not: those that somebody is asked about; also those that are privileged, as
 * under a hypervisor that traps and emulates; or all.
 */
export type ExitsChoice = 'asked' | 'privileged' | 'all';

/** What `vm entries` was asked to do. */
export interface EntriesOptions {
  /** A path, or a name from the catalogue. */
  readonly image: string;
  /** Plug-ins to ask beside those that come with `vm`. */
  readonly plugins: readonly string[];
  readonly json: boolean;
}

/** What `vm compare` was asked to do. */
export interface CompareOptions {
  /** Files of `vm run --functions`. */
  readonly files: readonly string[];
  /** All functions, not only those for the time of booting. */
  readonly all: boolean;
  readonly json: boolean;
}

/** What `vm ops report` was asked to do. */
export interface OpsReportOptions {
  /** A path, or a name from the catalogue. */
  readonly image: string;
  readonly json: boolean;
  /** Whether each call site is listed. */
  readonly sites: boolean;
  /** A table of ops to fit to the kernel's. */
  readonly tablePath: string | undefined;
  /** Whether a slot that the table forgets is an error. */
  readonly strict: boolean;
}

/** A command to running VMs. `vm` is a name or pid; `undefined`: the only one that runs. */
export type ControlRequest =
  | { readonly command: 'ps'; readonly json: boolean }
  | { readonly command: 'attach' | 'pause' | 'resume'; readonly vm: string | undefined }
  | {
      readonly command: 'stop';
      readonly vm: string | undefined;
      readonly force: boolean;
      readonly timeoutSeconds: number;
    }
  | {
      readonly command: 'stats';
      readonly vm: string | undefined;
      readonly json: boolean;
      readonly watchSeconds: number | undefined;
    };

/** A command about the paravirt operations of a running VM. */
export type OpsRequest = { readonly vm: string | undefined; readonly json: boolean } & (
  | { readonly command: 'report'; readonly counts: boolean | undefined; readonly text: boolean }
  | { readonly command: 'list' }
  | { readonly command: 'load'; readonly module: string; readonly strict: boolean; readonly force: boolean }
  | { readonly command: 'unload'; readonly name: string }
  | { readonly command: 'site'; readonly site: string }
  | { readonly command: 'watch'; readonly seconds: number; readonly topSites: number }
);

/** A command about the plug-ins of a running VM. */
export type PluginRequest = { readonly vm: string | undefined; readonly json: boolean } & (
  | { readonly command: 'list' }
  /** `NAME[=options]` as typed. */
  | { readonly command: 'load'; readonly plugin: string }
  | { readonly command: 'unload'; readonly name: string }
);

export type ConsoleChoice = { readonly kind: 'none' | 'stdio' } | { readonly kind: 'file'; readonly path: string };

export const TRACE_CHANNELS = ['hypercalls', 'exits', 'events'] as const;
export type TraceChannel = (typeof TRACE_CHANNELS)[number];

export interface TraceRequest {
  readonly channels: readonly TraceChannel[];
  /** JSON lines go here; without it, to stderr. */
  readonly file: string | undefined;
}
