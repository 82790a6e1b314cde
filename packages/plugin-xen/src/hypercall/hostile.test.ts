import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FakeDomain } from '../testing/fakeDomain.ts';

const OURS = [6, 7, 13, 15, 16, 17, 18, 20, 24, 27, 28, 29, 31, 32, 34, 35, 36, 37, 38, 39, 40, 41, 42];
const BUFFER = 0x4000;

const word = fc.oneof(
  fc.nat(40).map(BigInt),
  fc.constantFrom(BigInt(BUFFER), 0x7ff0n, 0xffff_8000_0000_0000n, 0xffff_ffff_ffff_ffffn, 1n << 47n, 0xf_fff8n),
  fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
);
const call = fc.record({
  number: fc.constantFrom(...OURS),
  args: fc.array(word, { minLength: 6, maxLength: 6 }),
  buffer: fc.array(word, { minLength: 16, maxLength: 16 }),
  vcpu: fc.nat(1),
});

describe('hostile hypercalls', () => {
  it('always answer a value or an errno, and entering the guest goes on working', () => {
    fc.assert(
      fc.property(fc.array(call, { maxLength: 40 }), (calls) => {
        const domain = new FakeDomain();
        for (const { number, args, buffer, vcpu } of calls) {
          domain.put64(BUFFER, ...buffer);
          const result = domain.callAs(vcpu, number, args[0], BigInt(BUFFER), args[2], args[3], args[4], args[5]);
          expect(typeof result).toBe('bigint');
          expect(typeof domain.callAs(vcpu, number, ...args)).toBe('bigint');
          for (const each of domain.vcpus) {
            domain.services.upcallPending(each);
            domain.services.beforeEntry(each);
          }
          domain.clock.advance(1000);
        }
        domain.services.stopped();
      }),
      { seed: 1, numRuns: 40 },
    );
  });
});
