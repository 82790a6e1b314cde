import type { KernelMember } from '@polyvisor/plugin-api';
import { type Btf, BtfKind, type BtfMember } from '../loader/image/btf.ts';
import { damagedImage } from '../loader/image/image-error.ts';

/** Bytes from the start of a struct to a member, through members without names as well. */
export function offsetOf(btf: Btf, struct: string, path: readonly string[]): number {
  let type = btf.find(BtfKind.STRUCT, struct);
  let bits = 0;
  for (const name of path) {
    const member = type === undefined ? undefined : findMember(btf, type, name, 0);
    if (!member) throw damagedImage(`BTF has no ${struct}.${path.join('.')}`);
    bits += member.bitOffset;
    type = btf.strip(member.type);
  }
  return bits / 8;
}

/** Where a member of a struct lies, for whoever asks by name; `undefined`: there is none, or it is a bit-field. */
export function memberOf(btf: Btf, struct: string, name: string, wordBytes: number): KernelMember | undefined {
  const type = btf.find(BtfKind.STRUCT, struct);
  const member = type === undefined ? undefined : findMember(btf, type, name, 0);
  if (!member || member.bits > 0 || member.bitOffset % 8 > 0) return undefined;
  return { offsetBytes: member.bitOffset / 8, sizeBytes: btf.sizeBytes(member.type, wordBytes) };
}

const DEEPEST = 8;

function findMember(btf: Btf, struct: number, name: string, depth: number): Omit<BtfMember, 'name'> | undefined {
  if (depth > DEEPEST) return undefined;
  for (const member of btf.members(struct)) {
    if (member.name === name) return member;
    const inner = btf.strip(member.type);
    const kind = btf.kind(inner);
    if (member.name !== '' || (kind !== BtfKind.STRUCT && kind !== BtfKind.UNION)) continue;
    const found = findMember(btf, inner, name, depth + 1);
    if (found) return { ...found, bitOffset: member.bitOffset + found.bitOffset };
  }
  return undefined;
}
