import { describe, expect, it } from 'vitest';
import { ARG, RESULT, VECTOR_SCRATCH } from '../cpu/state.ts';
import { Builder } from '../ir/builder.ts';
import type { Block, Node, Program } from '../ir/types.ts';
import { encodings } from './encodings/index.ts';
import type { EncodingRow } from './encodings/row.ts';
import { enumerateShapes } from './enumerate.ts';
import type { InstructionShape } from './types.ts';

const SCRATCH = new Set<number>([...ARG, ...RESULT, ...VECTOR_SCRATCH].map(({ offset }) => offset));

/** Stores of many parts, which a restart writes again: only registers must not change before the last of them. */
const STORES_IN_PARTS = new Set(['MASKMOVDQU', 'MASKMOVQ', 'FXSAVE', 'FNSTENV', 'FNSAVE']);

function programOf(shape: InstructionShape): Program {
  const builder = new Builder();
  shape.encoding.semantics(builder, shape);
  return builder.program;
}

const changesRegisters = (node: Node): boolean =>
  (node.kind === 'setSlot' && !SCRATCH.has(node.slot.offset)) || ['setRegister', 'setFixed'].includes(node.kind);
const changesState = (node: Node): boolean => changesRegisters(node) || ['store', 'storeUpdate'].includes(node.kind);
const canFault = (node: Node): boolean =>
  ['load', 'loadForUpdate', 'store', 'raise', 'exit'].includes(node.kind) || (node.kind === 'helper' && node.mayFault);
const endsInstruction = (node: Node): boolean => ['raise', 'exit', 'jump', 'branch', 'repeat'].includes(node.kind);

/** What is known at the end of a block: `ended` if no path falls through. */
interface Walked {
  readonly changed: boolean;
  readonly ended: boolean;
}

/** Follow all paths; report a node that can fault, or leave, after state has changed. */
function walk(
  block: Block,
  changedBefore: boolean,
  changes: (node: Node) => boolean,
  report: (kind: string) => void,
): Walked {
  let changed = changedBefore;
  for (const node of block.nodes) {
    if (node.kind === 'when') {
      const paths = [node.then, node.otherwise].map((path) => walk(path, changed, changes, report));
      if (paths.every(({ ended }) => ended)) return { changed, ended: true };
      changed = paths.some((path) => !path.ended && path.changed);
      continue;
    }
    if (changed && canFault(node)) report(node.kind);
    if (changes(node)) changed = true;
    if (endsInstruction(node)) return { changed, ended: true };
  }
  return { changed, ended: false };
}

describe('every shape', () => {
  it('has semantics that build, and no fault after a change of state', () => {
    const broken = new Set<string>();
    let count = 0;
    for (const shape of enumerateShapes()) {
      count++;
      try {
        const program = programOf(shape);
        const { mnemonic } = shape.encoding as EncodingRow;
        const changes = STORES_IN_PARTS.has(mnemonic) ? changesRegisters : changesState;
        walk(program.body, false, changes, (kind) => broken.add(`${shape.key}: ${kind} after a change of state`));
      } catch (error) {
        broken.add(`${shape.key}: ${(error as Error).message}`);
      }
    }
    expect([...broken]).toEqual([]);
    expect(count).toBeGreaterThan(5000);
  });

  it('sets no register once it may have passed control on', () => {
    const passesOn = ({ nodes }: Block): boolean =>
      nodes.some((node) =>
        node.kind === 'when'
          ? passesOn(node.then) || passesOn(node.otherwise)
          : node.kind === 'branch' || node.kind === 'jump' || node.kind === 'repeat',
      );
    const wrong = [...enumerateShapes()].filter((shape) => {
      const { nodes } = programOf(shape).body;
      const first = nodes.findIndex((node) => passesOn({ nodes: [node] }));
      return first >= 0 && nodes.slice(first).some(changesRegisters);
    });
    expect(new Set(wrong.map(({ key }) => key))).toEqual(new Set());
  });

  it('has a key of its own', () => {
    const keys = [...enumerateShapes()].map(({ key }) => key);
    const seen = new Set<string>();
    const twice = keys.filter((key) => seen.size === seen.add(key).size);
    expect(twice.slice(0, 10)).toEqual([]);
  });
});

describe('rows', () => {
  it('end a block when control cannot fall through', () => {
    const wrong = [...enumerateShapes()].filter((shape) => {
      const { ended } = walk(programOf(shape).body, false, changesState, () => {});
      return ended !== shape.encoding.endsBlock;
    });
    expect(new Set(wrong.map(({ encoding }) => encoding.name))).toEqual(new Set());
  });

  it('name their operands and pattern uniquely', () => {
    const names = encodings.map(({ name, pattern, options }) => `${pattern}|${name}|${options.mode}`);
    expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([]);
  });
});
