import type { ExpandedCase, Outcome } from './case.ts';

/** A tier of the engine, or another processor, that carries cases out. */
export interface CaseRunner {
  readonly name: string;
  run(one: ExpandedCase): RunResult;
}

export type RunResult =
  | { readonly kind: 'ran'; readonly outcome: Outcome }
  /** The code left the engine for TypeScript (`reason`: the exit's name): nothing to compare. */
  | { readonly kind: 'left'; readonly reason: string };

/** Instructions a case may run, REP iterations included, before it counts as hanging. */
export const MAX_STEPS = 4096;
