/** Flushes of other processors' TLBs in a stock kernel on several vCPUs: by interrupts, and by an operation of plugin xen's. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { catalogue } from '../../packages/cli/src/catalogue/index.ts';
import { withProgram } from '../../packages/cli/src/catalogue/initramfs.ts';
import { ProgressLine } from '../../packages/cli/src/progress.ts';
import { testsOf } from './catalogue-guest.ts';
import { reachShell, runCommand, startNativeDebian } from './debian-shell.ts';
import type { GuestSession } from './guest-session.ts';
import { COMPLAINTS, exitsOf, type ListedModule, type OpsChange, type OpsReport, ops } from './ops-commands.ts';

const { title, skipped } = await testsOf('debian', "flushes of several vCPUs in Debian's running kernel");

const FLUSH = 'mmu.flush_tlb_multi';
const CPUS = 3;
const [FORKS, ROUNDS] = [10, 200];

describe.skipIf(skipped)(title, () => {
  const name = `flush-multi-${process.pid}`;
  const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-flush-multi-'));
  let session: GuestSession;
  /** Interrupts without operations. */
  let native = 0;
  beforeAll(async () => {
    const { initrd = new Uint8Array() } = await catalogue.debian.load(new ProgressLine());
    const program = readFileSync(new URL('../../guests/threads/prebuilt/threads.elf', import.meta.url));
    const file = path.join(directory, 'initrd');
    writeFileSync(file, withProgram(initrd, 'threads', program));
    session = startNativeDebian('--no-reboot', '--name', name, '--cpus', `${CPUS}`, '--initrd', file);
    await reachShell(session);
  });
  afterAll(async () => {
    await session?.stop();
    rmSync(directory, { recursive: true });
  });

  /** Exits by kind, and interrupts that processors were sent for their TLBs. */
  async function load(): Promise<{ exits: Record<string, number>; shootdowns: number }> {
    const shootdowns = async () => {
      const { output } = await runCommand(session, 'grep TLB: /proc/interrupts');
      return [...output.matchAll(/ (\d+)(?= )/g)].reduce((sum, [, count]) => sum + Number(count), 0);
    };
    const before = await shootdowns();
    const exits = await exitsOf(name, async () => {
      const { output, status } = await runCommand(session, `threads ${FORKS} ${CPUS} ${ROUNDS}`);
      expect([output, status]).toEqual([`${FORKS} forks, ${(CPUS - 1) * ROUNDS} rounds\n`, 0]);
    });
    return { exits, shootdowns: (await shootdowns()) - before };
  }

  it('are interrupts without operations', async () => {
    const { exits, shootdowns } = await load();
    native = shootdowns;
    expect(native).toBeGreaterThan(ROUNDS / 2);
    expect(exits.hypercall ?? 0).toBe(0);
  });

  it('are a call of the machine with them, and every page that is mapped anew is seen as it is', async () => {
    const { sites } = await ops<OpsChange>('load', name, 'xen-ops');
    expect(sites).toBeGreaterThan(0);
    const { slots, strays } = await ops<OpsReport>('report', '--vm', name);
    expect(slots.find((each) => each.name === FLUSH)).toMatchObject({ state: 'own', module: 'xen-ops' });
    expect(strays).toBe(0);
    const { exits, shootdowns } = await load();
    expect(exits.hypercall).toBeGreaterThan(ROUNDS);
    // Another processor had interrupts off.
    expect(shootdowns).toBeLessThan(native / 2);
    const [{ failed }] = await ops<ListedModule[]>('list', name);
    expect(failed).toEqual([]);
    expect(await ops<OpsChange>('unload', name, 'xen-ops')).toMatchObject({ sites, textIsAsBefore: true });
  });

  it('are interrupts again afterwards', async () => {
    const { exits, shootdowns } = await load();
    expect(shootdowns).toBeGreaterThan(ROUNDS / 2);
    expect(exits.hypercall ?? 0).toBe(0);
  });

  it('have lost nothing: no complaint of the kernel', () => {
    expect(session.console).not.toMatch(COMPLAINTS);
  });
});
