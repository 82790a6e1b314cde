import type { ElfImage } from '@polyvisor/plugin-api';
import { Btf, BtfKind } from '../loader/image/btf.ts';
import { allAtOnce, type Steps } from '../loader/image/steps.ts';

/** What is asked for by name. */
const KINDS = [BtfKind.STRUCT, BtfKind.ENUM, BtfKind.FUNC];

const types = new WeakMap<ElfImage, Btf>();

/** The kernel's types, if its file has them. */
export function typesOf(elf: ElfImage): Btf | undefined {
  return types.get(elf) ?? allAtOnce(typesInSteps(elf));
}

/** {@link typesOf} in steps. */
export function* typesInSteps(elf: ElfImage): Steps<Btf | undefined> {
  const section = elf.section('.BTF');
  if (!section) return undefined;
  const bytes = elf.bytes.subarray(section.offset, section.offset + section.sizeBytes);
  const known = types.get(elf) ?? (yield* Btf.inSteps(bytes, KINDS));
  types.set(elf, known);
  return known;
}
