import { openSync, readSync } from 'node:fs';

/** The main thread's number is the process's. First in it: ns on a processor (Linux, Documentation/scheduler/sched-stats.rst). */
const SCHEDSTAT = `/proc/self/task/${process.pid}/schedstat`;
const text = Buffer.alloc(128);
/** Opened once, since that takes a tenth of a millisecond of what is measured; -1: there is none. */
let descriptor: number | undefined;

/** CPU time of the main thread so far, in ns; where that is not told, of the process. */
export function mainThreadCpuNs(): number {
  // getrusage(2) brings the thread's own figures up to date, which are else as of the last tick.
  const { user, system } = process.cpuUsage();
  descriptor ??= open();
  if (descriptor < 0) return (user + system) * 1e3;
  const sizeBytes = readSync(descriptor, text, 0, text.length, 0);
  return Number(text.toString('latin1', 0, sizeBytes).split(' ')[0]);
}

function open(): number {
  try {
    return openSync(SCHEDSTAT, 'r');
  } catch {
    return -1;
  }
}
