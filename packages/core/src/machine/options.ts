import type {
  BootModule,
  ConsolePort,
  Devices,
  Exit,
  ExitAnswer,
  GuestImage,
  PlatformChip,
  ShutdownReason,
} from '@polyvisor/plugin-api';
import type { EngineOptions } from '../engine/engine.ts';
import type { PluginCalls } from '../ports/plugin-calls.ts';
import type { FirstRun } from './first-runs.ts';
import type { GuestSample } from './sampler.ts';

/** What a machine is made of. */
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
  /** One unless said otherwise; at most as many as the door takes. */
  readonly vcpus?: number;
  /**
   * Told of all memory of the machine, the engine's own included, before anything is in it, and of the part of it where the image
   * is going to be: for advice to the host.
   */
  readonly onMemory?: (memory: Uint8Array, placeOfImage: Uint8Array) => void;
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
  /**
   * For comparisons. `privileged`: what a kernel at another CPL than 0 could not do by itself leaves generated code, though nobody is asked about
   * it. `all`: whatever can leave it does, and no plug-in's code goes before.
   */
  readonly exits?: 'privileged' | 'all';
  /** Told of every exit that a plug-in could see; only if someone wants it. */
  readonly onExit?: (event: ExitEvent) => void;
  /** Told every 20,000 to 60,000 instructions where the guest is; only if someone wants it. */
  readonly onSample?: (sample: GuestSample) => void;
  /** Told where a vCPU comes to code for the first time, and again once decoded code has gone; only if someone wants it. */
  readonly onFirstRun?: (run: FirstRun) => void;
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
