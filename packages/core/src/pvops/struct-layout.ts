import { type Btf, BtfKind } from '../loader/image/btf.ts';
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

const DEEPEST = 8;

function findMember(
  btf: Btf,
  struct: number,
  name: string,
  depth: number,
): { readonly type: number; readonly bitOffset: number } | undefined {
  if (depth > DEEPEST) return undefined;
  for (const member of btf.members(struct)) {
    if (member.name === name) return member;
    const inner = btf.strip(member.type);
    const kind = btf.kind(inner);
    if (member.name !== '' || (kind !== BtfKind.STRUCT && kind !== BtfKind.UNION)) continue;
    const found = findMember(btf, inner, name, depth + 1);
    if (found) return { type: found.type, bitOffset: member.bitOffset + found.bitOffset };
  }
  return undefined;
}
