import { readdir, realpath } from 'node:fs/promises';
import path from 'node:path';
import { PolyvisorError } from '@polyvisor/plugin-api';
import { fileError } from '../cli-error.ts';
import { ExitCode } from '../exit-codes.ts';

/** All that a file of a boot list holds that names an ops module of the host's: letters, digits, `_` and `-`, no path. */
const NAMING = /^pvops-module ([A-Za-z0-9][A-Za-z0-9_-]{0,62})\r?\n?$/;
const LONGEST_BYTES = 80;
/** What a module's file may be called after its name: TypeScript, JavaScript, an object. */
const EXTENSIONS = ['.ts', '.mts', '.js', '.mjs', '.o'];

/** The name of the ops module that a file of a boot list asks for; `undefined`: it is something else. */
export function namedModule(bytes: Uint8Array): string | undefined {
  if (bytes.length > LONGEST_BYTES) return undefined;
  return NAMING.exec(Buffer.from(bytes).toString('latin1'))?.[1];
}

/**
 * The file that a module's name stands for: one of `directory`, which the user has said may be named. A list never brings code
 * for the host; it can only choose among what is there. Throws PV5030: none may be named, or not that one; PV3002.
 */
export async function allowedModule(name: string, askedIn: string, directory: string | undefined): Promise<string> {
  const refuse = (why: string, fix: string) =>
    new PolyvisorError('PV5030', `${askedIn} asks for the ops module ${name}: ${why}`, fix, ExitCode.USAGE);
  if (directory === undefined) throw refuse('none may be named', 'allow those of a directory with --module-dir');
  const names = await readdir(directory).catch((error) => {
    throw fileError(`cannot read --module-dir ${directory}`, error, ExitCode.USAGE);
  });
  const found = EXTENSIONS.map((extension) => `${name}${extension}`).filter((file) => names.includes(file));
  if (found.length === 0) throw refuse(`${directory} has none`, `put ${name}${EXTENSIONS[0]} or ${name}.o there`);
  if (found.length > 1) throw refuse(`${directory} has ${found.join(' and ')}`, 'leave one of them');
  const [within, file] = await Promise.all([realpath(directory), realpath(path.join(directory, found[0]))]);
  if (path.dirname(file) !== within) throw refuse(`${found[0]} leads out of ${directory}`, 'put the file itself there');
  return file;
}
