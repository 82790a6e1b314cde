/** Why generated code returned to TypeScript. */
export const ExitCode = {
  /** Nothing decoded at RIP (linear address in RIP). */
  lookup: 0,
  /** The budget is used up; RIP is where to go on. */
  budget: 1,
  /** An exception at EXIT_RECORD: vector, error code and address in the fault slots. */
  fault: 2,
  /** An instruction at EXIT_RECORD that TypeScript carries out: its number in EXIT_DETAIL. */
  instruction: 3,
  /** The record at EXIT_RECORD is stale, or could not be fetched: look RIP up again. */
  refetch: 4,
  /** A stop record was reached; RIP is where to go on. */
  stop: 5,
} as const;

/** What a handler compiled as a function of its own answers. */
export const HandlerResult = { next: 0, jump: 1, branch: 2, repeat: 3, fault: 4, instruction: 5 } as const;
