/** What a process has used of the processors, and when. */
import { readFileSync } from 'node:fs';

export interface Moment {
  readonly ms: number;
  readonly cpuSeconds: number;
}

/** Ticks of a second in /proc (sysconf(_SC_CLK_TCK), 100 on every Linux). */
const TICKS = 100;

/** Now, and what a process has used of the processors (proc(5), utime and stime); NaN where the host does not tell. */
export function momentOf(pid: number | undefined): Moment {
  const ms = performance.now();
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { ms, cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS };
  } catch {
    return { ms, cpuSeconds: Number.NaN };
  }
}
