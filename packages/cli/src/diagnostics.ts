import { PolyvisorError } from '@polyvisor/plugin-api';
import { firstLine } from './cli-error.ts';
import { ExitCode } from './exit-codes.ts';

/** One line on stderr, with the command's name before it. */
export function say(text: string): void {
  process.stderr.write(`vm: ${text}\n`);
}

/**
 * Reports a failure in one line and answers the exit code it stands for. What is not a
 * `PolyvisorError` is a defect of ours; its stack is shown only under POLYVISOR_DEBUG=1.
 */
export function reportFailure(error: unknown): number {
  const debug = process.env.POLYVISOR_DEBUG === '1';
  if (debug && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  if (error instanceof PolyvisorError) {
    say(error.oneLine);
    return error.exitCode;
  }
  say(`PV3000: internal error (${firstLine(error)}): run again with POLYVISOR_DEBUG=1 and report what it prints`);
  return ExitCode.INTERNAL;
}
