import { BOOT_TIMEOUT_MS, type ConsoleSession, GuestSession } from './guest-session.ts';

export const PROMPT = '~ # ';

/** Debian's kernel as a Xen PV domain, with further arguments for `vm run`. */
export function startDebian(...args: string[]): GuestSession {
  return new GuestSession('debian', '--plugin', 'xen', ...args);
}

/** Debian's kernel on the PC itself. */
export function startNativeDebian(...args: string[]): GuestSession {
  return new GuestSession('debian', '--plugin', 'none', ...args);
}

export async function reachShell(session: ConsoleSession, timeoutMs = BOOT_TIMEOUT_MS): Promise<string> {
  return session.expect(PROMPT, timeoutMs);
}

export interface CommandResult {
  readonly output: string;
  readonly status: number;
}

/**
 * Runs a command at the shell's prompt. The quotes keep the echo of what is typed apart from what
 * the command prints.
 */
export async function runCommand(session: ConsoleSession, command: string): Promise<CommandResult> {
  session.send(`echo @@"begin"; ${command}; echo @@"status" $?`);
  await session.expect('@@begin\n');
  const text = await session.expect(/@@status \d+\n/);
  await session.expect(PROMPT);
  const marker = text.lastIndexOf('@@status');
  return { output: text.slice(0, marker), status: Number(text.slice(marker).split(' ')[1]) };
}
