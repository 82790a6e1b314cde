import { open } from 'node:fs/promises';
import { fileError } from '../cli-error.ts';
import { ExitCode } from '../exit-codes.ts';
import type { GuestConsole } from './guest-console.ts';

/** Output to a file, which is replaced; no input. */
export async function openFileConsole(path: string): Promise<GuestConsole> {
  const file = await open(path, 'w').catch((error) => {
    throw fileError(`cannot write the console file ${path}`, error, ExitCode.USAGE);
  });
  const stream = file.createWriteStream();
  let failure: Error | undefined;
  stream.on('error', (error) => {
    failure = error;
  });
  return {
    write: (bytes) => {
      stream.write(bytes.slice());
    },
    onInput: () => {},
    async close() {
      await new Promise<void>((resolve) => stream.end(() => resolve()));
      if (failure) throw fileError(`cannot write the console file ${path}`, failure, ExitCode.USAGE);
    },
  };
}

/** Nothing in, nothing out. */
export function openNullConsole(): GuestConsole {
  return { write: () => {}, onInput: () => {}, close: async () => {} };
}
