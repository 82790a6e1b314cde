import type { PluginRegistry } from '@polyvisor/core';
import type { GuestImage } from '@polyvisor/plugin-api';
import type { ConsoleHub } from '../console/hub.ts';
import type { Ending } from '../ending.ts';
import { ExitCode } from '../exit-codes.ts';
import type { Idle } from '../idle.ts';
import { VmOps } from '../ops/vm-ops.ts';
import type { RunnableMachine, RunOptions } from '../options.ts';
import { VmPlugins } from '../plugins/vm-plugins.ts';
import type { ControlledVm } from './methods.ts';
import type { VmInfo, VmStats } from './protocol.ts';

interface Parts {
  readonly options: RunOptions;
  readonly image: GuestImage;
  readonly console: ConsoleHub;
  readonly ending: Ending;
  readonly idle: Idle;
}

/** A VM as its control socket sees it, through any number of reboots. */
export class RunningVm implements ControlledVm {
  /** Known once it has been claimed. */
  name = '';
  readonly console: ConsoleHub;
  readonly ops: VmOps;
  readonly plugins = new VmPlugins(() => this.ops.list());
  readonly #parts: Parts;
  readonly #startMs = performance.now();
  readonly #startedAt = new Date().toISOString();
  #machine: RunnableMachine | undefined;
  #registry: PluginRegistry | undefined;
  /** A paused machine gives the process nothing to wait for. */
  #keepAlive: NodeJS.Timeout | undefined;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.console = parts.console;
    this.ops = new VmOps(parts.image.elf);
  }

  /** From now on this is the machine. */
  started(machine: RunnableMachine, plugins: PluginRegistry): void {
    this.#machine = machine;
    this.#registry = plugins;
    this.plugins.started(plugins);
    this.ops.started(machine);
  }

  info(): VmInfo {
    const { options, image } = this.#parts;
    const machine = this.#machine;
    return {
      name: this.name,
      pid: process.pid,
      image: image.name,
      description: image.description,
      ...(machine && { entry: machine.entry.name }),
      plugins: this.plugins.names,
      memoryBytes: options.memoryBytes,
      clock: options.clock,
      startedAt: this.#startedAt,
      state: machine ? (machine.paused ? 'paused' : 'running') : 'starting',
    };
  }

  stats(): VmStats {
    return {
      elapsedSeconds: (performance.now() - this.#startMs) / 1000,
      machine: this.#machine?.stats() ?? {},
      plugins: this.#registry?.counters() ?? [],
    };
  }

  pause(): void {
    this.#machine?.pause();
    this.console.hold(true);
    this.#keepAlive ??= setInterval(() => {}, 2 ** 30);
  }

  resume(): void {
    clearInterval(this.#keepAlive);
    this.#keepAlive = undefined;
    this.console.hold(false);
    this.#machine?.resume();
  }

  requestPoweroff(): boolean {
    const asked = this.#machine?.requestPoweroff() ?? false;
    this.#parts.idle.wake();
    return asked;
  }

  end(): void {
    this.#parts.ending.request({ exitCode: ExitCode.SIGTERM, message: 'ended by `vm stop --force`' });
  }

  /** The machine has ended for good. */
  ended(): void {
    clearInterval(this.#keepAlive);
  }
}
