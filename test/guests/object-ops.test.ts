/** Ops in guest code: modules that come while Debian's kernel boots, another version of it, and none again. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadImage } from '../../packages/cli/src/prepare.ts';
import { ProgressLine } from '../../packages/cli/src/progress.ts';
import {
  buildModule,
  CODE,
  MANIFEST,
  type ModuleOptions,
} from '../../packages/core/src/pvops/testing/module-fixture.ts';
import { testsOf } from './catalogue-guest.ts';
import { debianModules } from './debian-modules.ts';
import { reachShell, runCommand, startNativeDebian } from './debian-shell.ts';
import { faultyModule } from './faulty-module.ts';
import type { GuestSession } from './guest-session.ts';
import { kernelModule } from './kernel-module.ts';
import {
  COMPLAINTS,
  type ListedModule,
  type OpsReport,
  ops,
  probeModule,
  refusalOfOps,
  startPrograms,
} from './ops-commands.ts';

const prebuilt = (name: string) => fileURLToPath(new URL(`../../guests/count-cr3/prebuilt/${name}`, import.meta.url));
const [one, two] = [prebuilt('count-cr3.o'), prebuilt('count-cr3-2.o')];
/** The source of `one`, built against version 2 of the API. */
const ofApi2 = prebuilt('count-cr3-api2.o');

const { title, skipped } = await testsOf('debian', "guest-code operations in Debian's kernel");

const driver = fileURLToPath(new URL('../../guests/ops-driver/prebuilt/ops-driver.o', import.meta.url));
const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-object-ops-'));

/** As Debian ships them: one call of `cpu.cpuid` in the first, two each of the flag's operations in the second. */
const DEBIAN_MODULES = ['arch/x86/kernel/cpuid.ko', 'crypto/aes_ti.ko'];

const shared = path.join(directory, 'shared');

/** In TypeScript, in a folder that says nothing of modules. */
const typed = path.join(directory, 'typed.ts');
writeFileSync(
  typed,
  `let calls: number = 0;
const dupMmap = () => {
  if (++calls % 2 === 0) console.error('typed: ' + calls + ' calls');
  return 'previous' as const;
};
export default { name: 'typed', version: '1.0.0', api: '^1.2', guest: 'linux', ops: { 'mmu.dup_mmap': dupMmap } };
`,
);

/** One in TypeScript that a boot list asks for. */
const named = path.join(directory, 'list-entry');
writeFileSync(named, 'pvops-module named\n');
const namedOps = "{ 'mmu.ptep_modify_prot_start': 'native' }";
writeFileSync(
  path.join(directory, 'named.ts'),
  `export default { name: 'named', version: '1.0.0', api: '^1.2', guest: 'linux', ops: ${namedOps} };\n`,
);

/** A module that calls something: of the kernel's, or at a fixed address. */
function calling(symbol: string, ops: Readonly<Record<string, string>>, address?: number): ModuleOptions {
  const text = { name: '.text', flags: 6, bytes: CODE, relocations: [{ at: 3, type: 4, symbol, addend: -4 }] };
  const place = address === undefined ? { section: 0 } : { section: 0xfff1, value: 2 ** 40 + address };
  return { ops, sections: [text], symbols: [{ name: symbol, ...place }] };
}

