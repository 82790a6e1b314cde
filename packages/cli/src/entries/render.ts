import type { EntrySearch, GuestImage } from '@polyvisor/plugin-api';
import { formatTable } from '../table.ts';
import type { InsideDoor } from './capabilities.ts';

/** What finders say, and the doors that a kernel opens by itself. */
export interface Doors extends Required<EntrySearch> {
  readonly inside: readonly InsideDoor[];
}

/** What `vm entries` has found. */
export interface DoorList {
  readonly image: GuestImage;
  /** Of the file as it was read, hexadecimal. */
  readonly sha256: string;
  readonly doors: Doors;
}

const hex = (address: bigint) => `0x${address.toString(16)}`;
const HEADINGS = ['DOOR', 'STATE', 'ADDRESS', 'ABI', 'BY', 'WHERE, OR WHY NOT'];

/** For people: open doors with the best first, those that are opened from inside, then closed ones, then those that are not there. */
export function formatDoors({ image, sha256, doors }: DoorList): string {
  const rows = [
    ...doors.entries
      .toSorted((a, b) => b.priority - a.priority)
      .map(({ name, abi, address, foundIn, plugin }) => [name, 'open', hex(address), abi, plugin, foundIn]),
    ...doors.inside.map(({ name, abi, address, foundIn, plugin, how }) => [
      ...[name, 'inside', hex(address), abi, plugin],
      `${foundIn}; ${how}`,
    ]),
    ...doors.closed.map(({ name, abi, address, foundIn, plugin, reason }) => [
      ...[name, 'closed', hex(address), abi, plugin || '-'],
      `${foundIn}; closed: ${reason}`,
    ]),
    ...doors.missing.map(({ name, abi, reason }) => [name, 'missing', '-', abi, '-', reason]),
  ];
  return `${image.name}: ${image.description}\nsha256 ${sha256}\n\n${formatTable(HEADINGS, rows)}\n`;
}

/** For programs: the same, addresses as hexadecimal strings. */
export function jsonDoors({ image, sha256, doors }: DoorList) {
  const { name, description, format } = image;
  const addressed = <T extends { readonly address: bigint }>(door: T) => ({ ...door, address: hex(door.address) });
  return {
    image: { name, description, format, sha256 },
    doors: [
      ...doors.entries.map((door) => ({ state: 'open', ...addressed(door) })),
      ...doors.inside.map((door) => ({ state: 'inside', ...addressed(door) })),
      ...doors.closed.map((door) => ({ state: 'closed', ...addressed(door) })),
      ...doors.missing.map((door) => ({ state: 'missing', ...door })),
    ],
  };
}
