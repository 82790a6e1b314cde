import type { GuestSample } from '@polyvisor/core';
import { describe, expect, it } from 'vitest';
import { toCollapsed, toSpeedscope } from './formats.ts';
import { GuestProfile } from './profile.ts';

const KERNEL = 0xffffffff81000000n;

/** Functions of 256 bytes: a, b, c; nothing else has a name. */
function symbols(gva: bigint): string | undefined {
  const name = ['a', 'b', 'c'][Number((gva - KERNEL) >> 8n)];
  const offset = (gva - KERNEL) & 0xffn;
  return name && (offset === 0n ? name : `${name}+0x${offset.toString(16)}`);
}

/** As for an image that stays where it is linked. */
const found = (nameOf: (gva: bigint) => string | undefined) => ({ areFound: true, look: () => {}, nameOf });

function sample(changes: Partial<GuestSample>): GuestSample {
  return { vcpu: 0, instructions: 100, cpl: 0, cr3: 0x1000n, rip: KERNEL, callers: [], ...changes };
}

function profileOf(...samples: Partial<GuestSample>[]): GuestProfile {
  const profile = new GuestProfile(found(symbols));
  for (const changes of samples) profile.add(sample(changes));
  return profile;
}

describe('GuestProfile', () => {
  it('counts a function by itself and with what it called', () => {
    const profile = profileOf(
      { rip: KERNEL + 0x105n, callers: [KERNEL + 0x10n] },
      { rip: KERNEL + 0x17fn, callers: [KERNEL + 0x20n], instructions: 50 },
      { rip: KERNEL + 0x30n, instructions: 20 },
    );
    expect(profile.rows()).toEqual([
      { name: 'b', selfInstructions: 150, totalInstructions: 150 },
      { name: 'a', selfInstructions: 20, totalInstructions: 170 },
    ]);
    expect([profile.sampleCount, profile.instructions]).toEqual([3, 170]);
  });

  it('counts a recursive function once', () => {
    const callers = [KERNEL + 0x10n, KERNEL + 0x10n];
    expect(profileOf({ callers }).rows()).toEqual([{ name: 'a', selfInstructions: 100, totalInstructions: 100 }]);
  });

  it('takes the end of a function that calls what never returns for that function', () => {
    expect(profileOf({ callers: [KERNEL + 0x200n] }).stacks()[0].frames).toEqual(['b', 'a']);
  });

  it('puts user programs into one row and one frame for each address space', () => {
    const user = { cpl: 3, rip: 0x401000n };
    const profile = profileOf(user, { ...user, cr3: 0x2000n }, { ...user, callers: [0x402000n] });
    expect(profile.rows()).toEqual([{ name: '[user]', selfInstructions: 300, totalInstructions: 300 }]);
    expect(profile.stacks()).toEqual([
      { frames: ['[user]', '[cr3 0x1000]'], instructions: 200 },
      { frames: ['[user]', '[cr3 0x2000]'], instructions: 100 },
    ]);
  });

  it('takes a PV kernel at CPL 3 for a kernel, with or without symbols', () => {
    const profile = profileOf({ cpl: 3, rip: KERNEL }, { cpl: 3, rip: 0xffffffffc0000000n });
    expect(profile.rows().map(({ name }) => name)).toEqual(['a', '[no symbol]']);
  });

  it('names what ran before the kernel was found, in each boot where that boot has put it', () => {
    const names = {
      areFound: false,
      place: 0n,
      inMemory: undefined as bigint | undefined,
      look() {
        this.areFound = this.inMemory !== undefined;
        this.place = this.inMemory ?? 0n;
      },
      nameOf: (gva: bigint) => symbols(gva - names.place),
    };
    const profile = new GuestProfile(names);
    const boot = (slide: bigint) => {
      Object.assign(names, { areFound: false, inMemory: undefined });
      // What unpacks the kernel: more than waits at most.
      for (let i = 0; i < 3000; i++) profile.add(sample({ rip: 0x100n, instructions: 1 }));
      names.inMemory = slide;
      profile.add(sample({ rip: KERNEL + slide + 0x110n }));
      profile.settle();
    };
    boot(0x2000000n);
    boot(0x7000000n);
    expect(profile.rows()).toEqual([
      { name: '[no symbol]', selfInstructions: 6000, totalInstructions: 6000 },
      { name: 'b', selfInstructions: 200, totalInstructions: 200 },
    ]);
  });

  it('keeps within its bounds', () => {
    const profile = new GuestProfile(found((gva) => `f${gva}`));
    for (let i = 0; i < 70_000; i++) profile.add(sample({ rip: 5n, callers: [BigInt(i)] }));
    for (let i = 0; i < 5_000; i++) {
      profile.add(sample({ cpl: 3, rip: 7n, cr3: BigInt(i) * 4096n }));
    }
    expect(profile.stacks().length).toBeLessThan(66_000);
    expect(profile.instructions).toBe(75_000 * 100);
  });
});

describe('formats', () => {
  const stacks = [
    { frames: ['a', 'b'], instructions: 3 },
    { frames: ['a', 'odd;na me'], instructions: 4 },
  ];

  it('collapsed: a line a stack, outermost first', () => {
    expect(toCollapsed(stacks)).toBe('a;b 3\na;odd_na_me 4\n');
  });

  it('speedscope: frames, samples by index, weights', () => {
    expect(JSON.parse(toSpeedscope(stacks, 'vmlinuz'))).toEqual({
      $schema: 'https://www.speedscope.app/file-format-schema.json',
      exporter: 'polyvisor',
      name: 'vmlinuz',
      activeProfileIndex: 0,
      shared: { frames: [{ name: 'a' }, { name: 'b' }, { name: 'odd;na me' }] },
      profiles: [
        {
          ...{ type: 'sampled', name: 'vmlinuz: instructions', unit: 'none', startValue: 0, endValue: 7 },
          samples: [
            [0, 1],
            [0, 2],
          ],
          weights: [3, 4],
        },
      ],
    });
  });
});
