import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { PlainText } from './plain-text.ts';

const vm = fileURLToPath(new URL('../../packages/cli/bin/vm.mjs', import.meta.url));

/** A guest's longest way to its first prompt, on a machine that has other things to do. */
export const BOOT_TIMEOUT_MS = 180_000;
const ANSWER_TIMEOUT_MS = 60_000;
/** The child ends by itself after this time, should nobody be left to end it. */
const CHILD_TIMEOUT_S = 400;
const KILL_AFTER_MS = 10_000;

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export interface SessionEnd {
  /** `null`: the child was ended by a signal. */
  readonly exitCode: number | null;
  readonly stderr: string;
}

/** A child process with a guest's console, which is read and typed at by a test. */
export class ConsoleSession {
  readonly #child: ChildProcess;
  readonly #end: Promise<SessionEnd>;
  readonly #console = new PlainText();
  /** Where in the console's text the last match ended. */
  #readTo = 0;
  #hasEnded = false;
  #stderr = '';
  #onChange: () => void = () => {};

  constructor(command: string, args: readonly string[]) {
    const child = spawn(command, args, {
      stdio: 'pipe',
      env: { ...process.env, POLYVISOR_DEBUG: '' },
    });
    this.#child = child;
    running.add(child);
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#console.add(text);
      this.#onChange();
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
    // A guest that ends does not read what was typed last.
    child.stdin.on('error', () => {});
    this.#end = new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (exitCode) => {
        running.delete(child);
        this.#hasEnded = true;
        this.#onChange();
        resolve({ exitCode, stderr: this.#stderr });
      });
    });
  }

  /** All that the guest printed so far, without carriage returns and terminal control sequences. */
  get console(): string {
    return this.#console.text;
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** Waits for a text and answers what the guest printed since the last match, this one included. */
  async expect(wanted: string | RegExp, timeoutMs = ANSWER_TIMEOUT_MS): Promise<string> {
    const find = () => {
      const unread = this.console.slice(this.#readTo);
      const at = typeof wanted === 'string' ? unread.indexOf(wanted) : unread.search(wanted);
      if (at < 0) return undefined;
      const length = typeof wanted === 'string' ? wanted.length : (wanted.exec(unread)?.[0].length ?? 0);
      this.#readTo += at + length;
      return unread.slice(0, at + length);
    };
    const found = await this.#waitUntil(find, timeoutMs);
    if (found !== undefined) return found;
    const why = this.#hasEnded ? 'before the guest ended' : `within ${timeoutMs / 1000} s`;
    throw new Error(`${wanted} did not appear ${why}; ${this.#tail()}`);
  }

  /** Types a line. */
  send(line: string): void {
    this.type(`${line}\n`);
  }

  /** Types what is given, without a line end. */
  type(text: string): void {
    this.#child.stdin?.write(text);
  }

  /** Waits until the guest has ended by itself. */
  async ended(timeoutMs = ANSWER_TIMEOUT_MS): Promise<SessionEnd> {
    await this.#waitUntil(() => (this.#hasEnded ? true : undefined), timeoutMs);
    if (!this.#hasEnded) throw new Error(`the guest did not end within ${timeoutMs / 1000} s; ${this.#tail()}`);
    return this.#end;
  }

  /** Ends the guest from outside; answers at once if it has ended already. */
  async stop(): Promise<SessionEnd> {
    if (!this.#hasEnded) this.#child.kill('SIGTERM');
    const hard = setTimeout(() => this.#child.kill('SIGKILL'), KILL_AFTER_MS);
    return this.#end.finally(() => clearTimeout(hard));
  }

  /** Asks `look` after every change until it answers, the child has ended, or the time is up. */
  #waitUntil<T>(look: () => T | undefined, timeoutMs: number): Promise<T | undefined> {
    return new Promise((resolve) => {
      const settle = (answer: T | undefined) => {
        clearTimeout(timer);
        this.#onChange = () => {};
        resolve(answer);
      };
      const timer = setTimeout(() => settle(undefined), timeoutMs);
      this.#onChange = () => {
        const answer = look();
        if (answer !== undefined || this.#hasEnded) settle(answer);
      };
      this.#onChange();
    });
  }

  #tail(): string {
    const lines = this.console.split('\n').slice(-25).join('\n');
    return `its console ends with\n${lines}\nand on stderr is\n${this.#stderr}`;
  }
}

/** A `vm run` whose console is read and typed at by a test. */
export class GuestSession extends ConsoleSession {
  /** `vm run --clock icount ARGS`; another --clock in `args` wins. */
  constructor(...args: string[]) {
    const flags = ['--clock', 'icount', '--timeout', String(CHILD_TIMEOUT_S)];
    super(process.execPath, [vm, 'run', ...flags, ...args]);
  }
}
