import {
  API_VERSION,
  type Claim,
  type Exit,
  type ExitAnswer,
  type HookFacade,
  type HostHooks,
  type Plugin,
  type PluginHost,
  PolyvisorError,
} from '@polyvisor/plugin-api';
import type { FakeVcpu } from './vcpu.ts';

type Call = (...args: never[]) => unknown;
type TraceChannel = Parameters<PluginHost['trace']>[0];

/**
 * A host for one plug-in: keeps its taps so that a test can call them, and records claims, counters,
 * trace events and log lines. It checks nothing: refusals are the real host's work.
 */
export class FakeHost implements PluginHost {
  readonly apiVersion = API_VERSION;
  readonly options: Readonly<Record<string, string>>;
  readonly claims: Claim[] = [];
  readonly counters = new Map<string, number>();
  readonly traced: { channel: TraceChannel; event: Readonly<Record<string, unknown>> }[] = [];
  readonly logged: { level: string; message: string }[] = [];
  readonly hooks: HostHooks;
  /** What {@link readFile} answers, by path. */
  readonly files = new Map<string, Uint8Array>();
  readonly #taps = new Map<string, Call[]>();

  constructor(options: Readonly<Record<string, string>> = {}) {
    this.options = options;
    this.hooks = {
      findEntries: this.#hook('findEntries'),
      configure: this.#hook('configure'),
      boot: this.#hook('boot'),
      vcpuCreate: this.#hook('vcpuCreate'),
      vcpuSwitch: this.#hook('vcpuSwitch'),
      vcpuTerminate: this.#hook('vcpuTerminate'),
      exit: { for: (kind) => this.#hook(`exit.${kind}`) },
      beforeEntry: this.#hook('beforeEntry'),
      requestPoweroff: this.#hook('requestPoweroff'),
      shutdown: this.#hook('shutdown'),
      inUse: this.#hook('inUse'),
      removed: this.#hook('removed'),
    };
  }

  /** A host to which `plugin` has been applied. */
  static of(
    plugin: Plugin,
    options?: Readonly<Record<string, string>>,
    files: ReadonlyMap<string, Uint8Array> = new Map(),
  ): FakeHost {
    const host = new FakeHost(options);
    for (const [path, bytes] of files) host.files.set(path, bytes);
    plugin.apply(host);
    return host;
  }

  readFile(path: string): Uint8Array {
    const bytes = this.files.get(path);
    if (!bytes) throw new PolyvisorError('PV1018', `cannot read ${path}: no such file`, 'add it to files');
    return bytes;
  }
  claim(claim: Claim): void {
    this.claims.push(claim);
  }
  count(name: string, by = 1): void {
    this.counters.set(name, (this.counters.get(name) ?? 0) + by);
  }
  trace(channel: TraceChannel, make: () => Readonly<Record<string, unknown>>): void {
    this.traced.push({ channel, event: make() });
  }
  isTraced(): boolean {
    return true;
  }
  log(level: 'debug' | 'info' | 'warn' | 'error', message: string): void {
    this.logged.push({ level, message });
  }

  /** Calls every tap of a hook (`boot`, `beforeEntry`, ...) and answers what each of them answered. */
  call<Name extends Exclude<keyof HostHooks, 'exit'>>(name: Name, ...args: HookArguments<HostHooks[Name]>): unknown[] {
    return (this.#taps.get(name) ?? []).map((tap) => tap(...(args as unknown[] as never[])));
  }
  /** The first answer that is not `pass`, as the machine asks for it. */
  exit(vcpu: FakeVcpu, exit: Exit): ExitAnswer {
    for (const tap of this.#taps.get(`exit.${exit.kind}`) ?? []) {
      const answer = tap(vcpu as never, exit as never) as ExitAnswer;
      if (answer !== 'pass') return answer;
    }
    return 'pass';
  }

  #hook(name: string): { tap(label: string, fn: Call): void } {
    return {
      tap: (_label, fn) => {
        this.#taps.set(name, [...(this.#taps.get(name) ?? []), fn]);
      },
    };
  }
}

type HookArguments<Hook> = Hook extends HookFacade<infer Args, unknown> ? Args : never;
