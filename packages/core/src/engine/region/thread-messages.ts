import type { CpuMode } from '../../isa/modes.ts';
import type { Growth, RegionPart } from './maker.ts';

/** A thread that makes regions, as the engine's thread sees it. Messages are structured clones, and keep their order. */
export interface RegionThread {
  send(message: ToThread): void;
  /** The next message of the thread, if there is one; never waits. Undefined for ever after the thread has failed. */
  receive(): FromThread | undefined;
  readonly failed: boolean;
}

/** A page of code; those of an engine are counted in the order of their entry tables. */
export interface PageMessage {
  readonly physicalPage: number;
  readonly mode: CpuMode;
}

export type ToThread =
  /** First of all. */
  | {
      readonly kind: 'start';
      /** The machine's, which is shared. */
      readonly memory: WebAssembly.Memory;
      readonly ramSizeBytes: number;
      readonly base: number;
      readonly threshold: number;
    }
  /** Make a region; answered with `made` or `notMade`. */
  | {
      readonly kind: 'make';
      readonly id: number;
      /** Pages of code that have come since the last message. */
      readonly newPages: readonly PageMessage[];
      /** Records before this address are complete. */
      readonly recordsEnd: number;
      readonly page: number;
      readonly linear: bigint;
      readonly growth: Growth;
      /** For one that has grown: a copy of the code look-up. */
      readonly lookup: Uint8Array | undefined;
    }
  /** Put regions that have been made into a module; others up to `seen` are not wanted any more. Answered with `compiled`. */
  | { readonly kind: 'compile'; readonly ids: readonly number[]; readonly seen: number }
  /** All pages and records are gone. */
  | { readonly kind: 'forget' };

export type FromThread =
  /** It has been started: until then what is asked for would wait for as long as that takes. */
  | { readonly kind: 'ready' }
  | {
      readonly kind: 'made';
      readonly id: number;
      readonly instructions: number;
      readonly growth: Growth;
      /** Pages by their number. */
      readonly parts: readonly RegionPart<number>[];
      readonly tables: readonly number[];
      readonly elapsedMs: number;
    }
  /**
   * `unable`: it has failed, and the engine's thread is to see what comes of it; else there is nothing to be made there.
   */
  | { readonly kind: 'notMade'; readonly id: number; readonly unable: boolean; readonly elapsedMs: number }
  | {
      readonly kind: 'compiled';
      readonly ids: readonly number[];
      readonly module: WebAssembly.Module;
      readonly bytes: Uint8Array;
      readonly elapsedMs: number;
    };
