/** What is compared: each engine's command line for the same kernel, initramfs and memory. */
import path from 'node:path';
import type { EngineCommand } from './session.ts';

export interface Inputs {
  readonly kernelPath: string;
  /** The kernel's unpacked ELF; only if an engine needs it. */
  readonly vmlinuxPath: string;
  /** Debian's Xen; only if an engine needs it. */
  readonly xenPath: string;
  readonly initramfsPath: string;
  /** A static busybox, for the host's own run of the loads. */
  readonly busyboxPath: string;
  /** What the loads need, for the host's own run of them. */
  readonly treePath: string;
  /** An empty directory that the host's run may write to. */
  readonly scratchPath: string;
  /** What main.sh is called with: see loads/loads.sh and loads/programs.sh. */
  readonly words: readonly string[];
  readonly memoryMegabytes: number;
  readonly timeoutSeconds: number;
  /** The Node that runs Polyvisor. */
  readonly nodePath: string;
}

export interface Engine {
  readonly name: string;
  readonly title: string;
  /** Measured if --engines does not say otherwise. */
  readonly isDefault: boolean;
  /** What must be fetched or made beside kernel, busybox and initramfs. */
  readonly needs?: 'vmlinux' | 'xen';
  command(inputs: Inputs): EngineCommand;
}

const repository = path.resolve(import.meta.dirname, '..');

/** No messages on the console beside ours, the init of the initramfs, no reboot that would start all over. */
function kernelOptions(console: string): string {
  return `console=${console} quiet loglevel=0 rdinit=/init panic=-1`;
}

const polyvisorXen = (inputs: Inputs, ...options: string[]) => polyvisor(inputs, 'xen', 'hvc0', ...options);

function polyvisor(inputs: Inputs, plugin: string, console: string, ...options: string[]): EngineCommand {
  return {
    file: inputs.nodePath,
    args: [
      path.join(repository, 'scripts', 'vm.mjs'),
      'run',
      inputs.kernelPath,
      ...['--plugin', plugin, '--initrd', inputs.initramfsPath, '--append', kernelOptions(console)],
      ...['--memory', `${inputs.memoryMegabytes}M`, '--console', 'stdio', '--no-reboot'],
      ...['--timeout', `${inputs.timeoutSeconds}`],
      ...options,
    ],
  };
}

function qemu(inputs: Inputs, ...options: string[]): EngineCommand {
  return {
    file: 'qemu-system-x86_64',
    args: [
      ...['-accel', 'tcg', '-nodefaults', '-no-user-config', '-display', 'none', '-serial', 'stdio', '-no-reboot'],
      ...['-m', `${inputs.memoryMegabytes}`],
      ...options,
    ],
  };
}

function qemuNative(inputs: Inputs, kernelPath: string): EngineCommand {
  const boot = ['-kernel', kernelPath, '-initrd', inputs.initramfsPath, '-append', kernelOptions('ttyS0')];
  return qemu(inputs, ...boot);
}

/** Xen takes kernel and initramfs as multiboot modules; a module's command line follows its file name. */
function qemuXen(inputs: Inputs): EngineCommand {
  const modules = `${inputs.kernelPath} ${kernelOptions('hvc0')},${inputs.initramfsPath}`;
  const options = 'console=com1 com1=115200,8n1 noreboot spec-ctrl=no loglvl=none guest_loglvl=none';
  return qemu(inputs, '-cpu', 'qemu64', '-kernel', inputs.xenPath, '-initrd', modules, '-append', options);
}

export const engines: readonly Engine[] = [
  {
    name: 'polyvisor',
    title: 'Polyvisor, Xen PV',
    isDefault: true,
    command: (inputs) => polyvisorXen(inputs),
  },
  {
    name: 'polyvisor-tier0',
    title: 'Polyvisor, Xen PV, tier 0 alone',
    isDefault: false,
    command: (inputs) => polyvisorXen(inputs, '--tier', '0'),
  },
  {
    name: 'polyvisor-native',
    title: 'Polyvisor, native',
    isDefault: true,
    command: (inputs) => polyvisor(inputs, 'none', 'ttyS0'),
  },
  {
    name: 'qemu',
    title: 'QEMU TCG, native',
    isDefault: true,
    command: (inputs) => qemuNative(inputs, inputs.kernelPath),
  },
  {
    name: 'qemu-pvh',
    title: 'QEMU TCG, native through PVH',
    isDefault: true,
    needs: 'vmlinux',
    command: (inputs) => qemuNative(inputs, inputs.vmlinuxPath),
  },
  {
    name: 'qemu-xen',
    title: 'QEMU TCG, real Xen, PV dom0',
    isDefault: true,
    needs: 'xen',
    command: qemuXen,
  },
  {
    name: 'host',
    title: 'this host itself',
    isDefault: true,
    command: (inputs) => ({
      file: inputs.busyboxPath,
      args: [
        ...['sh', path.join(inputs.treePath, 'main.sh')],
        ...[inputs.busyboxPath, inputs.treePath, inputs.scratchPath, ...inputs.words],
      ],
    }),
  },
];

/** Engines by name, separated by commas; without names, those that are measured unasked. */
export function selectEngines(names: string | undefined): readonly Engine[] {
  if (names === undefined) return engines.filter(({ isDefault }) => isDefault);
  return names.split(',').map((name) => {
    const engine = engines.find((candidate) => candidate.name === name);
    if (engine) return engine;
    throw new Error(`--engines ${name}: choose from ${engines.map((known) => known.name).join(', ')}`);
  });
}
