/** What `vm run` makes of what a guest hands over: with fixtures for kernels, and no guest. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it, type MockInstance, vi } from 'vitest';
import { nodeDecompressor } from '../../packages/cli/src/node/decompress/index.ts';
import { BootModules, splitBootList } from '../../packages/cli/src/ops/boot-modules.ts';
import { KernelAtBoot } from '../../packages/cli/src/ops/kernel-at-boot.ts';
import type { VmOps } from '../../packages/cli/src/ops/vm-ops.ts';
import type { RunnableMachine } from '../../packages/cli/src/options.ts';
import { type HandedOver, PluginRegistry, recogniseImage } from '../../packages/core/src/index.ts';
import { buildElf } from '../../packages/core/src/loader/image/testing/elf-fixture.ts';
import { kernel } from '../../packages/core/src/pvops/testing/kernel-in-memory.ts';
import { buildModule, MANIFEST, type ModuleOptions } from '../../packages/core/src/pvops/testing/module-fixture.ts';
import type { ElfImage, GuestImage } from '../../packages/plugin-api/src/index.ts';
import { bzImage, elfFile, opsBoot } from './fixtures.ts';

const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-hand-over-'));
afterAll(() => rmSync(directory, { recursive: true }));
const typed = path.join(directory, 'typed.ts');
const OPS = "{ value: 'nop' }";
writeFileSync(typed, `export default { name: 'typed', version: '1.0.0', api: '^1.2', guest: 'linux', ops: ${OPS} };\n`);

const kernelFile = elfFile(kernel);
const object = (options: ModuleOptions = {}) => buildModule({ ops: { halt: 'op' }, ...options });
const text = (words: string) => new TextEncoder().encode(words);

let stderr: MockInstance;
beforeEach(() => {
  stderr = vi.spyOn(process.stderr, 'write').mockImplementation(() => true);
});
afterEach(() => stderr.mockRestore());
const said = () => stderr.mock.calls.map(([line]) => String(line)).join('');

const disk: GuestImage = { name: 'disk.img', description: 'disk', format: 'disk', file: new Uint8Array(512) };

interface Options {
  readonly image?: GuestImage;
  readonly modules?: readonly string[];
  readonly moduleDirectory?: string;
}

/** The command line's end of the call, on machines that do nothing. */
async function open({ image = disk, modules = [], moduleDirectory }: Options = {}) {
  const boot = await BootModules.open({ modules, moduleDirectory }, [], image);
  const state: { elf?: ElfImage } = {};
  let take: (kind: HandedOver, bytes: Uint8Array) => Promise<void> = async () => {};
  const ops = {
    onHandOver: (handler: typeof take) => {
      take = handler;
    },
    kernelIs: (elf: ElfImage) => {
      state.elf = elf;
    },
  } as unknown as VmOps;
  const start = () => {
    const registry = new PluginRegistry();
    boot.prepare(registry);
    boot.started({} as RunnableMachine, ops, registry);
    return registry;
  };
  const registry = start();
  return { hand: (kind: HandedOver, bytes: Uint8Array) => take(kind, bytes), registry, state, start };
}

describe('a kernel that a guest hands over', () => {
  it('is the one that is looked for from then on', async () => {
    const { hand, registry, state } = await open();
    expect(registry.plugins).toEqual([]);
    await hand('kernel', kernelFile);
    expect(state.elf?.class).toBe(64);
    expect(registry.plugins.map(({ name }) => name)).toEqual(['ops-at-boot']);
    expect(said()).toMatch(/^vm: the guest hands over a kernel: ELF64 for x86-64$/m);
  });

  it.each<[string, string, Uint8Array]>([
    ['that is nothing known', 'PV5003', text('nothing')],
    ['without an ELF image', 'PV5003', bzImage()],
    ['without such operations', 'PV5003', buildElf()],
    ['that is damaged', 'PV2001', kernelFile.slice(0, 200)],
    ['whose payload is damaged', 'PV2004', Uint8Array.of(0x1f, 0x8b, 8, 0, 0)],
  ])('%s is refused with %s, and changes nothing', async (_what, code, bytes) => {
    const { hand, registry, state } = await open();
    await expect(hand('kernel', bytes)).rejects.toMatchObject({ code });
    expect([registry.plugins, state.elf, said()]).toEqual([[], undefined, '']);
    await hand('kernel', kernelFile);
  });

  it('is refused if it is the second, or the machine was started with one', async () => {
    const { hand } = await open();
    await hand('kernel', kernelFile);
    await expect(hand('kernel', kernelFile)).rejects.toMatchObject({ code: 'PV5031' });
    const image = await recogniseImage(kernelFile, 'vmlinux', nodeDecompressor);
    const started = await open({ image });
    await expect(started.hand('kernel', kernelFile)).rejects.toMatchObject({
      code: 'PV5031',
      message: 'the guest hands over a kernel, and the machine was started with vmlinux',
    });
  });

  it('is gone with the machine, and so are its modules', async () => {
    const { hand, start } = await open();
    for (const _boot of [1, 2]) {
      await expect(hand('module', object())).rejects.toMatchObject({ code: 'PV5031' });
      await hand('kernel', kernelFile);
      await hand('module', object());
      await expect(hand('module', object({ manifest: MANIFEST.replace('fixture', 'other') }))).rejects.toMatchObject({
        code: 'PV5024',
      });
      start();
    }
  });
});

