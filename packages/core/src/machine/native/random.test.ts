import { describe, expect, it } from 'vitest';
import { FORCED_REGIONS, hex } from '../../engine/testing/test-bench.ts';
import { decode } from '../../isa/decoder.ts';
import { CODE, testGuest } from '../testing/test-guest.ts';

const [RAX, RCX, RBX] = [0, 1, 3];
const ALL_ONES = 0xffff_ffff_ffff_ffffn;
/** CF, PF, AF, ZF, SF, OF. */
const ARITHMETIC = 0x8d5n;

/** Runs code whose random numbers are these, one after the other; without any, on a machine that has no source of them. */
async function go(code: string, numbers: readonly bigint[] | undefined, regions: boolean) {
  const left = [...(numbers ?? [])];
  const fill = (into: Uint8Array) => {
    new DataView(into.buffer, into.byteOffset).setBigUint64(0, left.shift() ?? 0n, true);
  };
  const guest = await testGuest({
    code: { [CODE]: code },
    prepare: ({ vcpu }) => {
      vcpu.gpr[RAX] = vcpu.gpr[RCX] = ALL_ONES;
      vcpu.rflags |= ARITHMETIC;
    },
    options: {
      devices: { disks: [], nics: [], shares: [], ...(numbers ? { entropy: { fill } } : {}) },
      ...(regions ? { engine: { regions: FORCED_REGIONS } } : {}),
    },
  });
  await guest.run();
  return { guest, gpr: guest.vcpu.gpr, flags: guest.vcpu.rflags & ARITHMETIC, left };
}

describe.each([
  ['interpreted', false],
  ['compiled', true],
])('random numbers, %s', (_tier, regions) => {
  it.each([
    ['RDRAND RAX', '480fc7f0 f4', 0x0123456789abcdefn],
    ['RDRAND EAX', '0fc7f0 f4', 0x89abcdefn],
    ['RDRAND AX', '660fc7f0 f4', 0xffff_ffff_ffff_cdefn],
    ['RDSEED RAX', '480fc7f8 f4', 0x0123456789abcdefn],
    ['RDSEED EAX', '0fc7f8 f4', 0x89abcdefn],
    ['RDSEED AX', '660fc7f8 f4', 0xffff_ffff_ffff_cdefn],
  ])('%s takes as much as fits, and sets CF alone', async (_name, code, expected) => {
    const { gpr, flags, left } = await go(code, [0x0123456789abcdefn, 1n], regions);
    expect([gpr[RAX], flags, left]).toEqual([expected, 1n, [1n]]);
  });
  it('each takes another number', async () => {
    const { gpr } = await go('480fc7f1 490fc7f9 4c89cb f4', [3n, 5n], regions);
    expect([gpr[RCX], gpr[RBX]]).toEqual([3n, 5n]);
  });
  it.each([
    ['there is none at present', [0n]],
    ['the machine has no source', undefined],
  ])('where %s: 0, and no flag', async (_what, numbers) => {
    const { gpr, flags } = await go('480fc7f0 f4', numbers, regions);
    expect([gpr[RAX], flags]).toEqual([0n, 0n]);
  });
});

describe('what CPUID says of random numbers', () => {
  it.each([
    ['a source', [], true],
    ['none', undefined, false],
  ])('with %s', async (_what, numbers, there) => {
    // CPUID leaf 1, then leaf 7; RCX of the one to RDI.
    const { guest, gpr } = await go('31c9 b801000000 0fa2 89cf 31c9 b807000000 0fa2 f4', numbers, false);
    expect(guest.stoppedIn).toBeUndefined();
    expect([(gpr[7] >> 30n) & 1n, (gpr[RBX] >> 18n) & 1n]).toEqual(there ? [1n, 1n] : [0n, 0n]);
  });
});

it.each(['f00fc7f0', 'f20fc7f0', 'f30fc7f0', 'f30fc7f8', 'f20fc7f8'])('%s is no instruction', (code) => {
  const bytes = hex(code);
  expect(decode((at) => bytes[at] ?? -1, 'long64').ok).toBe(false);
});
