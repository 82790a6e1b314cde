import { readFileSync } from 'node:fs';

/** The main thread's number is the process's. First in it: ns on a processor (Linux, Documentation/scheduler/sched-stats.rst). */
const SCHEDSTAT = `/proc/self/task/${process.pid}/schedstat`;

/** CPU time of the main thread so far, in ns; where that is not told, of the process. */
export function mainThreadCpuNs(): number {
  // getrusage(2) brings the thread's own figures up to date, which are else as of the last tick.
  const { user, system } = process.cpuUsage();
  try {
    return Number(readFileSync(SCHEDSTAT, 'latin1').split(' ')[0]);
  } catch {
    return (user + system) * 1e3;
  }
}