describe.skipIf(skipped)(title, () => {
  const name = `object-ops-${process.pid}`;
  let session: GuestSession;
  beforeAll(async () => {
    const { image } = await loadImage('debian', new ProgressLine());
    if (!image.elf) throw new Error('Debian has no kernel');
    mkdirSync(shared);
    for (const [i, bytes] of (await debianModules(image.name, DEBIAN_MODULES, new ProgressLine())).entries())
      writeFileSync(path.join(shared, path.basename(DEBIAN_MODULES[i])), bytes);
    writeFileSync(path.join(shared, 'driver.ko'), kernelModule(readFileSync(driver), image.elf, 'ops_driver'));
    session = startNativeDebian(
      '--no-reboot',
      '--name',
      name,
      '--boot-module',
      one,
      '--boot-module',
      named,
      '--module-dir',
      directory,
      '--module',
      typed,
      '--share',
      `${shared}:src`,
    );
    await reachShell(session);
    await runCommand(session, 'mkdir -p /src; mount -t 9p -o trans=virtio,version=9p2000.L src /src');
  });
  afterAll(async () => {
    await session?.stop();
    rmSync(directory, { recursive: true });
  });

  const counted = async (variable: string) => {
    const [module] = await ops<ListedModule[]>('list', name);
    return Number(module.variables[variable]);
  };

  it('are there before the first process, and have counted since', async () => {
    expect(session.stderr).toMatch(/^vm: ops module count-cr3 1\.0\.0 loaded at boot: \d+ call sites written$/m);
    expect(session.console).not.toMatch(COMPLAINTS);
    expect(session.stderr).toMatch(/^vm: ops module typed 1\.0\.0 loaded at boot: \d+ call sites written$/m);
    expect(session.stderr).toMatch(/^vm: ops module named 1\.0\.0 loaded at boot: \d+ call sites? written$/m);
    const [module, second] = await ops<ListedModule[]>('list', name);
    expect(second).toMatchObject({ name: 'named', kind: 'typescript', slots: ['mmu.ptep_modify_prot_start'] });
    expect(module).toMatchObject({
      ...{ name: 'count-cr3', version: '1.0.0', kind: 'guestCode', slots: ['irq.save_fl', 'mmu.write_cr3'] },
    });
    const before = await counted('cr3_writes');
    expect(before).toBeGreaterThan(100);
    await startPrograms(session);
    expect(session.stderr).toMatch(/^typed: 4 calls$/m);
    expect(await counted('cr3_writes')).toBeGreaterThan(before);
    expect(await counted('flag_reads')).toBeGreaterThan(1000);
  });

  it("tell how much of the host's time they take while calls are counted", async () => {
    await ops('report', '--vm', name, '--counts');
    await startPrograms(session);
    const { slots } = await ops<OpsReport>('report', '--vm', name, '--counts');
    const spent = slots.filter(({ spentUs }) => spentUs !== undefined).map((slot) => slot.name);
    expect(spent.toSorted()).toEqual(['irq.save_fl', 'mmu.dup_mmap', 'mmu.write_cr3']);
    await ops('report', '--vm', name, '--no-counts');
    await startPrograms(session);
  });

  it("are what Debian's own kernel modules call that come while they are loaded", async () => {
    // Leaf 0 of the device of major number 203: 16 bytes, with the vendor's name.
    const leaf0 = async () =>
      (await runCommand(session, 'dd if=/tmp/cpuid bs=16 count=1 2>/dev/null | sha256sum')).output;
    const file = probeModule(directory, '1.0.0', `{ 'cpu.cpuid': () => 'previous' }`);
    await ops('load', name, file);
    expect(await ops<OpsReport>('report', '--vm', name)).toMatchObject({ moduleSites: 0 });
    expect(await runCommand(session, 'insmod /src/cpuid.ko && insmod /src/aes_ti.ko')).toMatchObject({ status: 0 });
    await runCommand(session, 'mknod /tmp/cpuid c 203 0');
    await ops('report', '--vm', name, '--counts');
    const with1 = await leaf0();
    const report = await ops<OpsReport>('report', '--vm', name, '--counts');
    expect(report).toMatchObject({ moduleSites: 7, moduleSitesUnknown: 0, strays: 0 });
    expect(report.slots.find((slot) => slot.name === 'cpu.cpuid')).toMatchObject({ module: 'probe', calls: 1 });
    await ops('report', '--vm', name, '--no-counts');
    // One that makes something else of the answer, with the module's call in its place already.
    const other = `{ 'cpu.cpuid': (call) => { call.vcpu.write(call.arg(1), new Uint8Array(4), { as: 'supervisor' }); } }`;
    await ops('load', name, probeModule(directory, '1.1.0', other));
    expect(await leaf0()).not.toBe(with1);
    await ops('unload', name, 'probe');
    expect(await leaf0()).toBe(with1);
    expect(await runCommand(session, 'rmmod cpuid aes_ti')).toMatchObject({ status: 0 });
    expect(await ops<OpsReport>('report', '--vm', name)).toMatchObject({ strays: 0 });
    expect(session.console).not.toMatch(COMPLAINTS);
  });

  it('give way to the next version, which begins to count anew', async () => {
    await ops('load', name, two);
    await startPrograms(session);
    const [module] = await ops<ListedModule[]>('list', name);
    expect([module.version, module.slots.length]).toEqual(['1.1.0', 3]);
    expect(await counted('cr3_writes')).toBeGreaterThan(0);
    expect(await refusalOfOps('load', name, one)).toMatch(/^vm: PV5028: .*count-cr3 1\.0\.0 .*older than 1\.1\.0/);
    await ops('load', name, ofApi2);
    await startPrograms(session);
    const [{ version, api, failed }] = await ops<ListedModule[]>('list', name);
    expect([version, api, failed]).toEqual(['1.2.0', '^2.0', []]);
    expect(await counted('cr3_writes')).toBeGreaterThan(0);
    await ops('load', name, one, '--force');
    await startPrograms(session);
  });

  it.each<[string, string, ModuleOptions]>([
    ['for another API', 'PV5021', { manifest: MANIFEST.replace('^1.0', '^9.0') }],
    ['for another word size', 'PV5023', { width: 32 }],
    ['for a slot that does not exist', 'PV5001', { ops: { 'mmu.write_cr3': 'op', 'mmu.nothing': 'op' } }],
    ['for a slot that is taken', 'PV5024', {}],
    ['with a symbol that is nowhere', 'PV5025', calling('no_such_function', { 'mmu.exit_mmap': 'op' })],
    ['with a relocation that does not reach', 'PV5026', calling('far', { 'mmu.exit_mmap': 'op' }, 0x1234)],
  ])('%s are refused with %s, by name and slot, and the guest runs on', async (_what, code, options) => {
    const file = path.join(directory, 'bad.o');
    writeFileSync(file, buildModule(options));
    const [slot] = Object.keys(options.ops ?? { 'mmu.write_cr3': '' });
    expect(await refusalOfOps('load', name, file)).toMatch(new RegExp(`^vm: ${code}: .*fixture 1\\.0\\.0 \\(${slot}`));
    await startPrograms(session);
  });

  it('leave every call site as it was', async () => {
    await ops('unload', name, 'count-cr3');
    await ops('unload', name, 'typed');
    await ops('unload', name, 'named');
    await startPrograms(session);
    expect(await ops('list', name)).toEqual([]);
    const { strays } = await ops<OpsReport>('report', '--vm', name);
    expect(strays).toBe(0);
    expect(session.console).not.toMatch(COMPLAINTS);
  });

  it('that meet a fault are taken out by name and slot, and the guest goes on as if they had not been called', async () => {
    const file = path.join(directory, 'faulty.o');
    const faulty = faultyModule(64, {
      ...{ 'mmu.exit_mmap': 'null_pointer', 'mmu.dup_mmap': 'undefined', 'irq.save_fl': 'divide' },
      ...{ 'mmu.write_cr3': 'unmapped', 'mmu.read_cr2': 'not_canonical' },
    });
    writeFileSync(file, faulty.file);
    await ops('load', name, file);
    await startPrograms(session);
    const [{ failed }] = await ops<ListedModule[]>('list', name);
    expect(failed.toSorted()).toEqual(faulty.said.map((line) => expect.stringContaining(line)));
    for (const line of faulty.said) expect(session.stderr).toContain(`vm: ${line}`);
    expect(session.console).not.toMatch(COMPLAINTS);
    expect(await ops('unload', name, 'fixture')).toMatchObject({ textIsAsBefore: true });
    await startPrograms(session);
  });

  it('come from a driver in the guest, and go with it', async () => {
    expect(await runCommand(session, 'insmod /src/driver.ko')).toMatchObject({ status: 0 });
    await startPrograms(session);
    expect(session.stderr).toMatch(/^vm: ops module ops-driver 1\.0\.0 of the guest: \d+ call sites written$/m);
    const modules = await ops<ListedModule[]>('list', name);
    expect(modules).toMatchObject([
      { name: 'ops-driver', kind: 'guestTable', slots: ['irq.save_fl', 'mmu.write_cr3'] },
    ]);
    const { output } = await runCommand(session, 'rmmod ops_driver');
    const counts = /ops-driver: (\d+) writes of CR3, (\d+) reads of the flags/.exec(output)?.slice(1).map(Number);
    expect(counts?.[0]).toBeGreaterThanOrEqual(4);
    expect(counts?.[1]).toBeGreaterThan(100);
    await startPrograms(session);
    expect(await ops('list', name)).toEqual([]);
    const { strays } = await ops<OpsReport>('report', '--vm', name);
    expect(strays).toBe(0);
    expect(session.console).not.toMatch(COMPLAINTS);
  });
});
