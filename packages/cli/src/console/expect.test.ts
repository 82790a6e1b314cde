import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ExpectWatcher } from './expect.ts';

it('finds a text wherever the stream is cut', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(40), { maxLength: 10 }), (cuts) => {
      const stream = Buffer.from('some output, then ~ # and more, and ~ # again');
      const borders = [0, ...cuts.sort((a, b) => a - b), stream.length];
      let found = 0;
      const watcher = new ExpectWatcher('~ # and', () => found++);
      for (let index = 1; index < borders.length; index++)
        watcher.see(stream.subarray(borders[index - 1], borders[index]));
      expect(found).toBe(1);
    }),
  );
});

it('does not find what is not there', () => {
  const watcher = new ExpectWatcher('abc', () => expect.unreachable());
  for (const chunk of ['ab', 'ab', 'xc', '']) watcher.see(Buffer.from(chunk));
  expect(watcher.found).toBe(false);
});
