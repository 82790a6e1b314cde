import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LineReader } from './lines.ts';

const texts = (lines: readonly Buffer[]) => lines.map((line) => line.toString('latin1'));

describe('LineReader', () => {
  it('cuts the same lines wherever the chunks end', () => {
    const line = fc.string({ maxLength: 20, unit: fc.constantFrom('a', 'b', '{', '\r') });
    fc.assert(
      fc.property(fc.array(line), fc.array(fc.nat(9)), (lines, cuts) => {
        const bytes = Buffer.from(lines.map((text) => `${text}\n`).join(''));
        const reader = new LineReader(100);
        const read: string[] = [];
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const end = at + 1 + (cuts[i % Math.max(1, cuts.length)] ?? 3);
          const { lines: some, tooLong } = reader.push(bytes.subarray(at, end));
          expect(tooLong).toBe(false);
          read.push(...texts(some));
          at = end;
        }
        expect(read).toEqual(lines);
      }),
    );
  });

  it('takes a line of the limit and no longer one, in one chunk or in many', () => {
    const push = (text: string, chunkBytes: number) => {
      const reader = new LineReader(5);
      const bytes = Buffer.from(text);
      let last = { lines: [] as readonly Buffer[], tooLong: false };
      for (let at = 0; at < bytes.length && !last.tooLong; at += chunkBytes) {
        last = reader.push(bytes.subarray(at, at + chunkBytes));
      }
      return { lines: texts(last.lines), tooLong: last.tooLong };
    };
    for (const chunkBytes of [1, 100]) {
      expect(push('12345\n', chunkBytes)).toEqual({ lines: ['12345'], tooLong: false });
      expect(push('123456\n', chunkBytes).tooLong).toBe(true);
      expect(push('123456', chunkBytes).tooLong).toBe(true);
    }
    expect(push('1\n123456', 100)).toEqual({ lines: ['1'], tooLong: true });
  });
});
