import { FC, FS, FZ } from '../../cpu/state.ts';
import type { Node } from '../../ir/types.ts';
import { Constants } from './constants.ts';
import type { RegionGraph, RegionInstruction } from './graph.ts';
import type { RegisterPlan, RegisterSet } from './registers.ts';

/** What an instruction does with the arithmetic flags that were before it; `other`: reads them, keeps some, or it cannot be told. */
type FlagEffect = 'none' | 'overwrites' | 'other';

/**
 * Blocks at whose start the arithmetic flags are not read any more by anything in the region, until they are overwritten, with the
 * registers that are written until then.
 */
export function unreadFlags(graph: RegionGraph, registers: RegisterPlan): ReadonlyMap<number, RegisterSet> {
  const effects = new Map<RegionInstruction, FlagEffect>();
  const effectOf = (instruction: RegionInstruction) => {
    let effect = effects.get(instruction);
    if (!effect) effects.set(instruction, (effect = findEffect(instruction)));
    return effect;
  };
  const unread = new Map<number, RegisterSet>();
  for (const start of new Set([...graph.merges, ...graph.loopHeaders])) {
    let written: RegisterSet | undefined = 0;
    const queue = [start];
    const seen = new Set(queue);
    for (let at = queue.pop(); at !== undefined && written !== undefined; at = queue.pop()) {
      const block = graph.blocks.get(at);
      if (!block) continue;
      const end = block.instructions.findIndex((instruction) => effectOf(instruction) !== 'none');
      const before = end < 0 ? block.instructions : block.instructions.slice(0, end);
      for (const instruction of before) written |= registers.use(instruction).written;
      if (end >= 0) {
        if (effectOf(block.instructions[end]) === 'other') written = undefined;
        continue;
      }
      for (const to of block.successors) {
        if (seen.has(to)) continue;
        seen.add(to);
        queue.push(to);
      }
    }
    if (written !== undefined) unread.set(start, written);
  }
  return unread;
}

function findEffect(instruction: RegionInstruction): FlagEffect {
  const { demand, program } = instruction.code;
  const { nodes } = program.body;
  // TypeScript may change what it likes.
  if (demand.calls) return 'other';
  const all = deep(nodes);
  const reads = all.some(
    (node) =>
      (node.kind === 'getSlot' && isFlag(node) && demand.uses[node.result.id] > 0) ||
      (node.kind === 'pure' && node.result.condition !== undefined && demand.uses[node.result.id] > 0),
  );
  if (reads) return 'other';
  if (!all.some((node) => node.kind === 'flagSource' || (node.kind === 'setSlot' && isFlag(node)))) return 'none';
  if (demand.control.repeats) return 'other';
  const [writer, ...more] = demand.flagWriters.keys();
  if (!writer) return demand.replacesFlags || nodes.some(({ kind }) => kind === 'flagSource') ? 'overwrites' : 'other';
  const constants = new Constants(instruction);
  const happens = writer.kind === 'when' && constants.of(writer.condition);
  return more.length === 0 && demand.flagWriters.get(writer) && happens ? 'overwrites' : 'other';
}

const isFlag = ({ slot }: Extract<Node, { kind: 'getSlot' | 'setSlot' }>): boolean =>
  slot === FZ || slot === FS || slot === FC;
const deep = (nodes: readonly Node[]): readonly Node[] =>
  nodes.flatMap((node) =>
    node.kind === 'when' ? [node, ...deep(node.then.nodes), ...deep(node.otherwise.nodes)] : [node],
  );
