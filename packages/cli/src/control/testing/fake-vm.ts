import type { ModuleImporter } from '@polyvisor/core';
import { ConsoleHub } from '../../console/hub.ts';
import { VmOps } from '../../ops/vm-ops.ts';
import { VmPlugins } from '../../plugins/vm-plugins.ts';
import type { ControlledVm } from '../methods.ts';
import type { VmInfo, VmStats } from '../protocol.ts';

/** A VM that notes what is done to it. */
export class FakeVm implements ControlledVm {
  state: VmInfo['state'] = 'running';
  readonly done: string[] = [];
  readonly shown: Uint8Array[] = [];
  canBeAsked = true;
  readonly ops = new VmOps(undefined);
  readonly plugins: VmPlugins;
  readonly console = new ConsoleHub({
    write: (bytes) => void this.shown.push(bytes),
    onInput() {},
    close: async () => {},
  });

  /** @param importer where its plug-ins come from; by default Node */
  constructor(importer?: ModuleImporter) {
    this.plugins = new VmPlugins(() => this.ops.list(), importer);
  }

  info(): VmInfo {
    return {
      ...{ name: 'fake', pid: 1, image: 'kernel', description: 'a kernel', entry: 'pv', plugins: ['some'] },
      ...{ memoryBytes: 1 << 20, clock: 'icount', startedAt: '2025-01-01T00:00:00.000Z', state: this.state },
    };
  }
  stats(): VmStats {
    return { elapsedSeconds: 2, machine: { instructions: 3 }, plugins: [{ plugin: 'some', name: 'calls', count: 4 }] };
  }
  pause(): void {
    this.state = 'paused';
    this.console.hold(true);
    this.done.push('pause');
  }
  resume(): void {
    this.state = 'running';
    this.console.hold(false);
    this.done.push('resume');
  }
  requestPoweroff(): boolean {
    this.done.push('requestPoweroff');
    return this.canBeAsked;
  }
  end(): void {
    this.done.push('end');
  }
}
