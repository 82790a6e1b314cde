/**
 * Boots Debian to the shell and powers it off, again and again, and counts. With the wall clock:
 * under `icount` every boot would be the same one.
 */
import { reachShell, runCommand, startDebian } from './debian-shell.ts';

async function bootOnce(): Promise<string> {
  const startMs = performance.now();
  const session = startDebian('--clock', 'wall');
  try {
    await reachShell(session);
    const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
    const { output } = await runCommand(session, 'uname -s');
    if (output !== 'Linux\n') throw new Error(`uname answered ${JSON.stringify(output)}`);
    session.send('poweroff');
    const { exitCode, stderr } = await session.ended();
    if (exitCode !== 0) throw new Error(`exit code ${exitCode}; ${stderr}`);
    return `shell after ${seconds} s`;
  } finally {
    await session.stop();
  }
}

/** Answers whether all of them went well. */
export async function bootRepeatedly(count: number): Promise<boolean> {
  let failed = 0;
  for (let boot = 1; boot <= count; boot++) {
    try {
      console.log(`boot ${boot}: passed, ${await bootOnce()}`);
    } catch (error) {
      failed++;
      console.log(`boot ${boot}: FAILED: ${(error as Error).message}`);
    }
  }
  console.log(`${count - failed} passed, ${failed} failed`);
  return failed === 0;
}
