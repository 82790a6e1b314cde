/**
 * Work in small steps: what it yields between them is whoever's turn it is, a guest's for one. Each step takes well under a
 * millisecond.
 */
export type Steps<Result> = Generator<undefined, Result, void>;

/** All steps at once. */
export function allAtOnce<Result>(steps: Steps<Result>): Result {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}
