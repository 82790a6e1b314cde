/**
 * Ops modules in a running kernel of Debian's, version after version: v1, v2, v1 again, none; a hundred times, while programs are
 * started, timers fire and checksums are computed. Every slot that has call sites is named by the modules, static calls too.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ControlClient } from '../../packages/cli/src/control/client.ts';
import { findVm } from '../../packages/cli/src/control/commands.ts';
import { type ChangeReport, changeSchema, liveReportSchema } from '../../packages/cli/src/ops/vm-ops-schema.ts';
import { reachShell, runCommand } from './debian-shell.ts';
import { GuestSession } from './guest-session.ts';

const BOOT_TIMEOUT_MS = 600_000;
const ANSWER_TIMEOUT_MS = 60_000;
const LIMIT_S = 3600;
/** CONFIG_HZ of Debian's kernels. */
const DEBIAN_HZ = 250;
/** Of Linux: what no run may show. */
const COMPLAINTS =
  /\bBUG\b|Oops|WARNING:|Call Trace|rcu.*stall|segfault|soft lockup|clocksource.*unstable|hrtimer: interrupt/;
const LOADS = [
  'until [ -e /tmp/stop ]; do /bin/busybox true; done',
  'n=0; until [ -e /tmp/stop ]; do usleep 1000; n=$((n+1)); done; echo $n >/tmp/timers',
  'until [ -e /tmp/stop ]; do head -c 200000 /bin/busybox | sha256sum; done | sort | uniq -c >/tmp/sums',
];

interface Step {
  readonly what: string;
  run(): Promise<ChangeReport>;
}

interface Pauses {
  readonly sites: number[];
  readonly pausesMs: number[];
  /** CPU time. */
  readonly cpuMs: number[];
  /** Longest step beforehand. */
  readonly prepareMs: number[];
}

/** Timer ticks and nanoseconds since the guest's boot, as its kernel counts them: lines of /proc/timer_list. */
async function timeOf(session: GuestSession): Promise<{ ticks: number; ns: number }> {
  const { output } = await runCommand(session, "grep -m2 -E '^(now at|jiffies)' /proc/timer_list");
  const number = (pattern: RegExp) => Number(pattern.exec(output)?.[1]);
  return { ticks: number(/jiffies: (\d+)/), ns: number(/now at (\d+) nsecs/) };
}

function moduleFile(directory: string, version: string, slots: readonly string[], changed: string): string {
  const file = path.join(directory, `probe-${version}.mts`);
  const ops = slots.map((slot) => `'${slot}': 'native'`).join(', ');
  const text = `{ name: 'probe', version: '${version}', api: '^1.2', guest: 'linux', ops: { ${ops}, ${changed} } }`;
  writeFileSync(file, `export default ${text};\n`);
  return file;
}

async function steps(client: ControlClient, directory: string): Promise<readonly Step[]> {
  const call = (name: string, params: Record<string, unknown>) =>
    client.call(`ops.${name}`, params, changeSchema, ANSWER_TIMEOUT_MS);
  const { slots, staticCalls } = await client.call('ops.report', { text: false }, liveReportSchema, ANSWER_TIMEOUT_MS);
  const called = [...slots, ...staticCalls].filter(({ sites }) => sites > 0).map(({ name }) => name);
  // Of a kernel without types, slots are called after the functions that they hold.
  const own = (wanted: readonly string[], answer: string) =>
    called
      .filter((name) => wanted.some((end) => name === end || name.endsWith(`.${end}`)))
      .map((name) => `'${name}': () => '${answer}'`)
      .join(', ');
  const one = moduleFile(directory, '1.0.0', called, own(['write_cr3', 'flush_tlb_one_user'], 'previous'));
  const two = moduleFile(directory, '1.1.0', called, own(['exit_mmap', 'save_fl', 'queued_spin_unlock'], 'native'));
  const load = (module: string, force = false) => call('load', { module, strict: false, force });
  return [
    { what: 'none -> v1', run: () => load(one) },
    { what: 'v1 -> v2', run: () => load(two) },
    { what: 'v2 -> v1', run: () => load(one, true) },
    { what: 'v1 -> none', run: () => call('unload', { name: 'probe' }) },
  ];
}

