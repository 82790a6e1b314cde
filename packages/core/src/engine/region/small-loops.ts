import type { Node } from '../../ir/types.ts';
import { DISPATCHER, type RegionGraph, type RegionInstruction } from './graph.ts';
import { endsTranslations, type TranslationUses } from './shared-translations.ts';

/** Loops of more instructions need the locals for their registers: those of xz, of a hundred, took 1.1 to 1.3 times as long. */
const MOST_INSTRUCTIONS = 16;
const MOST_ACCESSES = 4;

/** An access that goes round in a loop. */
export interface LoopAccess {
  readonly instruction: RegionInstruction;
  readonly node: Node;
}

/**
 * Accesses that look at the page that they were in last, by the loop that they are in: small ones without another in them, in which
 * nothing drops translations.
 */
export function loopAccesses(graph: RegionGraph, sharing: TranslationUses): ReadonlyMap<number, readonly LoopAccess[]> {
  const found = new Map<number, readonly LoopAccess[]>();
  const predecessors = predecessorsOf(graph);
  for (const header of graph.loopHeaders) {
    const members = membersOf(header, graph, predecessors);
    if ([...members].some((member) => member === DISPATCHER || (member !== header && graph.loopHeaders.has(member))))
      continue;
    const instructions = [...members].flatMap((member) => graph.blocks.get(member)?.instructions ?? []);
    if (instructions.length > MOST_INSTRUCTIONS || instructions.some(endsAny)) continue;
    const accesses = instructions.flatMap((instruction) =>
      instruction.code.program.body.nodes
        .filter((node) => ACCESSES.has(node.kind) && (sharing.get(instruction)?.get(node)?.isFirst ?? true))
        .map((node) => ({ instruction, node })),
    );
    if (accesses.length > 0) found.set(header, accesses.slice(0, MOST_ACCESSES));
  }
  return found;
}

const ACCESSES = new Set<Node['kind']>(['load', 'loadForUpdate', 'store']);
const endsAny = (instruction: RegionInstruction): boolean =>
  instruction.code.program.body.nodes.some((node) => endsTranslations(node, instruction));

function predecessorsOf({ blocks }: RegionGraph): ReadonlyMap<number, readonly number[]> {
  const predecessors = new Map<number, number[]>([...blocks.keys()].map((offset) => [offset, []]));
  for (const { offset, successors } of blocks.values()) for (const to of successors) predecessors.get(to)?.push(offset);
  return predecessors;
}

/** The blocks of a loop: those that lead back to its header without going through it. */
function membersOf(
  header: number,
  { order }: RegionGraph,
  predecessors: ReadonlyMap<number, readonly number[]>,
): ReadonlySet<number> {
  const members = new Set([header]);
  const place = (offset: number) => order.get(offset) as number;
  const queue = (predecessors.get(header) as number[]).filter((from) => place(from) >= place(header));
  for (let at = queue.pop(); at !== undefined; at = queue.pop()) {
    if (members.has(at)) continue;
    members.add(at);
    queue.push(...(predecessors.get(at) as number[]));
  }
  return members;
}
