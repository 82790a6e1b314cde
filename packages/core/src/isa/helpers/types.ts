/**
 * A helper carries out in TypeScript what the IR leaves to it. Arguments stand in the ARG slots, results go to the
 * RESULT slots; `base` is the offset of the vCPU's state block. Answers {@link DONE} or the vector of an exception;
 * nothing architectural has changed then, but what the exception itself changes.
 */
export type Helper = (state: DataView, base: number) => number;
export const DONE = -1;
