import { readdirSync, readlinkSync } from 'node:fs';
import { getPriority, setPriority } from 'node:os';
import path from 'node:path';

/** Steps of nice(2) by which threads that make code are behind the one that runs the guest: a third of its share. */
const STEPS_BEHIND = 5;
const LEAST_PRIORITY = 19;

/**
 * Let this process's other threads, V8's compiler among them, have a processor only after this one. V8 compiles in four
 * threads at once, and took a fifth of the time of the thread that runs the guest from it where there are two processors.
 * Linux, where a priority is a thread's; elsewhere nothing is done.
 */
export function putOtherThreadsBehind(): void {
  tryEach(() => {
    const here = thisThread();
    return readdirSync('/proc/self/task')
      .map(Number)
      .filter((thread) => thread !== here);
  });
}

/** The same for the thread that calls it, by the priority of the process's first. */
export function putThisThreadBehind(): void {
  tryEach(() => [thisThread()]);
}

const thisThread = (): number => Number(path.basename(readlinkSync('/proc/thread-self')));

/** Only speed depends on it: where it cannot be done, it is not. */
function tryEach(threads: () => number[]): void {
  if (process.platform !== 'linux') return;
  try {
    const priority = Math.min(LEAST_PRIORITY, getPriority(process.pid) + STEPS_BEHIND);
    for (const thread of threads()) setPriority(thread, priority);
  } catch {
    // No /proc, or threads that have ended.
  }
}
