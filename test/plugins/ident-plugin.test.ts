/** The ident protocols of examples/ident-plugin: one entry, a 32-bit ident, and nothing of another ABI's registers. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { Plugin } from '@polyvisor/plugin-api';
import { describe, expect, it } from 'vitest';
import ident, { readIdent } from '../../examples/ident-plugin/index.ts';
import lguest from '../../packages/plugin-lguest-like/src/index.ts';
import xen from '../../packages/plugin-xen/src/index.ts';
import { machineInProcess } from '../guests/in-process.ts';

const image = (name: string) =>
  readFileSync(path.join(import.meta.dirname, `../../guests/${name}/prebuilt/${name}.elf`));
const kernel = image('ident');

async function boot(options: Record<string, string>, file: Uint8Array = kernel, ...others: Plugin[]) {
  const plugins = [[ident, options] as const, ...others.map((plugin) => [plugin] as const)];
  const { machine, console } = await machineInProcess({ name: 'ident.elf', file, plugins });
  const { foundIn } = machine.entry;
  const { reason } = await machine.run();
  return { reason, output: console.output, foundIn, instructions: Number(machine.stats().instructions) };
}

describe('one kernel, one entry', () => {
  it.each([
    ['0', 'Xen 3.0'],
    ['1', 'VMI'],
    ['lgst', 'lguest'],
    ['0x7473676c', 'lguest'],
  ])('ident %s leads to the init of %s, by either protocol', async (wanted, name) => {
    for (const protocol of ['ebx', 'block']) {
      const { reason, output, foundIn } = await boot({ ident: wanted, protocol });
      expect([output, reason.kind]).toEqual([`init of ${name}\n`, 'poweroff']);
      expect(foundIn).toMatch(/^ELF header e_entry/);
    }
  });

  it('needs no dispatcher where it is known who is asked', async () => {
    const direct = await boot({ ident: 'lgst', protocol: 'init' });
    expect(direct.output).toBe('init of lguest\n');
    expect(direct.foundIn).toBe('ELF note Ident/1, ident 0x7473676c');
    // testl, jz, movl; two rounds of six that do not match; four to the third; the jump.
    expect((await boot({ ident: 'lgst' })).instructions - direct.instructions).toBe(3 + 2 * 6 + 4 + 1);
  });
});

describe('idents are compared', () => {
  it('one that the kernel does not know is named, with those that it knows', async () => {
    const known = /does not know ident 0x584f4e4d; it knows 0x0, 0x1, 0x7473676c/;
    await expect(boot({ ident: 'MNOX' })).rejects.toThrow(known);
  });

  it('one that the kernel has twice is named', async () => {
    const twice = Buffer.from(kernel);
    twice.writeUInt32LE(0, twice.indexOf('lgst'));
    await expect(boot({ ident: '1' }, twice)).rejects.toThrow(/has ident 0x0 twice/);
  });

  it('a kernel without a table is refused', async () => {
    await expect(boot({ ident: '1' }, image('hello'))).rejects.toThrow(/no ELF32 note of owner "Ident"/);
  });

  it('two plug-ins of one ident, or of one register, are refused, and both named', async () => {
    const rival: Plugin = {
      name: 'rival',
      version: '1.0.0',
      api: '^1.2',
      apply: (host) => host.claim({ kind: 'ident', ident: 1 }),
    };
    await expect(boot({ ident: '1' }, kernel, rival)).rejects.toThrow(/rival and ident both claim ident: ident 0x1/);
    const register = /lguest-like and ident both claim entryRegister: entry register esi/;
    await expect(boot({ ident: '1', protocol: 'block' }, kernel, lguest)).rejects.toThrow(register);
  });

  it.each(['', 'five5', '-1', '0x123456789', '4294967296', 'ab c'])('%j is no ident', (text) => {
    expect(() => readIdent(text)).toThrow(/is no ident/);
  });
  it('a protocol that there is not', async () => {
    await expect(boot({ ident: '1', protocol: 'eax' })).rejects.toThrow(/protocol:eax/);
  });
});

describe('other ABIs start with the registers that are theirs', () => {
  it.each([
    ['hello', xen, {}],
    ['lguest', lguest, { abi: '2.6.31' }],
  ] as const)('%s, with the ident plug-in loaded or not', async (name, plugin, options) => {
    const registers = async (...plugins: (readonly [Plugin, Record<string, string>])[]) => {
      const { machine } = await machineInProcess({ name, file: image(name), plugins });
      const [{ gpr, rip, rflags, cr0, cr3, cr4, efer, cpl }] = machine.vcpus;
      return { gpr: [...gpr], rip, rflags, cr0, cr3, cr4, efer, cpl };
    };
    const own = await registers([plugin, options]);
    expect(await registers([plugin, options], [ident, { ident: '1', protocol: 'ebx' }])).toEqual(own);
    expect(await registers([ident, { ident: '0', protocol: 'init' }], [plugin, options])).toEqual(own);
  });
});
