import { API_VERSION, type Claim, type PluginHost } from '@polyvisor/plugin-api';
import type { FileReader } from '../ports/file-reader.ts';
import type { PluginCalls } from '../ports/plugin-calls.ts';
import { checkManifest } from './checks.ts';
import { ClaimRegistry } from './claims.ts';
import { isCoded, messageOf, refusal } from './codes.ts';
import type { StagedTap } from './guards.ts';
import { HookSet } from './hooks.ts';
import { type Manifest, readPlugin } from './shape.ts';

export type TraceChannel = Parameters<PluginHost['trace']>[0];
export type LogLevel = Parameters<PluginHost['log']>[0];

/** One trace event: what the plug-in made, and whose it is. */
export interface TraceEvent {
  readonly channel: TraceChannel;
  readonly plugin: string;
  readonly data: Readonly<Record<string, unknown>>;
}
export type TraceListener = (event: TraceEvent) => void;
export type LogListener = (level: LogLevel, plugin: string, message: string) => void;

/** What is known of a loaded plug-in. */
export interface LoadedPlugin {
  readonly name: string;
  readonly version: string;
  readonly where: string;
}

export interface LoadRequest {
  /** Where it came from, for messages: a path or a package's name. */
  readonly where: string;
  readonly options?: Readonly<Record<string, string>>;
}

/**
 * The plug-ins of one machine. A plug-in is checked in this order: shape, API version, name, requires,
 * conflicts, options, claims; one that is refused leaves no claim, tap or counter behind, and neither does one that is removed.
 * NOT IMPLEMENTED: handing what a plug-in knows over to another version of it.
 */
export class PluginRegistry {
  /** The machine's side of the hooks. */
  readonly calls: PluginCalls;
  readonly #hooks = new HookSet();
  readonly #claims = new ClaimRegistry();
  readonly #manifests = new Map<string, Manifest>();
  #plugins: readonly LoadedPlugin[] = [];
  readonly #counters = new Map<string, Counters>();
  /** By plug-in: lets its host do nothing any more. */
  readonly #hosts = new Map<string, () => void>();
  readonly #traceListeners: Record<TraceChannel, TraceListener[]> = { hypercalls: [], exits: [], events: [] };
  readonly #log: LogListener;
  readonly #files: FileReader | undefined;

  constructor(options: { log?: LogListener; files?: FileReader } = {}) {
    this.calls = this.#hooks;
    this.#log = options.log ?? (() => {});
    this.#files = options.files;
  }

  /** In order of loading. */
  get plugins(): readonly LoadedPlugin[] {
    return this.#plugins;
  }
  /** The guest has: there may be another machine soon, with plug-ins of its own. */
  get hasEnded(): boolean {
    return this.#hooks.hasEnded;
  }
  get claims(): readonly { readonly plugin: string; readonly claim: string }[] {
    return this.#claims.list();
  }

