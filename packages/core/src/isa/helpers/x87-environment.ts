/** x87 helpers: the tag word between its full form and one bit per register (SDM vol. 1, 8.1.7 and 10.5.1.1). */
import { kindOf } from './extended.ts';
import type { Helper } from './types.ts';
import { onUnit } from './x87-operate.ts';

const TAG = { valid: 0, zero: 1, special: 2, empty: 3 } as const;

/** RESULT[0]: the full tag word, two bits per physical register. */
const x87FullTag = onUnit((unit) => {
  let word = 0;
  for (let i = 0; i < 8; i++) {
    const kind = kindOf(unit.read(i));
    const tag = unit.isEmpty(i) ? TAG.empty : kind === 'normal' ? TAG.valid : kind === 'zero' ? TAG.zero : TAG.special;
    word |= tag << (unit.physical(i) * 2);
  }
  unit.setResult(0, BigInt(word));
});

/** Take a full tag word: all but `empty` is in use. ARG: the word. */
const x87SetFullTag = onUnit((unit) => {
  const word = unit.integerArgument(0);
  let tag = 0;
  for (let i = 0; i < 8; i++) if (((word >> (i * 2)) & 3) !== TAG.empty) tag |= 1 << i;
  unit.tag = tag;
});

export const x87EnvironmentHelpers: Record<string, Helper> = { x87FullTag, x87SetFullTag };
