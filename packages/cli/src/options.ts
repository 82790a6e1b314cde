/** What `vm run` was asked to do. */
export interface RunOptions {
  /** A path, or a name from the catalogue. */
  readonly image: string;
  /** `NAME[=options]` as typed; `undefined`: not said, the catalogue's choice. */
  readonly plugins: readonly string[] | undefined;
  readonly entryName: string | undefined;
  readonly append: string | undefined;
  readonly initrdPath: string | undefined;
  readonly memoryBytes: number;
  readonly console: ConsoleChoice;
  readonly trace: TraceRequest | undefined;
  readonly timeoutSeconds: number | undefined;
  readonly expect: string | undefined;
  readonly stats: boolean;
  readonly reboot: boolean;
  readonly clock: 'icount' | 'wall';
}

/** What `vm entries` was asked to do. */
export interface EntriesOptions {
  /** A path, or a name from the catalogue. */
  readonly image: string;
  /** Plug-ins to ask beside those that come with `vm`. */
  readonly plugins: readonly string[];
  readonly json: boolean;
}

export type ConsoleChoice = { readonly kind: 'none' | 'stdio' } | { readonly kind: 'file'; readonly path: string };

export const TRACE_CHANNELS = ['hypercalls', 'exits', 'events'] as const;
export type TraceChannel = (typeof TRACE_CHANNELS)[number];

export interface TraceRequest {
  readonly channels: readonly TraceChannel[];
  /** JSON lines go here; without it, to stderr. */
  readonly file: string | undefined;
}
