import { LAST_PAGES } from '../../cpu/state.ts';
import type { Node } from '../../ir/types.ts';
import { DISPATCHER, loopOf, type RegionGraph, type RegionInstruction } from './graph.ts';
import { endsTranslations, type TranslationUses } from './shared-translations.ts';

/** Loops of more instructions need the locals for their registers: those of xz, of a hundred, took 1.1 to 1.3 times as long. */
const MOST_INSTRUCTIONS = 16;
const MOST_ACCESSES = LAST_PAGES.length;

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
  for (const header of graph.loopHeaders) {
    const members = loopOf(header, graph);
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