describe('a module that a guest hands over', () => {
  it('before its kernel is refused', async () => {
    const { hand } = await open();
    await expect(hand('module', object())).rejects.toMatchObject({ code: 'PV5031' });
  });

  it('for a kernel that runs already is refused', async () => {
    const { hand } = await open();
    await hand('kernel', kernelFile);
    const isFound = vi.spyOn(KernelAtBoot.prototype, 'isFound', 'get').mockReturnValue(true);
    await expect(hand('module', object())).rejects.toMatchObject({ code: 'PV5031' });
    isFound.mockRestore();
    await hand('module', object());
  });

  it.each<[string, string, Uint8Array]>([
    ['for another word size', 'PV5023', object({ width: 32 })],
    ['for another guest', 'PV5022', object({ manifest: MANIFEST.replace('linux', 'linux32') })],
    ['for another API', 'PV5021', object({ manifest: MANIFEST.replace('^1.0', '^9.0') })],
    ['for an unknown slot', 'PV5001', object({ ops: { nothing: 'op' } })],
    ['without a manifest', 'PV5020', object({ manifest: null })],
    ['that is cut short', 'PV2001', object().slice(0, 100)],
    ['in TypeScript', 'PV2001', text('export default {};')],
    ['that it names, and none may be named', 'PV5030', text('pvops-module typed')],
  ])('%s is refused with %s, and the next is taken', async (_what, code, bytes) => {
    const { hand } = await open();
    await hand('kernel', kernelFile);
    await expect(hand('module', bytes)).rejects.toMatchObject({ code });
    await hand('module', object());
  });

  it('may be one of the host that it names, if the user has allowed it', async () => {
    const { hand } = await open({ moduleDirectory: directory });
    await hand('kernel', kernelFile);
    await hand('module', text('pvops-module typed\n'));
    await expect(hand('module', object({ ops: { value: 'op' } }))).rejects.toMatchObject({ code: 'PV5024' });
  });
});

describe('an image that hands modules over by itself', () => {
  const list = [
    { bytes: object(), commandLine: '', file: 'a.o' },
    { bytes: text('pvops-module typed'), commandLine: '', file: 'b' },
    { bytes: bzImage(), commandLine: '', file: 'vmlinuz' },
  ];

  it('is given all of its boot list; others are not given what is for their kernel', async () => {
    const image = await recogniseImage(opsBoot, 'ops-boot.elf', nodeDecompressor);
    expect(splitBootList(list, image)).toEqual({ ops: [], guests: list });
    expect(splitBootList(list, disk)).toEqual({ ops: list.slice(0, 2), guests: list.slice(2) });
  });

  it('has those of --module put into the kernel, or told of', async () => {
    const file = path.join(directory, 'other.o');
    writeFileSync(file, object({ width: 32, manifest: MANIFEST.replace('fixture', 'other') }));
    const image = await recogniseImage(opsBoot, 'ops-boot.elf', nodeDecompressor);
    const { hand } = await open({ image, modules: [typed, file] });
    await hand('kernel', kernelFile);
    expect(said()).toMatch(/^vm: not loaded at boot: other 1\.0\.0: PV5023/m);
    await expect(hand('module', object({ ops: { value: 'op' } }))).rejects.toMatchObject({ code: 'PV5024' });
  });

  it('is no reason to take modules for an image without a kernel', async () => {
    await expect(open({ modules: [typed] })).rejects.toMatchObject({ code: 'PV5003' });
  });
});
