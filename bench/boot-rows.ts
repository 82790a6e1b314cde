/** What `npm run bench:boots` starts: each of Debian's kernels through each of its doors, in QEMU TCG and in v86; and its table. */
import path from 'node:path';
import type { BootCommand, MeasuredBoots } from './boot-run.ts';
import { cells, leastOf, markdownTable, medianOf } from './boot-run.ts';
import type { V86Files } from './v86.ts';

/** What the shell of the initramfs asks for its first command with. */
export const PROMPT = '~ # ';

/** A kernel and its initramfs as files. */
export interface KernelFiles {
  readonly kernel: string;
  readonly initrd: string;
}

interface Setting extends KernelFiles {
  readonly memoryMegabytes: number;
  readonly timeoutSeconds: number;
  readonly nodePath: string;
  /** Only where a boot in v86 is asked for. */
  readonly v86: V86Files | undefined;
}

export interface Boot {
  readonly kernel: string;
  /** By what the machine is, unique among those of a kernel. */
  readonly door: string;
  readonly title: string;
  /** Of the catalogue. */
  readonly guest: string;
  command(setting: Setting): BootCommand;
}

const QEMU = 'QEMU TCG';
export const V86 = 'v86';

/** No messages on the console, so that nobody's serial port is measured; no reboot that would start all over. */
function kernelOptions(console: string): string {
  return `console=${console} quiet loglevel=0 panic=-1`;
}

function polyvisor(setting: Setting, console: string, ...options: string[]): BootCommand {
  const { kernel, initrd, memoryMegabytes, timeoutSeconds, nodePath } = setting;
  const args = [
    ...[path.join(import.meta.dirname, '../scripts/vm.mjs'), 'run', kernel, '--initrd', initrd, ...options],
    ...['--append', kernelOptions(console), '--memory', `${memoryMegabytes}M`, '--no-reboot', '--no-control'],
    ...['--timeout', `${timeoutSeconds}`, '--stats', '--expect', PROMPT],
  ];
  return { file: nodePath, args };
}

function qemu(system: string, setting: Setting): BootCommand {
  const args = [
    ...['-accel', 'tcg', '-nodefaults', '-no-user-config', '-display', 'none', '-serial', 'stdio', '-no-reboot'],
    ...['-m', `${setting.memoryMegabytes}`, '-kernel', setting.kernel, '-initrd', setting.initrd],
    ...['-append', kernelOptions('ttyS0')],
  ];
  return { file: `qemu-system-${system}`, args, isKilled: true };
}

function v86(setting: Setting): BootCommand {
  const { packagePath, biosPath, vgaBiosPath } = setting.v86!;
  const files = [packagePath, biosPath, vgaBiosPath, setting.kernel, setting.initrd];
  const script = path.join(import.meta.dirname, 'v86-guest.mjs');
  return {
    file: setting.nodePath,
    args: [script, ...files, kernelOptions('ttyS0'), `${setting.memoryMegabytes}`, PROMPT],
  };
}

/** A kernel's doors here, and the machines of others. */
function bootsOf(kernel: string, guest: string, doors: Readonly<Record<string, Boot['command']>>): Boot[] {
  return Object.entries(doors).map(([door, command]) => ({ kernel, door, title: `${kernel} ${door}`, guest, command }));
}

const XEN = ['--plugin', 'xen'] as const;
const native: Boot['command'] = (setting) => polyvisor(setting, 'ttyS0', '--plugin', 'none');
const pv: Boot['command'] = (setting) => polyvisor(setting, 'hvc0', ...XEN);
const pvh: Boot['command'] = (setting) => polyvisor(setting, 'hvc0', ...XEN, '--entry', 'pvh');
const pvhvm: Boot['command'] = (setting) => polyvisor(setting, 'ttyS0', ...XEN, '--entry', 'native');
const qemu64: Boot['command'] = (setting) => qemu('x86_64', setting);
const qemu32: Boot['command'] = (setting) => qemu('i386', setting);

const BOOTS: readonly Boot[] = [
  ...bootsOf('amd64', 'debian', { native, PV: pv, PVH: pvh, PVHVM: pvhvm, [QEMU]: qemu64 }),
  ...bootsOf('686-pae', 'debian-i386', { native, PVH: pvh, PVHVM: pvhvm, [QEMU]: qemu32, [V86]: v86 }),
  ...bootsOf('686', 'debian-i386-nopae', { native, [QEMU]: qemu32, [V86]: v86 }),
];

/** Boots by title, separated by commas. */
export function selectBoots(names: string | undefined): readonly Boot[] {
  if (names === undefined) return BOOTS;
  return names.split(',').map((name) => {
    const boot = BOOTS.find(({ title }) => title === name);
    if (boot) return boot;
    throw new Error(`--boots ${name}: choose from ${BOOTS.map(({ title }) => title).join(', ')}`);
  });
}

/** A row for each boot; ratios are those of the time to the same kernel's in QEMU and in v86, of medians and of least times. */
export function renderBoots(measured: readonly MeasuredBoots<Boot>[]): string {
  const { seconds, ratio, count } = cells;
  type Fold = typeof medianOf;
  const time = (runs: MeasuredBoots<Boot>['runs'], fold: Fold) => fold(runs, (run) => run.seconds[0]);
  const timeOf = (kernel: string, door: string, fold: Fold) => {
    const found = measured.find(({ row }) => row.kernel === kernel && row.door === door);
    return found && time(found.runs, fold);
  };
  const rows = measured.map(({ row, runs }) => [
    ...[row.kernel, row.door],
    ...[medianOf, leastOf].flatMap((fold) => [
      seconds(time(runs, fold)),
      ...[QEMU, V86].map((other) =>
        row.door === other ? '' : ratio(time(runs, fold), timeOf(row.kernel, other, fold)),
      ),
    ]),
    seconds(medianOf(runs, (run) => run.cpuSeconds[0])),
    ...[count(medianOf(runs, (run) => run.instructions)), count(medianOf(runs, (run) => run.exits))],
  ]);
  const ratios = [`÷ ${QEMU}`, `÷ ${V86}`];
  const head = ['kernel', 'door', 'to the shell', ...ratios, 'least', ...ratios, 'CPU', 'instructions', 'exits'];
  return markdownTable(head, rows, 2);
}
