/** The clocks of a Linux guest, of which one may be replaced by operations. */
import { expect } from 'vitest';
import { runCommand } from './debian-shell.ts';
import type { GuestSession } from './guest-session.ts';

/** With --clock icount so many instructions: far more than lie between two readings, far less than any clock is off another. */
export const CLOCK_TOLERANCE_NS = 100_000;

/** The scheduler's clock less the one by which programs tell the time, in ns; the kernel reads both one after the other. Needs debugfs. */
export async function clockDifference(session: GuestSession): Promise<number> {
  const { output } = await runCommand(session, "grep -m2 -E '^(ktime|sched_clk) ' /sys/kernel/debug/sched/debug");
  const [ktime, clock] = ['ktime', 'sched_clk'].map((what) => {
    const [, ms, ns] = new RegExp(`^${what} *: (\\d+)\\.(\\d{6})$`, 'm').exec(output) ?? [];
    return Number(ms) * 1e6 + Number(ns);
  });
  expect(ktime).toBeGreaterThan(0);
  return clock - ktime;
}
