import { encodings } from './encodings/index.ts';
import type { EncodingRow } from './encodings/row.ts';
import { isSegmented, MODES, modeFacts } from './modes.ts';
import { planRow, StaticSource, WidthRule } from './plan.ts';
import { buildShape, variantKey } from './shape.ts';
import type { InstructionShape } from './types.ts';

/** Every shape that the decoder can make of the whole table, and a few that only differ in what it never combines. */
export function* enumerateShapes(): Generator<InstructionShape> {
  for (const row of encodings) yield* shapesOfRow(row);
}

/** Every shape of one row. */
export function* shapesOfRow(row: EncodingRow): Generator<InstructionShape> {
  const plan = planRow(row);
  const hasRm = row.operandCodes.some(({ letter }) => 'EWQ'.includes(letter));
  const hasOffset = row.operandCodes.some(({ letter }) => letter === 'O');
  for (const [number, name] of MODES.entries()) {
    const mode = { 64: 0, 32: 1, 16: 2 }[modeFacts(name).codeBits];
    if (row.options.mode === (mode === 0 ? 'i64' : 'o64')) continue;
    const memory = isSegmented(name) ? [3] : mode === 0 ? [1, 2] : [1, 2, 3];
    for (const rm of rmKinds(row, memory, hasRm, hasOffset)) {
      for (const width of widths(plan.widthRule, plan.widthIndex, mode)) {
        for (const address of rm > 0 || plan.usesSegmentOverride ? addresses(mode) : [2 - mode]) {
          for (const rep of plan.repeatable ? [0, 1, 2] : [0]) {
            for (const lock of plan.lockable && rm > 0 ? [0, 1] : [0]) {
              for (const segment of plan.usesSegmentOverride ? [-1, 4] : [-1]) {
                for (const value of staticValues(plan.staticSource, plan.staticMask)) {
                  yield buildShape(row, variantKey(number, width, address, rm, rep, lock, segment, value));
                }
              }
            }
          }
        }
      }
    }
  }
}

function rmKinds(row: EncodingRow, memory: readonly number[], hasRm: boolean, hasOffset: boolean): readonly number[] {
  if (hasOffset) return memory;
  if (!hasRm || row.options.modIgnored || row.mod === 'reg') return [0];
  return row.mod === 'mem' ? memory : [0, ...memory];
}

function widths(rule: number, fixedIndex: number, mode: number): readonly number[] {
  switch (rule) {
    case WidthRule.fixed:
      return [fixedIndex];
    case WidthRule.y:
      return mode === 0 ? [2, 3] : [2];
    case WidthRule.native:
      return [mode === 0 ? 3 : 2];
    case WidthRule.f64:
      return mode === 0 ? [3] : [1, 2];
    case WidthRule.d64:
      return mode === 0 ? [1, 3] : [1, 2];
    default:
      return mode === 0 ? [1, 2, 3] : [1, 2];
  }
}

const addresses = (mode: number) => (mode === 0 ? [1, 2] : [0, 1]);

function staticValues(source: number, mask: number): readonly number[] {
  if (source === StaticSource.none) return [0];
  if (source === StaticSource.level) return [0, 1, 2, 31];
  return Array.from({ length: 16 }, (_, value) => value).filter((value) => (mask >> value) & 1);
}
