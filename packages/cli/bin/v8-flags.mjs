import { setFlagsFromString } from 'node:v8';

/** V8's hints for branches are an experiment up to here; it complains of flags it does not know, so newer ones are left alone. */
const LAST_NODE_WITH_HINTS = 24;
/** What a unit of V8's tiering budget is has changed since. */
const NODE_WITH_THIS_BUDGET = 20;
/** V8's quick way to give registers to large functions has gone since. */
const NODE_WITH_QUICK_REGISTERS = 20;
/** As in code-keeper/native-modules.ts, which sets this where it has not been set from the start. */
const NODES_WITH_MACHINE_CODE = [20, 22, 24];
/** Bytes of a function that run in V8's quick code before it makes good code of it; V8's own figure is nine times that. */
const TIERING_BUDGET_BYTES = 200_000;

/**
 * Suit V8 to code that has been found hot before V8 sees it. Only speed depends on it. Must be called before the first
 * WebAssembly module is compiled, and before cached code is looked for, which is good for the flags it was made with.
 *
 * - The engine's hints which branches are hardly ever taken: loops take 0.83 to 0.9 of the time.
 * - Good code after fewer runs: a fork and exec load takes 0.92 of the time; with a fifth of the budget, 1.3 of it.
 * - Registers for large functions as for others: regions have more than the 8,192 values from which on V8 gives each a place on
 *   its stack. A native boot of Debian takes 0.86 of the time with i386 code (by its ratio to QEMU's), 0.97 with amd64 code.
 * - V8's functions for taking machine code of WebAssembly out and putting it in again can be called (code-keeper).
 * - Code that has not run for a while is kept: it is what the next start needs (program.mjs).
 */
export function tuneV8() {
  const nodeMajor = Number(process.versions.node.split('.')[0]);
  if (nodeMajor <= LAST_NODE_WITH_HINTS) setFlagsFromString('--experimental-wasm-branch-hinting');
  if (nodeMajor === NODE_WITH_THIS_BUDGET) setFlagsFromString(`--wasm-tiering-budget=${TIERING_BUDGET_BYTES}`);
  if (nodeMajor === NODE_WITH_QUICK_REGISTERS)
    setFlagsFromString('--no-turbo-use-mid-tier-regalloc-for-huge-functions');
  if (NODES_WITH_MACHINE_CODE.includes(nodeMajor)) setFlagsFromString('--allow-natives-syntax');
  setFlagsFromString('--no-flush-bytecode');
}
