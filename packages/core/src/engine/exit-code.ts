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
  /** The record at EXIT_RECORD, where RIP is, has been reached often enough for a region to be worth its while. */
  hot: 6,
  /** The instruction at RIP, where a region starts, is one that tier 0 has to do this time. */
  resume: 7,
} as const;

/** What the function that runs regions answers when tier 0 is to go on, at EXIT_RECORD; otherwise an {@link ExitCode}. */
export const REGION_GO_ON = 16;

/** How a region was left: the low bits of its second answer. */
export const RegionExit = {
  /** By a transfer at which the budget has to be looked at. */
  transfer: 0,
  /** Anyhow else. */
  flow: 1,
  /** The budget is used up. */
  budget: 2,
  /** An exception, RIP is at the instruction; or tier 0 has to do it, if FAULT_VECTOR is {@link RESUME_VECTOR}. */
  fault: 3,
} as const;
export const REGION_EXIT_BITS = 2;
/** In FAULT_VECTOR: no exception, but an access that only tier 0 carries out. */
export const RESUME_VECTOR = -1;

/** What a handler compiled as a function of its own answers. */
export const HandlerResult = { next: 0, jump: 1, branch: 2, repeat: 3, fault: 4, instruction: 5 } as const;
