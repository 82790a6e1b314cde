import { controlError } from '../cli-error.ts';
import type { ConsoleHub } from '../console/hub.ts';
import type { VmOps } from '../ops/vm-ops.ts';
import type { VmPlugins } from '../plugins/vm-plugins.ts';
import { opsMethods } from './ops-methods.ts';
import { pluginMethods } from './plugin-methods.ts';
import { inputParams, noParams, stopParams, type VmInfo, type VmStats, watchParams } from './protocol.ts';
import { type Client, type Method, method } from './server.ts';

/** What can be done with a VM from outside. */
export interface ControlledVm {
  readonly console: ConsoleHub;
  /** Its kernel's paravirt operations. */
  readonly ops: VmOps;
  readonly plugins: VmPlugins;
  info(): VmInfo;
  stats(): VmStats;
  pause(): void;
  resume(): void;
  /** False: nobody here can ask the guest. */
  requestPoweroff(): boolean;
  /** End it; the guest is not asked. */
  end(): void;
}

const refused = (what: string, fix: string) => controlError('PV3013', what, fix);

/** Every method of a VM's control socket, by name. */
export function controlMethods(vm: ControlledVm): ReadonlyMap<string, Method> {
  const subscriptions = new Subscriptions();
  return new Map([
    ['vm.info', method(noParams, () => vm.info())],
    ['vm.stats', method(noParams, () => vm.stats())],
    ['vm.pause', method(noParams, () => changeState(vm, 'pause'))],
    ['vm.resume', method(noParams, () => changeState(vm, 'resume'))],
    ['vm.stop', method(stopParams, ({ force }) => stop(vm, force))],
    [
      'stats.watch',
      method(watchParams, ({ intervalMs }, client) =>
        subscriptions.set(client, 'stats', watchStats(vm, intervalMs, client)),
      ),
    ],
    ['console.attach', method(noParams, (_params, client) => subscriptions.set(client, 'console', attach(vm, client)))],
    ['console.input', method(inputParams, ({ data }) => input(vm, data))],
    ...opsMethods(vm.ops),
    ...pluginMethods(vm.plugins),
  ]);
}

function changeState(vm: ControlledVm, how: 'pause' | 'resume'): Pick<VmInfo, 'state'> {
  if (vm.info().state === 'starting') throw refused('the guest has not been started yet', 'try again');
  vm[how]();
  return { state: vm.info().state };
}

function stop(vm: ControlledVm, force: boolean): { asked: 'guest' | 'machine' } {
  if (force) {
    vm.end();
    return { asked: 'machine' };
  }
  if (vm.info().state === 'paused') throw refused('the guest is paused', 'resume it first, or use --force');
  if (!vm.requestPoweroff()) {
    throw refused('nothing that is loaded can ask this guest to power off', 'use --force');
  }
  return { asked: 'guest' };
}

/** Streams to clients, one of a kind for each: asking again begins it anew. */
class Subscriptions {
  readonly #endings = new WeakMap<Client, Map<string, () => void>>();

  set(client: Client, kind: string, end: () => void): void {
    let endings = this.#endings.get(client);
    if (!endings) {
      endings = new Map();
      this.#endings.set(client, endings);
    }
    endings.get(kind)?.();
    endings.set(kind, end);
    client.onClose(end);
  }
}

/** Output so far and from now on comes as notifications `console.output`. Answers how to stop it. */
function attach(vm: ControlledVm, client: Client): () => void {
  const send = (bytes: Uint8Array) => client.notify('console.output', { data: Buffer.from(bytes).toString('base64') });
  const recent = vm.console.recent();
  if (recent.length > 0) send(recent);
  return vm.console.onOutput(send);
}

function input(vm: ControlledVm, data: string): void {
  if (!vm.console.input(Buffer.from(data, 'base64'))) {
    throw refused('the guest does not take what was typed', 'type less, or resume the guest');
  }
}

/** Statistics at once and at each interval, as notifications `stats`. Answers how to stop them. */
function watchStats(vm: ControlledVm, intervalMs: number, client: Client): () => void {
  const send = () => client.notify('stats', { ...vm.stats() });
  send();
  const timer = setInterval(send, intervalMs).unref();
  return () => clearInterval(timer);
}
