/** Which modules of a file of compiled code its last run used, beside it: a digest a line, in the order that they were wanted. */
import { readFile } from 'node:fs/promises';
import { writeAtomically } from '../cache.ts';

const usedFile = (codeFile: string): string => `${codeFile}.used`;

export async function readUsed(codeFile: string): Promise<readonly string[]> {
  const text = await readFile(usedFile(codeFile), 'latin1').catch(() => '');
  return text.split('\n').filter((line) => line !== '');
}
export async function writeUsed(codeFile: string, digests: Iterable<string>): Promise<void> {
  await writeAtomically(usedFile(codeFile), Buffer.from([...digests, ''].join('\n')));
}
