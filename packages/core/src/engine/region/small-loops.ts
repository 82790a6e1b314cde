import { LAST_PAGES } from '../../cpu/state.ts';
import type { Node, Value } from '../../ir/types.ts';
import { DISPATCHER, loopOf, type RegionGraph, type RegionInstruction } from './graph.ts';
import { isVector, registerAt } from './registers.ts';
import { endsTranslations, placeOf, type TranslationUses } from './shared-translations.ts';

/** Longer loops gain nothing: with those of up to 32 instructions a boot, which unpacks a kernel, took 1.03 of the time, with all of them 1.06. */
const MOST_INSTRUCTIONS = 16;
const MOST_ACCESSES = LAST_PAGES.length;

/** An access that goes round in a loop. */
export interface LoopAccess {
  readonly instruction: RegionInstruction;
  readonly node: Node;
  /** It follows a pointer that the loop has loaded from where the one before pointed to (in 64-bit code). */
  readonly isFollowed: boolean;
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
    const followed = followedPointers(instructions);
    const accesses = instructions.flatMap((instruction) =>
      instruction.code.program.body.nodes
        .filter(isAccess)
        .filter((node) => sharing.get(instruction)?.get(node)?.isFirst ?? true)
        .map((node) => {
          const isFollowed = registersIn(node.address, instruction).some((register) => followed.has(register));
          return { instruction, node, isFollowed };
        }),
    );
    if (accesses.length > 0) found.set(header, accesses.slice(0, MOST_ACCESSES));
  }
  return found;
}

/**
 * Registers that a loop loads from where they pointed to the round before, and copies of them: the next element of a list is in the page of
 * the one before by chance only.
 */
function followedPointers(instructions: readonly RegionInstruction[]): ReadonlySet<number> {
  const loads: { readonly to: number; readonly through: readonly number[] }[] = [];
  const copies: { readonly to: number; readonly from: number }[] = [];
  for (const instruction of instructions)
    for (const node of instruction.code.program.body.nodes) {
      if (node.kind !== 'setRegister' && node.kind !== 'setFixed') continue;
      const [to] = registerOf(node, instruction);
      if (to === undefined) continue;
      const source = node.value.node;
      if (source.kind === 'load') loads.push({ to, through: registersIn(source.address, instruction) });
      else if (isRegister(source)) for (const from of registerOf(source, instruction)) copies.push({ to, from });
    }
  const withCopies = (registers: ReadonlySet<number>) => closure(registers, copies);
  let followed = new Set(loads.map(({ to }) => to));
  for (let before = -1; before !== followed.size; ) {
    before = followed.size;
    const all = withCopies(followed);
    followed = new Set(loads.filter(({ through }) => through.some((each) => all.has(each))).map(({ to }) => to));
  }
  return withCopies(followed);
}
function closure(registers: ReadonlySet<number>, copies: readonly { to: number; from: number }[]): ReadonlySet<number> {
  const all = new Set(registers);
  for (let before = -1; before !== all.size; ) {
    before = all.size;
    for (const { to, from } of copies) if (all.has(from)) all.add(to);
  }
  return all;
}
/** The general registers that an address is made of. */
function registersIn({ node }: Value, instruction: RegionInstruction): readonly number[] {
  if (node.kind === 'pure') return node.args.flatMap((arg) => registersIn(arg, instruction));
  return isRegister(node) ? registerOf(node, instruction) : [];
}
const isRegister = (node: Node): node is Extract<Node, { kind: 'getRegister' | 'getFixed' }> =>
  node.kind === 'getRegister' || node.kind === 'getFixed';
/** The general register that a node reads or writes as a whole, if it is one. */
function registerOf(node: Parameters<typeof placeOf>[0], instruction: RegionInstruction): readonly number[] {
  const { offset, bytes } = placeOf(node, instruction);
  const register = registerAt(offset);
  return bytes === 8 && register >= 0 && !isVector(register) ? [register] : [];
}

const isAccess = (node: Node): node is Extract<Node, { kind: 'load' | 'loadForUpdate' | 'store' }> =>
  node.kind === 'load' || node.kind === 'loadForUpdate' || node.kind === 'store';
const endsAny = (instruction: RegionInstruction): boolean =>
  instruction.code.program.body.nodes.some((node) => endsTranslations(node, instruction));
