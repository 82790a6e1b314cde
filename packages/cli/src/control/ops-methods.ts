import type { VmOps } from '../ops/vm-ops.ts';
import {
  opsLoadParams,
  opsReportParams,
  opsSiteParams,
  opsUnloadParams,
  opsWatchParams,
} from '../ops/vm-ops-schema.ts';
import { noParams } from './protocol.ts';
import { type Client, type Method, method } from './server.ts';

/** The methods about a VM's paravirt operations. */
export function opsMethods(ops: VmOps): readonly (readonly [string, Method])[] {
  const watchers = new Watchers(ops);
  return [
    ['ops.report', method(opsReportParams, (params) => ops.report(params))],
    ['ops.list', method(noParams, () => ops.list())],
    [
      'ops.load',
      method(opsLoadParams, ({ module, strict, force }) =>
        ops.load(module, { mode: strict ? 'strict' : 'overlay', force }),
      ),
    ],
    ['ops.unload', method(opsUnloadParams, ({ name }) => ops.unload(name))],
    ['ops.site', method(opsSiteParams, ({ site }) => ops.site(site))],
    ['ops.watch', method(opsWatchParams, (params, client) => watchers.add(client, params))],
  ];
}

/** Those who watch calls. Sites lead through counters as long as there is one. */
class Watchers {
  readonly #ops: VmOps;
  readonly #timers = new Map<Client, NodeJS.Timeout>();
  constructor(ops: VmOps) {
    this.#ops = ops;
  }

  async add(client: Client, { intervalMs, topSites }: { intervalMs: number; topSites: number }): Promise<object> {
    await this.#ops.startCounting();
    clearInterval(this.#timers.get(client));
    const send = () => client.notify('ops.calls', { ...this.#ops.takeCalls(topSites) });
    this.#timers.set(client, setInterval(send, intervalMs).unref());
    client.onClose(() => this.#remove(client));
    return {};
  }

  #remove(client: Client): void {
    clearInterval(this.#timers.get(client));
    this.#timers.delete(client);
    if (this.#timers.size === 0) void this.#ops.stopCounting().catch(() => {});
  }
}
