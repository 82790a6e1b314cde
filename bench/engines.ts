/** What is compared: each engine's command line for the same kernel, initramfs and memory. */
import path from 'node:path';
import type { EngineCommand } from './session.ts';

export interface Inputs {
  readonly kernelPath: string;
  readonly initramfsPath: string;
  /** A static busybox, for the host's own run of the loads. */
  readonly busyboxPath: string;
  readonly integerPath: string;
  /** An empty directory that the host's run may write to. */
  readonly scratchPath: string;
  readonly memoryMegabytes: number;
  readonly timeoutSeconds: number;
}

export interface Engine {
  readonly name: string;
  readonly title: string;
  command(inputs: Inputs): EngineCommand;
}

const repository = path.resolve(import.meta.dirname, '..');

/** No messages on the console beside ours, the init of the initramfs, no reboot that would start all over. */
function kernelOptions(console: string): string {
  return `console=${console} quiet loglevel=0 rdinit=/init panic=-1`;
}

const polyvisor: Engine = {
  name: 'polyvisor',
  title: 'Polyvisor, Xen PV',
  command: (inputs) => ({
    file: process.execPath,
    args: [
      path.join(repository, 'scripts', 'vm.mjs'),
      'run',
      inputs.kernelPath,
      ...['--plugin', 'xen', '--initrd', inputs.initramfsPath, '--append', kernelOptions('hvc0')],
      ...['--memory', `${inputs.memoryMegabytes}M`, '--console', 'stdio', '--no-reboot'],
      ...['--timeout', `${inputs.timeoutSeconds}`],
    ],
  }),
};

const qemu: Engine = {
  name: 'qemu',
  title: 'QEMU TCG, native',
  command: (inputs) => ({
    file: 'qemu-system-x86_64',
    args: [
      ...['-accel', 'tcg', '-nodefaults', '-no-user-config', '-display', 'none', '-serial', 'stdio', '-no-reboot'],
      ...['-m', `${inputs.memoryMegabytes}`, '-kernel', inputs.kernelPath, '-initrd', inputs.initramfsPath],
      ...['-append', kernelOptions('ttyS0')],
    ],
  }),
};

const host: Engine = {
  name: 'host',
  title: 'this host itself',
  command: (inputs) => ({
    file: inputs.busyboxPath,
    args: [
      ...['sh', path.join(import.meta.dirname, 'loads.sh')],
      ...[inputs.busyboxPath, inputs.integerPath, inputs.scratchPath],
    ],
  }),
};

export const engines: readonly Engine[] = [polyvisor, qemu, host];
