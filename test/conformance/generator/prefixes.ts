import type { EncodingRow } from '../../../packages/core/src/isa/encodings/row.ts';
import type { CaseInput } from '../case.ts';
import { CODE_START } from '../layout.ts';
import type { Random } from '../random.ts';

const LEGACY_PREFIXES = [0x66, 0x67, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];
const SEGMENT_CS = 0x2e;
/** Near enough to the end of the lower half for a displacement to leave it. */
const NON_CANONICAL = 0x7fff_ffff_0000n;
const OPERAND_SIZE = 0x66,
  LOCK = 0xf0,
  REPEAT = [0xf2, 0xf3];

/**
 * Opcodes that F2, F3 or 66 turn into instructions which the recording processor has and the engine does not advertise,
 * as map << 8 | opcode. Without the feature the prefix has no effect, or the opcode is undefined.
 */
const EXTENDED_BY_PREFIX: ReadonlyMap<number, string> = new Map([
  [0x1bc, 'TZCNT (BMI1)'],
  [0x1bd, 'LZCNT (ABM)'],
  [0x112, 'MOVDDUP, MOVSLDUP (SSE3)'],
  [0x116, 'MOVSHDUP (SSE3)'],
  [0x17c, 'HADDPS (SSE3)'],
  [0x17d, 'HSUBPS (SSE3)'],
  [0x1d0, 'ADDSUBPS (SSE3)'],
  [0x1f0, 'LDDQU (SSE3)'],
  [0x12b, 'MOVNTSS, MOVNTSD (SSE4A)'],
  [0x1ae, 'CLWB, CLFLUSHOPT, and the CET instructions'],
  [0x1c7, 'RDPID, VMXON and others'],
  [0x101, 'system instructions by prefix'],
  [0x11e, 'RDSSP (CET)'],
]);

/** What the row's instruction becomes under arbitrary prefixes, or undefined if that is not ours to compare. */
export function prefixed(row: EncodingRow, input: CaseInput, random: Random): CaseInput | undefined {
  if (input.codeAddress !== CODE_START || EXTENDED_BY_PREFIX.has((row.map << 8) | row.opcode)) return undefined;
  const long64 = input.mode === 'long64';
  const added = Array.from({ length: 1 + random.below(3) }, () => random.pick(LEGACY_PREFIXES));
  if (random.oneIn(12)) added.push(LOCK);
  // A REX prefix that is not the last one has no effect (SDM vol. 2A, 2.2.1).
  if (long64 && random.oneIn(4)) added.push(0x40 | random.below(16));
  // Near branches with an operand size prefix in 64-bit mode: AMD cuts the target to 16 bits, Intel does not.
  if (long64 && row.options.endsBlock && added.includes(OPERAND_SIZE)) return undefined;
  if (long64 && row.options.width === 'f64' && added.includes(OPERAND_SIZE)) return undefined;
  // LOOPE and LOOPNE: reserved with a repeat prefix, and AMD takes it for the condition.
  if (/^LOOPN?E$/.test(row.mnemonic) && added.some((byte) => REPEAT.includes(byte))) return undefined;
  // Segment rights are not checked: the engine would write through CS.
  if (!long64 && added.includes(SEGMENT_CS)) return undefined;
  // Where a non-canonical offset meets a segment base that makes it canonical, processors differ.
  if (row.operandCodes.some(({ letter }) => letter === 'O') && added.some((byte) => byte === 0x64 || byte === 0x65))
    return undefined;
  if ([...input.overrides.values()].some((value) => value >= NON_CANONICAL && value < 1n << 63n)) return undefined;
  if ([...input.overrides.values()].some((value) => value >> 63n && BigInt.asIntN(64, value) < -NON_CANONICAL))
    return undefined;
  // String instructions with both repeat prefixes: which one counts is not defined.
  if (row.options.rep && added.some((byte) => REPEAT.includes(byte))) return undefined;
  const code = Uint8Array.from([...added, ...input.code]);
  return code.length > 64 ? undefined : { ...input, code };
}
