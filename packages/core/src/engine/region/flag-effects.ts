import { Constants } from './constants.ts';
import type { FlagEffect } from './demand.ts';
import type { RegionGraph, RegionInstruction } from './graph.ts';
import type { RegisterPlan, RegisterSet } from './registers.ts';

/**
 * Blocks at whose start the arithmetic flags are not read any more by anything in the region, until they are overwritten, with the
 * registers that are written until then.
 */
export function unreadFlags(graph: RegionGraph, registers: RegisterPlan): ReadonlyMap<number, RegisterSet> {
  const unread = new Map<number, RegisterSet>();
  for (const start of new Set([...graph.merges, ...graph.loopHeaders])) {
    let written: RegisterSet | undefined = 0;
    const queue = [start];
    const seen = new Set(queue);
    for (let at = queue.pop(); at !== undefined && written !== undefined; at = queue.pop()) {
      const block = graph.blocks.get(at);
      if (!block) continue;
      let effect: FlagEffect = 'none';
      for (const instruction of block.instructions) {
        effect = effectOn(instruction);
        if (effect !== 'none') break;
        written |= registers.use(instruction).written;
      }
      if (effect === 'other') written = undefined;
      if (effect !== 'none') continue;
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

/**
 * With the quiet form of instructions whose flags are all written again before anyone can see them, as tier 0 has it
 * (docs/decisions/0007). What is computed and not read costs nothing in a region; but an instruction that leaves some flags as they are, as
 * rotates and INC do, would have to know what those come from.
 */
export function withoutDeadFlags(graph: RegionGraph): RegionGraph {
  const blocks = [...graph.blocks].map(([offset, block]) => {
    return [offset, { ...block, instructions: quieten(block.instructions) }] as const;
  });
  return { ...graph, blocks: new Map(blocks) };
}
function quieten(instructions: readonly RegionInstruction[]): RegionInstruction[] {
  let areDead = false;
  const backwards = instructions.toReversed().map((instruction) => {
    const quiet = areDead && instruction.code.flags.writes ? instruction.code.quiet() : undefined;
    const { flags } = quiet ?? instruction.code;
    areDead = !flags.observes && (areDead || effectOn(instruction) === 'overwrites');
    return quiet ? { ...instruction, code: quiet } : instruction;
  });
  return backwards.reverse();
}

function effectOn(instruction: RegionInstruction): Exclude<FlagEffect, 'overwritesIf'> {
  const { flagEffect, flagWriters } = instruction.code.demand;
  if (flagEffect !== 'overwritesIf') return flagEffect;
  const [writer] = flagWriters.keys();
  return writer.kind === 'when' && new Constants(instruction).of(writer.condition) ? 'overwrites' : 'other';
}
