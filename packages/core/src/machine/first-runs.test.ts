import { expect, it } from 'vitest';
import type { FirstRun } from './first-runs.ts';
import { CODE, testGuest } from './testing/test-guest.ts';

it('tells of code where it is come to first, with what a function returns to', async () => {
  const seen: FirstRun[] = [];
  // 0: call 9 ; 5: call 9 ; 10: nop ; … the function at 16: ret
  const code = `e80b000000 e806000000 f4 ${'90'.repeat(5)} c3`;
  const guest = await testGuest({
    code: { [CODE]: code },
    options: { onFirstRun: (run) => seen.push(run) },
    prepare: ({ machine }) => {
      machine.clock.at(1_000_000, () => machine.shutdown({ kind: 'poweroff' }));
    },
  });
  await guest.run();
  const places = seen.map(({ rip }) => Number(rip) - CODE);
  expect(places.filter((place) => place === 16)).toEqual([16]);
  const ofFunction = seen.find(({ rip }) => rip === BigInt(CODE + 16));
  expect(ofFunction?.stackTop).toBe(BigInt(CODE + 5));
});
