/** A guest that stays at a shell: its child process, and turns in which a load runs on command, timed by marker lines. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import type { Load } from './loads.ts';
import { type Moment, momentOf } from './moment.ts';
import { type EngineCommand, LineSplitter, MarkerClock, markerOf } from './session.ts';

/** What a load took in one turn: by the host's clock, and of the processors (NaN where the host does not tell). */
export interface Turn {
  readonly seconds: number;
  readonly cpuSeconds: number;
}

/** A load, and the line that asks the guest for it: `@@ ready NAME` and the rest are to come, as loads/loads.sh describes. */
export interface AskedLoad extends Load {
  readonly line: string;
}

/** What a shell is asked again and again until it answers `@@ done`. The backslash keeps the marker out of the line's echo. */
export const probeLine = 'echo @\\@ done';

/** A command line for a shell as a load, which is right if it exits with 0; it is read before the time begins. */
export function shellLoad(command: string): AskedLoad {
  const line = `echo @\\@ ready command; read -r go; ${command}; echo @\\@ end command $?; ${probeLine}`;
  return { name: 'command', title: command, result: '0', line };
}

/** The time of one turn: from the line that starts the load, sent when `@@ ready` arrives, to its `stop` or `end`. */
export class TurnClock {
  readonly #load: Load;
  readonly #wall: MarkerClock;
  readonly #processors: MarkerClock;
  #isStarted = false;

  constructor(load: Load) {
    this.#load = load;
    this.#wall = new MarkerClock([load], Number.NaN);
    this.#processors = new MarkerClock([load], Number.NaN);
  }

  /** Answers whether this line asks for the one that starts the load. Lines before it are of an earlier turn. */
  line(text: string, now: Moment): boolean {
    const { kind, name } = markerOf(text);
    const begins = !this.#isStarted && kind === 'ready' && name === this.#load.name;
    if (begins) {
      this.#isStarted = true;
      this.#wall.begin(name, now.ms);
      this.#processors.begin(name, now.cpuSeconds * 1000);
    } else if (this.#isStarted && kind !== 'begin') {
      this.#wall.line(text, now.ms);
      this.#processors.line(text, now.cpuSeconds * 1000);
    }
    return begins;
  }

  /** The load has ended, and what it left is removed. */
  get isDone(): boolean {
    return this.#wall.isDone;
  }

  /** The turn, or what was wrong with it. */
  get result(): Turn | string {
    const { name } = this.#load;
    const seconds = this.#wall.seconds.get(name);
    if (seconds !== undefined) return { seconds, cpuSeconds: this.#processors.seconds.get(name)! };
    return this.#wall.complaints[0] ?? `${name}: ended without a result`;
  }
}

const KEPT_LINES = 4;
const PROBE_MS = 1000;
/** How long a child that is asked to end may take, to keep compiled code for instance. */
const ENDING_MS = 5000;

export class ShellGuest {
  readonly #title: string;
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #closed: Promise<void>;
  readonly #killChild = () => this.#child.kill('SIGKILL');
  readonly #tail: string[] = [];
  #clock: TurnClock | undefined;
  #isUp = false;
  /** Why nothing more can come. */
  #failure: string | undefined;
  #wake = () => {};

  constructor(title: string, command: EngineCommand) {
    this.#title = title;
    this.#child = spawn(command.file, command.args, { stdio: ['pipe', 'pipe', 'pipe'] });
    process.once('exit', this.#killChild);
    this.#child.stdin.on('error', () => {});
    for (const stream of [this.#child.stdout, this.#child.stderr]) this.#watch(stream);
    this.#closed = new Promise((resolve) => {
      const end = (failure: string) => {
        this.#failure ??= failure;
        process.off('exit', this.#killChild);
        this.#wake();
        resolve();
      };
      this.#child.on('error', (error) => end(`cannot be started: ${error.message}`));
      this.#child.on('close', (code, signal) => end(`the guest is gone (${signal ?? `exit code ${code}`})`));
    });
  }

  /** Until the guest answers with `@@ done`; a guest that must be asked for it is sent `probe`, as long as it does not hear. */
  async up(timeoutSeconds: number, probe?: string): Promise<void> {
    const asking = probe === undefined ? undefined : setInterval(() => this.#send(probe), PROBE_MS);
    await this.#until('its shell', timeoutSeconds, () => this.#isUp).finally(() => clearInterval(asking));
  }

  async turn(load: AskedLoad, timeoutSeconds: number): Promise<Turn> {
    const clock = new TurnClock(load);
    this.#clock = clock;
    this.#send(load.line);
    await this.#until(load.name, timeoutSeconds, () => clock.isDone);
    const { result } = clock;
    if (typeof result === 'string') throw new Error(`${this.#title}: ${result}`);
    return result;
  }

  /** The child is gone afterwards. */
  async end(): Promise<void> {
    this.#child.kill('SIGTERM');
    const timer = setTimeout(this.#killChild, ENDING_MS);
    await this.#closed;
    clearTimeout(timer);
  }

  #send(line: string): void {
    if (this.#child.stdin.writable) this.#child.stdin.write(`${line}\n`);
  }

  #watch(stream: Readable): void {
    const splitter = new LineSplitter();
    stream.on('data', (chunk: Buffer) => {
      const now = momentOf(this.#child.pid);
      for (const line of splitter.push(chunk.toString('latin1'))) this.#line(line, now);
      this.#wake();
    });
  }

  #line(text: string, now: Moment): void {
    this.#tail.push(text);
    if (this.#tail.length > KEPT_LINES) this.#tail.shift();
    this.#isUp ||= markerOf(text).kind === 'done';
    if (this.#clock?.line(text, now)) this.#send('');
  }

  async #until(what: string, timeoutSeconds: number, isThere: () => boolean): Promise<void> {
    let isOver = false;
    const timer = setTimeout(() => {
      isOver = true;
      this.#wake();
    }, timeoutSeconds * 1000);
    try {
      while (!isThere()) {
        const failure = this.#failure ?? (isOver ? `not there after ${timeoutSeconds} s` : undefined);
        if (failure) throw new Error(`${this.#title}: ${what}: ${failure}; last lines: ${JSON.stringify(this.#tail)}`);
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      clearTimeout(timer);
    }
  }
}