/** Least, median and most of each step's pauses: by the clock, and CPU time; and of the longest step beforehand, by the clock. */
function table(pauses: ReadonlyMap<string, Pauses>): string {
  const spread = (ms: readonly number[]) => {
    const sorted = ms.toSorted((a, b) => a - b);
    return [sorted[0], sorted[sorted.length >> 1], sorted[sorted.length - 1]].map((each) =>
      each.toFixed(2).padStart(9),
    );
  };
  const rows = [...pauses].map(([what, { sites, pausesMs, cpuMs, prepareMs }]) => {
    const columns = [...spread(pausesMs), ...spread(cpuMs), ...spread(prepareMs)];
    return `${what.padEnd(12)}${`${Math.max(...sites)}`.padStart(7)}${columns.join('')}`;
  });
  return [
    `${'step'.padEnd(12)}  sites   min ms   median      max  CPU min   median      max    before   median      max`,
    ...rows,
  ].join('\n');
}

/** What went wrong in one run of `rounds`, in words. */
async function swap(
  session: GuestSession,
  client: ControlClient,
  directory: string,
  rounds: number,
): Promise<string[]> {
  const wrong: string[] = [];
  const { output: sum } = await runCommand(session, 'head -c 200000 /bin/busybox | sha256sum');
  for (const load of LOADS) await runCommand(session, `{ (${load}) & }`);
  const before = await timeOf(session);
  const pauses = new Map<string, Pauses>();
  const all = await steps(client, directory);
  for (let round = 1; round <= rounds; round++) {
    for (const { what, run } of all) {
      const change = await run();
      const record = pauses.get(what) ?? { sites: [], pausesMs: [], cpuMs: [], prepareMs: [] };
      pauses.set(what, record);
      record.sites.push(change.sites);
      record.pausesMs.push(change.pauseMs);
      record.cpuMs.push(change.pauseCpuMs);
      record.prepareMs.push(change.prepareMs);
      if (change.textIsAsBefore === false) wrong.push(`round ${round}: the kernel's code is not as it was`);
    }
    const { output } = await runCommand(session, 'echo a"live"');
    if (!output.includes('alive')) wrong.push(`round ${round}: the shell answered ${JSON.stringify(output)}`);
    if (round % 10 === 0) console.log(`${round} rounds`);
  }
  const after = await timeOf(session);
  await runCommand(session, 'touch /tmp/stop; wait');
  const { output: timers } = await runCommand(session, 'cat /tmp/timers');
  const { output: sums } = await runCommand(session, 'cat /tmp/sums');
  console.log(table(pauses));
  const { pausesMs, cpuMs } = pauses.get(all[0].what) as Pauses;
  console.log(`the very first: ${pausesMs[0].toFixed(2)} ms, CPU ${cpuMs[0].toFixed(2)}`);
  const ticks = after.ticks - before.ticks;
  const expected = ((after.ns - before.ns) / 1e9) * DEBIAN_HZ;
  console.log(
    `${ticks} timer ticks in ${((after.ns - before.ns) / 1e9).toFixed(3)} s of the guest's time; ${timers.trim()} timers fired`,
  );
  console.log(`checksums: ${sums.trim()}`);
  if (!(Math.abs(ticks - expected) <= 2)) wrong.push(`${ticks} timer ticks, where ${expected.toFixed(1)} were due`);
  if (!(Number(timers) > 0)) wrong.push('no timer fired');
  if (sums.trim().split('\n').length !== 1 || !sums.includes(sum.split(' ')[0])) wrong.push('a checksum has changed');
  const { strays } = await client.call('ops.report', { text: false }, liveReportSchema, ANSWER_TIMEOUT_MS);
  if (strays > 0) wrong.push(`${strays} call sites are not as they should be`);
  const complaint = COMPLAINTS.exec(session.console)?.[0];
  if (complaint) wrong.push(`the kernel complains: ${complaint}`);
  return wrong;
}

/** `guest`: an entry of the catalogue that is a Debian. Answers whether all went well; the last line says so. */
export async function swapRepeatedly(rounds: number, guest: string): Promise<boolean> {
  const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-swaps-'));
  const name = `swaps-${process.pid}`;
  const session = new GuestSession(guest, '--plugin', 'none', '--no-reboot', '--name', name, '--timeout', `${LIMIT_S}`);
  try {
    await reachShell(session, BOOT_TIMEOUT_MS);
    await runCommand(session, 'dmesg -n 4');
    const { socketPath } = await findVm(name);
    const client = await ControlClient.connect(name, socketPath);
    const wrong = await swap(session, client, directory, rounds);
    client.close();
    for (const line of wrong) console.log(`FAILED: ${line}`);
    console.log(`${guest}: ${rounds} rounds, ${wrong.length} failed`);
    return wrong.length === 0;
  } finally {
    await session.stop();
    rmSync(directory, { recursive: true });
  }
}
