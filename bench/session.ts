/** One run of one engine: a child process, its console read for marker lines, each stamped when it arrives. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { Load } from './loads.ts';

export interface EngineCommand {
  readonly file: string;
  readonly args: readonly string[];
}

/** A figure, most often seconds, by load name. */
export type Timings = ReadonlyMap<string, number>;

const markerPattern = /@@ (ready|begin|stop|end|done)(?: (\w+)(?: (\S+)(?: (\d+))?)?)?/;

interface Marker {
  /** What loads/loads.sh says: ready, begin, stop, end or done; `undefined` if the line holds no marker. */
  readonly kind: string | undefined;
  readonly name: string;
  readonly result: string;
  readonly insideNs: string | undefined;
}

/** The marker of a line; a kernel's message or a prompt may stand before it. */
export function markerOf(line: string): Marker {
  const [, kind, name = '', result = '', insideNs] = markerPattern.exec(line) ?? [];
  return { kind, name, result, insideNs };
}

/** Longest line kept: a guest that never ends a line must not fill our memory. */
const maxLineChars = 4096;

/** Turns marker lines into times. The load `shell` counts from the start of the process. */
export class MarkerClock {
  readonly seconds = new Map<string, number>();
  /** Nanoseconds by the guest's own clock, of those programs that tell them. */
  readonly insideNs = new Map<string, number>();
  readonly complaints: string[] = [];
  isDone = false;
  readonly #beganAt = new Map<string, number>();
  readonly #stoppedAt = new Map<string, number>();
  readonly #loads: readonly Load[];

  /** `startMs`: when the process was started, on the clock that `line` is given. */
  constructor(loads: readonly Load[], startMs: number) {
    this.#loads = loads;
    this.#beganAt.set('shell', startMs);
  }

  begin(name: string, nowMs: number): void {
    this.#beganAt.set(name, nowMs);
  }

  line(text: string, nowMs: number): void {
    const { kind, name, result, insideNs } = markerOf(text);
    if (kind === 'done') this.isDone = true;
    if (kind === 'begin' && name !== 'shell') this.begin(name, nowMs);
    if (kind === 'stop') this.#stoppedAt.set(name, nowMs);
    if (kind === 'end') this.#end(name, result, this.#stoppedAt.get(name) ?? nowMs);
    if (kind === 'end' && insideNs !== undefined) this.insideNs.set(name, Number(insideNs));
  }

  #end(name: string, result: string, endMs: number): void {
    const load = this.#loads.find((candidate) => candidate.name === name);
    const beganAt = this.#beganAt.get(name);
    if (!load || beganAt === undefined) return;
    if (result === load.result) this.seconds.set(name, (endMs - beganAt) / 1000);
    else this.complaints.push(`${name}: the result is "${result}", not "${load.result}"`);
  }
}

/** Cuts chunks into lines, without their ends. */
export class LineSplitter {
  #rest = '';

  push(chunk: string): string[] {
    const lines = (this.#rest + chunk).split('\n');
    this.#rest = lines.pop()!.slice(-maxLineChars);
    return lines.map((line) => line.replace(/\r$/, ''));
  }
}

interface SessionResult {
  readonly seconds: Timings;
  readonly insideNs: Timings;
  /** Most host memory that the engine's process used; `undefined` where the host does not tell. */
  readonly peakBytes: number | undefined;
  /** Empty if every load ran to its right result. */
  readonly complaints: readonly string[];
}

/** VmHWM of a process (proc(5)). */
function peakMemoryOf(pid: number | undefined): number | undefined {
  try {
    const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
  } catch {
    return undefined;
  }
}

/** The last lines of the console, for an engine that did not get there. */
const keptLines = 8;

/** Runs `command` until its loads are done, it ends, or `timeoutSeconds` are over; the child is gone afterwards. */
export async function runSession(
  command: EngineCommand,
  loads: readonly Load[],
  timeoutSeconds: number,
): Promise<SessionResult> {
  const clock = new MarkerClock(loads, performance.now());
  const child = spawn(command.file, command.args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const killChild = () => child.kill('SIGKILL');
  process.once('exit', killChild);
  const tail: string[] = [];
  let peakBytes: number | undefined;
  const complaints: string[] = [];
  const watch = (splitter: LineSplitter) => (chunk: Buffer) => {
    const nowMs = performance.now();
    for (const line of splitter.push(chunk.toString('latin1'))) {
      clock.line(line, nowMs);
      tail.push(line);
      if (tail.length > keptLines) tail.shift();
    }
    if (!clock.isDone) return;
    peakBytes ??= peakMemoryOf(child.pid);
    child.kill('SIGTERM');
  };
  child.stdout.on('data', watch(new LineSplitter()));
  child.stderr.on('data', watch(new LineSplitter()));
  const timer = setTimeout(() => {
    complaints.push(`not done after ${timeoutSeconds} s`);
    killChild();
  }, timeoutSeconds * 1000);
  await new Promise<void>((resolve) => {
    child.on('error', (error) => {
      complaints.push(`cannot be started: ${error.message}`);
      resolve();
    });
    child.on('close', () => resolve());
  });
  clearTimeout(timer);
  process.off('exit', killChild);
  if (!clock.isDone) complaints.push(`last lines: ${JSON.stringify(tail)}`);
  const { seconds, insideNs } = clock;
  return { seconds, insideNs, peakBytes, complaints: [...clock.complaints, ...complaints] };
}