  /** Checks and applies a plug-in of unknown shape. @throws PolyvisorError PV1003–PV1017 */
  load(raw: unknown, { where, options = {} }: LoadRequest): LoadedPlugin {
    const manifest = readPlugin(raw, where);
    checkManifest(manifest, this.#manifests, options);
    const staging: Staging = { phase: 'applying', taps: [], claims: [], counters: new Map() };
    const host = this.#hostFor(manifest, options, staging);
    try {
      this.#apply(manifest, host);
      // Taps made while others are replayed join the end of the list.
      for (const tap of staging.taps) tap.replay();
    } catch (error) {
      staging.phase = 'gone';
      throw error;
    }
    this.#commit(manifest, staging);
    const loaded = { name: manifest.name, version: manifest.version, where };
    this.#plugins = [...this.#plugins, loaded];
    return loaded;
  }

  /**
   * What keeps a plug-in from being removed, in words: what the running guest uses of it, and plug-ins that require it.
   * @throws PolyvisorError PV1014, PV1015 of a plug-in that fails to say what is in use; PV1020
   */
  usesOf(name: string): readonly string[] {
    this.#loaded(name);
    return [...this.#hooks.usesOf(name), ...this.#dependentsOn(name)];
  }
  #dependentsOn(name: string): readonly string[] {
    const dependents = [...this.#manifests.values()].filter(({ requires }) => requires.has(name));
    return dependents.map((other) => `plug-in ${other.name}, which requires it`);
  }

  /**
   * Between two instructions of the guest, which goes on as if the plug-in had never been loaded.
   * @param others what uses it beside what is seen here
   * @throws PolyvisorError PV1019 that names guest, plug-in and what is in use; PV1014, PV1015, PV1020, PV1022
   */
  unload(name: string, others: readonly string[] = []): LoadedPlugin {
    const plugin = this.#loaded(name);
    const { acting } = this.#hooks;
    if (acting !== undefined) {
      throw refusal('PV1022', `plug-in ${name} cannot be removed: a hook of plug-in ${acting} is being called`);
    }
    const ofGuest = this.#hooks.usesOf(name);
    const uses = [...ofGuest, ...this.#dependentsOn(name), ...others];
    if (uses.length > 0) throw this.#inUse(name, uses, ofGuest.length > 0);
    this.#hosts.get(name)?.();
    this.#hosts.delete(name);
    this.#plugins = this.#plugins.filter((other) => other !== plugin);
    this.#manifests.delete(name);
    this.#counters.delete(name);
    this.#claims.remove(name);
    for (const error of this.#hooks.remove(name)) this.#log('error', name, error.message);
    return plugin;
  }

  #loaded(name: string): LoadedPlugin {
    const found = this.#plugins.find((plugin) => plugin.name === name);
    if (found) return found;
    const loaded = this.#plugins.map((plugin) => plugin.name).join(', ') || 'none';
    throw refusal('PV1020', `no plug-in ${name} is loaded`, { loaded });
  }

  #inUse(name: string, uses: readonly string[], byGuest: boolean): Error {
    const { guest } = this.#hooks;
    const by = guest === undefined ? '' : ` by guest ${guest}`;
    const first = byGuest ? 'end the guest, and start it without the plug-in' : 'unload first what uses it';
    return refusal('PV1019', `plug-in ${name} is in use${by}: ${uses.join(', ')}`, { first });
  }

  /** Counters of all plug-ins, sorted by plug-in and name. */
  counters(): { readonly plugin: string; readonly name: string; readonly count: number }[] {
    return [...this.#counters].flatMap(([plugin, counters]) =>
      [...counters].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, { count }]) => ({ plugin, name, count })),
    );
  }

  /** Listens to a channel until the returned function is called; a channel nobody listens to costs nothing. */
  onTrace(channel: TraceChannel, listener: TraceListener): () => void {
    this.#traceListeners[channel].push(listener);
    return () => {
      const index = this.#traceListeners[channel].indexOf(listener);
      if (index >= 0) this.#traceListeners[channel].splice(index, 1);
    };
  }

  #apply(manifest: Manifest, host: PluginHost): void {
    const failed = (what: string, cause?: unknown) => {
      const error = refusal('PV1012', `plug-in ${manifest.name} failed in apply: ${what}`, { plugin: manifest.name });
      error.cause = cause;
      return error;
    };
    let answer: unknown;
    try {
      answer = manifest.apply(host) as unknown;
    } catch (error) {
      throw isCoded(error) ? error : failed(messageOf(error), error);
    }
    if (answer instanceof Promise) {
      // Nobody else will look at its end.
      answer.catch(() => {});
      throw failed('it answered a promise, but apply is synchronous');
    }
  }

  #commit(manifest: Manifest, staging: Staging): void {
    this.#hosts.set(manifest.name, () => {
      staging.phase = 'gone';
    });
    this.#claims.commit(manifest.name, staging.claims);
    this.#manifests.set(manifest.name, manifest);
    this.#counters.set(manifest.name, staging.counters);
    staging.phase = 'loaded';
    for (const tap of staging.taps.splice(0)) tap.connect();
  }

  #hostFor(manifest: Manifest, options: Readonly<Record<string, string>>, staging: Staging): PluginHost {
    const plugin = manifest.name;
    const listeners = this.#traceListeners;
    const { counters } = staging;
    return Object.freeze({
      apiVersion: API_VERSION,
      hooks: this.#hooks.facadeFor(plugin, (tap) => submit(plugin, staging, tap)),
      options: Object.freeze({ ...options }),
      readFile: (path: string) => readFileFor(plugin, this.#files, path),
      claim: (claim: Claim) => this.#claim(plugin, staging, claim),
      count(name: string, by = 1) {
        const counter = counters.get(name);
        if (counter === undefined) counters.set(name, { count: by });
        else counter.count += by;
      },
      trace(channel: TraceChannel, make: () => Readonly<Record<string, unknown>>) {
        const to = listeners[channel];
        if (to === undefined || to.length === 0 || staging.phase === 'gone') return;
        const event = { channel, plugin, data: make() };
        for (const listener of [...to]) listener(event);
      },
      isTraced: (channel: TraceChannel) => staging.phase !== 'gone' && (listeners[channel]?.length ?? 0) > 0,
      log: (level: LogLevel, message: string) => this.#log(level, plugin, message),
    });
  }

  #claim(plugin: string, staging: Staging, claim: Claim): void {
    refuseGone(plugin, staging);
    const isApplying = staging.phase === 'applying';
    this.#claims.stage(plugin, isApplying ? staging.claims : [], claim);
    if (isApplying) staging.claims.push({ ...claim });
    else this.#claims.commit(plugin, [claim]);
  }
}

/** Largest file that a plug-in is given. */
const MAX_FILE_BYTES = 16 << 20;

/** A file for a plug-in. @throws PV1018 */
function readFileFor(plugin: string, files: FileReader | undefined, path: string): Uint8Array {
  const wrong = (what: string) => refusal('PV1018', `plug-in ${plugin} cannot read ${path}: ${what}`, { plugin });
  if (!files) throw wrong('there are no files here');
  try {
    return files.readFile(path, MAX_FILE_BYTES);
  } catch (error) {
    throw wrong(messageOf(error));
  }
}

/** Figures by name. */
type Counters = Map<string, { count: number }>;

/** What a plug-in asked for during `apply`, kept until all of it has been accepted. */
interface Staging {
  /** Taps of one that is loaded are connected at once, those of one that has been refused or removed are not taken. */
  phase: 'applying' | 'loaded' | 'gone';
  readonly taps: StagedTap[];
  readonly claims: Claim[];
  readonly counters: Counters;
}

function submit(plugin: string, staging: Staging, tap: StagedTap): void {
  refuseGone(plugin, staging);
  if (staging.phase === 'applying') {
    staging.taps.push(tap);
    return;
  }
  tap.replay();
  tap.connect();
}

/** @throws PV1021 */
function refuseGone(plugin: string, { phase }: Staging): void {
  if (phase !== 'gone') return;
  throw refusal('PV1021', `plug-in ${plugin} is not loaded, and goes on claiming or tapping`, { plugin });
}
