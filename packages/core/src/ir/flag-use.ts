import { FC, FS, FZ } from '../cpu/state.ts';
import type { Block, Node, Program } from './types.ts';

/** What an instruction does with the arithmetic flags, for finding flags that nobody will see. */
export interface FlagUse {
  /** Writes some of them. */
  readonly writes: boolean;
  /** Writes all of them whatever happens. */
  readonly writesAll: boolean;
  /** Flags from before can be seen: it reads one, or can leave the run (fault, exit, branch). */
  readonly observes: boolean;
  /** Can write guest memory. */
  readonly stores: boolean;
}

const FLAG_SLOTS: readonly object[] = [FZ, FS, FC];

export function flagUse(program: Program): FlagUse {
  const written = new Set<object>();
  let observes = false;
  for (const node of program.body.nodes) {
    if (node.kind === 'setSlot' && FLAG_SLOTS.includes(node.slot)) written.add(node.slot);
    else observes ||= observesFlags(node, written);
  }
  const writes =
    written.size > 0 ||
    program.body.nodes.some((node) => node.kind === 'when' && writesInside(node.then, node.otherwise));
  return { writes, writesAll: written.size === FLAG_SLOTS.length, observes, stores: stores(program.body) };
}

function observesFlags(node: Node, written: ReadonlySet<object>): boolean {
  switch (node.kind) {
    case 'getSlot':
      return FLAG_SLOTS.includes(node.slot) && !written.has(node.slot);
    case 'load':
    case 'loadForUpdate':
    case 'store':
    case 'storeUpdate':
    case 'storeReached':
    case 'copyReached':
    case 'fillReached':
    case 'raise':
    case 'jump':
    case 'branch':
    case 'repeat':
    case 'exit':
    case 'helper':
      return true;
    case 'when':
      return [...node.then.nodes, ...node.otherwise.nodes].some((inner) => observesFlags(inner, written));
    default:
      return false;
  }
}

function stores(block: Block): boolean {
  return block.nodes.some(
    (node) =>
      node.kind === 'store' ||
      node.kind === 'storeUpdate' ||
      node.kind === 'storeReached' ||
      node.kind === 'copyReached' ||
      node.kind === 'fillReached' ||
      (node.kind === 'when' && (stores(node.then) || stores(node.otherwise))),
  );
}

function writesInside(...blocks: readonly Block[]): boolean {
  return blocks.some((block) =>
    block.nodes.some(
      (node) =>
        (node.kind === 'setSlot' && FLAG_SLOTS.includes(node.slot)) ||
        (node.kind === 'when' && writesInside(node.then, node.otherwise)),
    ),
  );
}
