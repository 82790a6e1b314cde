/**
 * Boots Debian to the shell and powers it off, again and again, and counts. With the wall clock:
 * under `icount` every boot would be the same one.
 */
import { reachShell, runCommand } from './debian-shell.ts';
import { DOORS, type Door } from './doors.ts';
import { GuestSession } from './guest-session.ts';

/** Long: what is counted is boots that go wrong, not how busy the host is. */
const BOOT_TIMEOUT_MS = 600_000;

async function bootOnce({ guest, args, says }: Door): Promise<string> {
  const startMs = performance.now();
  const session = new GuestSession(guest, ...args, '--clock', 'wall', '--timeout', '900');
  try {
    await reachShell(session, BOOT_TIMEOUT_MS);
    const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
    if (!session.console.includes(says)) throw new Error(`its console does not say "${says}"`);
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

/** How many of `count` boots of one door failed. */
async function bootThrough(name: string, count: number): Promise<number> {
  let failed = 0;
  for (let boot = 1; boot <= count; boot++) {
    try {
      console.log(`${name}, boot ${boot}: passed, ${await bootOnce(DOORS[name])}`);
    } catch (error) {
      failed++;
      console.log(`${name}, boot ${boot}: FAILED: ${(error as Error).message}`);
    }
  }
  return failed;
}

/**
 * `count` boots through each of the doors named. Answers whether all of them went well.
 * @throws RangeError for a name that {@link DOORS} does not have, before any boot
 */
export async function bootRepeatedly(names: readonly string[], count: number): Promise<boolean> {
  for (const name of names) {
    if (!(name in DOORS)) throw new RangeError(`no door "${name}": there are ${Object.keys(DOORS).join(', ')}`);
  }
  let failed = 0;
  for (const name of names) failed += await bootThrough(name, count);
  console.log(`${names.length * count - failed} passed, ${failed} failed`);
  return failed === 0;
}

export const ALL_DOORS: readonly string[] = Object.keys(DOORS);
