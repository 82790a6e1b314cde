import { FakeHost } from '@polyvisor/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { vmiPlugin } from '../plugin.ts';
import { nativeRom, Offset, patchedRom } from '../testing/patched-rom.ts';
import { chooseRom } from './choose.ts';
import { readRom } from './header.ts';

const codeOf = (bytes: Uint8Array): string => {
  try {
    readRom('test.rom', bytes);
    return 'accepted';
  } catch (error) {
    const { code, message, fix } = error as { code?: string; message: string; fix?: string };
    expect(message).toContain('ROM test.rom: ');
    expect(fix).toMatch(/\S/);
    return code ?? message;
  }
};

/** As many bytes as there are chunks of 512, with a right header and checksum. */
function romOfChunks(chunks: number): Uint8Array {
  const bytes = new Uint8Array(chunks * 512);
  bytes.set(patchedRom({ [Offset.LENGTH]: [chunks] }));
  bytes[bytes.length - 1] = 256 - (bytes.reduce((sum, byte) => (sum + byte) & 0xff, 0) || 256);
  return bytes;
}

describe('a ROM', () => {
  it('tells what kernels read of it', () => {
    expect(readRom('native', nativeRom())).toMatchObject({
      api: { major: 3, minor: 0 },
      version: { major: 1, minor: 0 },
      licence: 'GPL v2',
      manufacturer: 'Polyvisor',
      product: 'native',
      virtualTop: 0,
    });
  });

  it('that traps has the top 4 MiB of the address space', () => {
    expect(chooseRom(FakeHost.of(vmiPlugin, { rom: 'trap' })).rom.virtualTop).toBe(0xffc0_0000);
  });

  it('that a kernel refuses is a ROM nevertheless', () => {
    expect(readRom('x', patchedRom({ [Offset.API_MAJOR]: [4] })).api.major).toBe(4);
    expect(readRom('x', patchedRom({ [Offset.LICENCE]: [0, 0] })).licence).toBe('');
    expect(readRom('x', patchedRom({ [Offset.PCI]: [0, 0] })).version).toBeUndefined();
  });

  it.each([
    ['empty', new Uint8Array(0), 'PV6002'],
    ['shorter than its header', nativeRom().slice(0, 0x8f), 'PV6002'],
    ['larger than there is room', romOfChunks(193), 'PV6002'],
    ['no option ROM', patchedRom({ 0: [0x4d, 0x5a] }), 'PV6003'],
    ['truncated', nativeRom().slice(0, 1023), 'PV6004'],
    ['of length 0', patchedRom({ [Offset.LENGTH]: [0] }), 'PV6004'],
    ['longer than its file', patchedRom({ [Offset.LENGTH]: [255] }), 'PV6004'],
    ['of a wrong checksum', patchedRom({ [Offset.LICENCE_TEXT]: [0x42] }, 0), 'PV6005'],
    ['of another kind', patchedRom({ [Offset.SIGNATURE]: [0x24, 0x50, 0x6e, 0x50] }), 'PV6006'],
    ['with a licence outside', patchedRom({ [Offset.LICENCE]: [0xff, 0xff] }), 'PV6007'],
    ['with a PCI structure across its end', patchedRom({ [Offset.PCI]: [0xf0, 0x03] }), 'PV6007'],
    ['with a PnP header outside', patchedRom({ [Offset.PNP]: [0, 0x80] }), 'PV6007'],
    ['with a licence without end', patchedRom({ [Offset.LICENCE_TEXT]: new Array(0x100).fill(0x41) }), 'PV6007'],
  ])('%s is refused by name', (_what, bytes, code) => {
    expect(codeOf(bytes)).toBe(code);
  });

  it('as large as there is room is accepted', () => {
    expect(codeOf(romOfChunks(192))).toBe('accepted');
  });

  it('of any bytes is accepted or refused, and nothing else', () => {
    const changes = fc.array(fc.tuple(fc.nat(0x200), fc.nat(255)), { maxLength: 12 });
    fc.assert(
      fc.property(changes, fc.nat(1024), (bytes, length) => {
        const rom = patchedRom(Object.fromEntries(bytes.map(([offset, byte]) => [offset, [byte]]))).slice(0, length);
        expect(codeOf(rom)).toMatch(/^(accepted|PV600[2-7])$/);
      }),
    );
  });
});

describe('option rom', () => {
  it('names one that is built in, or a file; by default trap', () => {
    const files = new Map([['own.rom', nativeRom()]]);
    for (const rom of ['native', 'trap', 'own.rom']) FakeHost.of(vmiPlugin, { rom }, files);
    FakeHost.of(vmiPlugin);
    expect(() => FakeHost.of(vmiPlugin, { rom: 'other.rom' }, files)).toThrow(
      expect.objectContaining({ code: 'PV1018' }),
    );
  });

  it.each(['native', 'trap', 'xen'])('takes "%s"', (rom) => {
    expect(FakeHost.of(vmiPlugin, { rom })).toBeInstanceOf(FakeHost);
  });

  it('refuses no name', () => {
    expect(() => FakeHost.of(vmiPlugin, { rom: '' })).toThrow(expect.objectContaining({ code: 'PV6001' }));
  });
});
