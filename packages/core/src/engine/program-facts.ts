/** What emitters want to know of a whole program, found out once for each. */
import { integerOps } from '../ir/ops.ts';
import type { AccessBytes, Block, Program, Value } from '../ir/types.ts';

/** Sign extensions within i32, by the size of what is extended. */
const EXTENSIONS = new Map<unknown, AccessBytes>([
  [integerOps.i32.extend8_s, 1],
  [integerOps.i32.extend16_s, 2],
]);

const signedLoads = new WeakMap<Program, ReadonlySet<Value>>();
/** Loaded values that are sign-extended from their own size, and not used otherwise. */
export function signedLoadsOf(program: Program): ReadonlySet<Value> {
  let found = signedLoads.get(program);
  if (!found) signedLoads.set(program, (found = new Set(extendedLoads(program.body))));
  return found;
}
function* extendedLoads(block: Block): Generator<Value> {
  for (const node of block.nodes) {
    if (node.kind === 'when') {
      yield* extendedLoads(node.then);
      yield* extendedLoads(node.otherwise);
    } else if (node.kind === 'pure') {
      const [value] = node.args;
      const bytes = EXTENSIONS.get(node.op);
      if (bytes !== undefined && value.uses === 1 && value.node.kind === 'load' && value.node.bytes === bytes)
        yield value;
    }
  }
}

const severalUpdates = new WeakMap<Program, boolean>();
/** There is more than one update of memory. */
export function hasSeveralUpdates(program: Program): boolean {
  let several = severalUpdates.get(program);
  if (several === undefined) {
    several = countUpdates(program.body) > 1;
    severalUpdates.set(program, several);
  }
  return several;
}
function countUpdates(block: Block): number {
  let count = 0;
  for (const node of block.nodes) {
    if (node.kind === 'loadForUpdate') count++;
    else if (node.kind === 'when') count += countUpdates(node.then) + countUpdates(node.otherwise);
  }
  return count;
}
