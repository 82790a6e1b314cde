/** The paravirt operations of a stock kernel, and its doors: `vm ops report` and `vm entries`. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { recogniseImage } from '@polyvisor/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { catalogue } from '../../packages/cli/src/catalogue/index.ts';
import { nodeDecompressor } from '../../packages/cli/src/node/decompress/index.ts';
import { ProgressLine } from '../../packages/cli/src/progress.ts';
import { testsOf } from './catalogue-guest.ts';

const vm = fileURLToPath(new URL('../../packages/cli/bin/vm.mjs', import.meta.url));
const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-report-'));
afterAll(() => rmSync(directory, { recursive: true }));

function runVm(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [vm, ...args], {
    ...{ encoding: 'utf8', timeout: 300_000, maxBuffer: 1 << 28 },
    env: { ...process.env, POLYVISOR_DEBUG: '' },
  });
  return { status, stdout, stderr };
}

interface Site {
  readonly address: string;
  readonly in: string;
}
interface Slot {
  readonly name: string;
  readonly group: string;
  readonly convention: string;
  readonly siteCount: number;
  readonly sites: readonly Site[];
  readonly state?: string;
  readonly implementation: { readonly kind: string; readonly symbols: readonly string[] };
}
interface Report {
  readonly slots: number;
  readonly slotsCalled: number;
  readonly sites: number;
  readonly unreadable: number;
  readonly table: readonly Slot[];
  readonly staticCalls: readonly Slot[];
}

const { title, skipped } = await testsOf('debian', "Debian's kernel");

describe.skipIf(skipped)(title, () => {
  let report: Report;
  beforeAll(() => {
    const { status, stdout, stderr } = runVm('ops', 'report', 'debian', '--json', '--sites');
    expect([status, stderr]).toEqual([0, '']);
    report = JSON.parse(stdout);
  });
  const slot = (name: string) => report.table.find((candidate) => candidate.name === name);

  it('has the 84 slots of Linux 6.1 with PARAVIRT_XXL, of which 81 are called', () => {
    expect([report.slots, report.slotsCalled, report.unreadable]).toEqual([84, 81, 0]);
    const never = report.table.filter(({ siteCount }) => siteCount === 0).map(({ name }) => name);
    expect(never).toEqual(['cpu.write_ldt_entry', 'mmu.lazy_mode.flush', 'mmu.set_fixmap']);
  });

  it('has as many call sites as its .parainstructions has rows, each in a named function', async () => {
    const { file, name } = await catalogue.debian.load(new ProgressLine());
    const { elf } = await recogniseImage(file, name, nodeDecompressor);
    const rows = (elf?.section('.parainstructions')?.sizeBytes ?? 0) / 16;
    expect(rows).toBeGreaterThan(3800);
    expect(report.sites).toBe(rows);
    const sites = report.table.flatMap((each) => each.sites);
    expect(new Set(sites.map(({ address }) => address)).size).toBe(rows);
    expect(sites.filter((site) => site.in === undefined)).toEqual([]);
  });

  it('holds its native implementations, by name', () => {
    expect(slot('mmu.write_cr3')).toMatchObject({
      ...{ group: 'mmu', convention: 'c' },
      implementation: { kind: 'native', symbols: ['native_write_cr3'] },
    });
    expect(slot('irq.save_fl')).toMatchObject({ group: 'irq', convention: 'calleeSave' });
    expect(slot('mmu.exit_mmap')?.implementation.kind).toBe('nop');
    expect(slot('mmu.pte_val')?.implementation).toEqual(
      expect.objectContaining({ kind: 'identity', symbols: ['_paravirt_ident_64'] }),
    );
    for (const { implementation } of report.table) expect(implementation.symbols).not.toEqual([]);
  });

  it('has the clock beside the table: static calls since Linux 5.13, with their sites and trampolines', () => {
    expect(report.staticCalls.map(({ name, group, convention }) => [name, group, convention])).toEqual([
      ['time.sched_clock', 'time', 'c'],
      ['time.steal_clock', 'time', 'c'],
    ]);
    const [clock] = report.staticCalls;
    expect(clock.implementation).toMatchObject({ kind: 'native', symbols: ['native_sched_clock'] });
    expect(clock.sites.map((site) => site.in)).toEqual(
      expect.arrayContaining(['__SCT__pv_sched_clock', 'sched_clock']),
    );
    const { stdout } = runVm('ops', 'report', 'debian');
    expect(stdout).toMatch(
      /^static calls beside the table:\n.*\ntime\.sched_clock +time +c +\d+ +native +native_sched_clock$/m,
    );
  });

  it('shows what a table of ops forgets, and refuses it if it has to be whole', () => {
    const forgets = 'mmu.flush_tlb_multi';
    const ops = Object.fromEntries(
      report.table.map(({ name }) => [name, name === 'cpu.load_tr_desc' ? 'unwanted' : 'own']),
    );
    delete ops[forgets];
    const table = path.join(directory, 'table.json');
    writeFileSync(table, JSON.stringify({ name: 'mine', version: '1.0.0', ops }));
    const overlay = runVm('ops', 'report', 'debian', '--table', table, '--json');
    const states = (JSON.parse(overlay.stdout) as Report).table.map(({ name, state }) => [name, state]);
    expect(states.filter(([, state]) => state !== 'own')).toEqual([
      ['cpu.load_tr_desc', 'unwanted'],
      [forgets, 'forgotten'],
    ]);
    const strict = runVm('ops', 'report', 'debian', '--table', table, '--strict');
    expect(strict.status).toBe(2);
    expect(strict.stderr).toMatch(/^vm: PV5002: .* 1 of 84 slots: mmu\.flush_tlb_multi: \S.*\n$/);
  });

  it('has its doors listed: PV, PVH, and the three of the Linux boot protocol', () => {
    const { status, stdout } = runVm('entries', 'debian', '--json');
    const { doors } = JSON.parse(stdout) as { doors: { name: string; state: string; address?: string }[] };
    expect(status).toBe(0);
    const there = doors.filter(({ state }) => state !== 'missing').map(({ name }) => name);
    expect(there).toEqual(expect.arrayContaining(['pv', 'pvh', 'linux64', 'linux32', 'linux16', 'efi']));
    expect(doors.find(({ name }) => name === 'pv')).toMatchObject({ state: 'open' });
    expect(
      doors
        .filter(({ state }) => state === 'missing')
        .map(({ name }) => name)
        .sort(),
    ).toEqual(['bios', 'elf', 'lguest', 'multiboot1', 'multiboot2', 'sniff', 'vmi']);
  });
});
