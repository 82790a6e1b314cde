import fc from 'fast-check';
import { expect, it } from 'vitest';
import { InstructionTime, MachineClock } from './clock.ts';
import { TimeStampCounter } from './tsc.ts';

it('stores what it reads, before and after software has moved it', () => {
  const view = new DataView(new ArrayBuffer(8));
  fc.assert(
    fc.property(fc.maxSafeNat(), fc.option(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })), (now, written) => {
      const time = new InstructionTime();
      time.advance(now);
      const tsc = new TimeStampCounter(new MachineClock(time, 0n));
      if (written !== null) tsc.write(written);
      tsc.store(view, 0);
      expect(view.getBigUint64(0, true)).toBe(tsc.read());
      expect(tsc.read()).toBe(written ?? BigInt(now));
    }),
  );
});
