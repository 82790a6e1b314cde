import fc from 'fast-check';
import { expect, it } from 'vitest';
import { FakeGuest } from '../testing/fake-guest.ts';
import { CALL_NAMES } from './numbers.ts';

const MEMORY_BYTES = 1 << 20;
const word = fc.oneof(
  fc.nat(130),
  fc.constantFrom(
    0x7ff8,
    0x8000,
    0x8004,
    MEMORY_BYTES - 4,
    MEMORY_BYTES - 2,
    MEMORY_BYTES,
    0xfee00080,
    0xfffffffc,
    0xffffffff,
  ),
  fc.nat(MEMORY_BYTES),
  fc.nat(0xffffffff),
);
const state = {
  eax: word,
  edx: word,
  ecx: word,
  stack: fc.array(word, { minLength: 2, maxLength: 2 }),
  cr4: fc.constantFrom(0n, 0x20n),
  cr3: word,
  tr: fc.record({ base: word, limit: word, accessRights: fc.nat(0x1ffff) }),
  advanceNs: fc.nat(100_000),
};
const call = fc.record({ number: fc.oneof(fc.constantFrom(...CALL_NAMES.keys()), fc.nat(0xffffffff)), ...state });
type HostileCall = typeof call extends fc.Arbitrary<infer Value> ? Value : never;

function make(guest: FakeGuest, { number, cr4, cr3, tr, advanceNs, ...args }: HostileCall): void {
  guest.vcpu.cr4 = cr4;
  guest.vcpu.cr3 = BigInt(cr3);
  guest.vcpu.tables.tr = { selector: 0x28, ...tr, base: BigInt(tr.base) };
  const answer = guest.call(number, args);
  if (answer !== 'handled') expect(answer).toMatchObject({ fault: CALL_NAMES.has(number) ? expect.any(Number) : 6 });
  expect(guest.vcpu.gpr[0] >> 32n).toBe(0n);
  guest.machine.clock.advance(advanceNs);
}

it.each([...CALL_NAMES])('call %i, %s, with any arguments', (number) => {
  const guest = new FakeGuest({ memoryBytes: MEMORY_BYTES });
  fc.assert(
    fc.property(fc.record(state), (rest) => make(guest, { number, ...rest })),
    { numRuns: 40, seed: number },
  );
});

it('any call with any arguments is carried out, refused, or an exception of the guest', () => {
  fc.assert(
    fc.property(fc.array(call, { maxLength: 40 }), (calls) => {
      const guest = new FakeGuest({ memoryBytes: MEMORY_BYTES, vcpus: 2 });
      for (const one of calls) make(guest, one);
      // Two alarms at most wait, whatever has been asked for.
      expect(guest.machine.clock.pending).toBeLessThanOrEqual(2);
      guest.host.call('shutdown', { kind: 'poweroff' });
      expect(guest.machine.clock.pending).toBe(0);
    }),
    { numRuns: 60, seed: 6 },
  );
});
