/** The doors of a 32-bit kernel that `npm run bench:doors` and `bench:turns` compare, and how each is started. */
import path from 'node:path';
import type { EngineCommand } from './session.ts';

export interface Door {
  readonly name: string;
  readonly title: string;
  readonly plugins: readonly string[];
  /** Started through the native door. */
  readonly isNative: boolean;
  readonly console: 'ttyS0' | 'hvc0';
}

const native = { isNative: true, console: 'ttyS0' } as const;
const taken = { isNative: false, console: 'hvc0' } as const;
const DOORS: readonly Door[] = [
  { name: 'native', title: 'native', plugins: [], ...native },
  { name: 'vmi-native', title: 'VMI, ROM native', plugins: ['vmi=rom:native'], ...native },
  { name: 'vmi-trap', title: 'VMI, ROM trap', plugins: ['vmi=rom:trap'], ...native },
  { name: 'vmi-xen', title: 'VMI, ROM xen', plugins: ['xen', 'vmi=rom:xen'], ...native },
  { name: 'xen', title: 'Xen PV', plugins: ['xen'], ...taken },
  { name: 'lguest', title: 'lguest', plugins: ['lguest-like'], ...taken },
];

/** What is started through a door, and how. */
export interface DoorStart {
  readonly kernel: string;
  readonly initrd: string;
  /** The native door of this kernel. */
  readonly entry: string;
  /** `--exits` of `vm run`. */
  readonly exits: string;
  readonly clock: string;
  readonly memoryMegabytes: number;
  readonly timeoutSeconds: number;
  readonly nodePath: string;
}

/** Doors by name, separated by commas; without names, all. */
export function selectDoors(names: string | undefined): readonly Door[] {
  return names === undefined
    ? DOORS
    : names.split(',').map((name) => {
        const door = DOORS.find((candidate) => candidate.name === name);
        if (door) return door;
        throw new Error(`--doors ${name}: choose from ${DOORS.map((known) => known.name).join(', ')}`);
      });
}

export function doorCommand(start: DoorStart, door: Door): EngineCommand {
  const args = [
    ...[path.join(import.meta.dirname, '../scripts/vm.mjs'), 'run', start.kernel, '--initrd', start.initrd],
    ...door.plugins.flatMap((plugin) => ['--plugin', plugin]),
    ...(door.isNative ? ['--entry', start.entry] : []),
    ...['--append', `console=${door.console}`, '--memory', `${start.memoryMegabytes}M`, '--no-reboot'],
    ...['--exits', start.exits, '--clock', start.clock],
    ...['--timeout', `${start.timeoutSeconds}`, '--stats', '--no-control'],
  ];
  return { file: start.nodePath, args };
}
