import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { fileError, usageError } from '../cli-error.ts';
import { ExitCode } from '../exit-codes.ts';

/** A function that has run. */
export interface LoggedFunction {
  readonly name: string;
  /** `init`: in code that the kernel gives away once it has booted. */
  readonly section: 'init' | 'text';
  /** The function that the first call came from; `-`: it was no call, or of nobody who has a name. */
  readonly caller: string;
}

/** The file of `vm run --functions`: opened before the guest starts, so that nobody runs a guest for nothing. */
export class FunctionFile {
  readonly path: string;
  readonly #descriptor: number;

  constructor(path: string) {
    this.path = path;
    try {
      this.#descriptor = openSync(path, 'w');
    } catch (error) {
      throw fileError(`cannot write ${path}`, error, ExitCode.USAGE);
    }
  }

  /** A line each, in the order in which they ran: name, section and caller between tabs. */
  write(functions: readonly LoggedFunction[]): void {
    const lines = functions.map(({ name, section, caller }) => `${name}\t${section}\t${caller}\n`);
    const bytes = Buffer.from(lines.join(''));
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(this.#descriptor, bytes, at);
    } catch (error) {
      throw fileError(`cannot write ${this.path}`, error, ExitCode.USAGE);
    }
  }
  close(): void {
    closeSync(this.#descriptor);
  }
}

/** Throws `PolyvisorError` PV3002 for what cannot be read, PV3001 for what `vm run --functions` has not written. */
export function readFunctions(path: string): LoggedFunction[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw fileError(`cannot read ${path}`, error, ExitCode.USAGE);
  }
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line, i) => {
      const [name, section, caller, more] = line.split('\t');
      if (!name || !caller || more !== undefined || (section !== 'init' && section !== 'text'))
        throw usageError(`${path}: line ${i + 1} is no function`, 'give files that `vm run --functions` has written');
      return { name, section, caller };
    });
}
