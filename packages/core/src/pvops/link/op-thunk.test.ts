import { describe, expect, it } from 'vitest';
import { frameLayout, innermostFrame } from './op-thunk.ts';

const SP = { 32: 0xc1000f00n, 64: 0xffffc90000003e00n };
const OP_RETURN = { 32: 0xe008027en, 64: 0xffffffffc000027en };
const KERNEL_RETURN = { 32: 0xc01166cbn, 64: 0xffffffff811166cbn };

describe.each([32, 64] as const)('the frame of an operation on a %i-bit stack', (width) => {
  const layout = frameLayout(width);
  const { wordBytes, returnAt } = layout;
  const copies = -returnAt / wordBytes - 1;

  /** The frame in a stack of words: `locals` of the function's, its return address, `arguments_`, the mark. */
  function find(locals: readonly bigint[], argument: bigint, mark?: bigint) {
    const markAt = (locals.length + 1 + copies) * wordBytes;
    const at = SP[width] + BigInt(markAt);
    const words = [
      ...locals,
      OP_RETURN[width],
      ...Array<bigint>(copies).fill(argument),
      mark ?? at + BigInt(wordBytes),
    ];
    const bytes = new Uint8Array(words.length * wordBytes);
    const view = new DataView(bytes.buffer);
    words.forEach((word, i) => {
      if (wordBytes === 8) view.setBigUint64(i * 8, word, true);
      else view.setUint32(i * 4, Number(word), true);
    });
    const found = innermostFrame(layout, bytes, SP[width], {
      opOf: (returnTo) => (returnTo === OP_RETURN[width] ? 'op' : undefined),
      returnsToKernel: (value) => value === KERNEL_RETURN[width],
    });
    return { at, found };
  }

  it('is found behind what its function has pushed', () => {
    const { at, found } = find([1n, 2n, OP_RETURN[width]], 0n);
    expect(found).toEqual({ at, op: 'op' });
  });

  it('is found where what was copied as arguments are return addresses of the kernel', () => {
    const { at, found } = find([1n], KERNEL_RETURN[width]);
    expect(found).toEqual({ at, op: 'op' });
  });

  it('is not found behind the kernel, nor once it has been wiped, nor where the stack ends within it', () => {
    expect(find([KERNEL_RETURN[width]], 0n).found).toBeUndefined();
    expect(find([1n], 0n, 0n).found).toBeUndefined();
    const cut = innermostFrame(layout, new Uint8Array(wordBytes), 0n, {
      opOf: () => 'op',
      returnsToKernel: () => false,
    });
    expect(cut).toBeUndefined();
  });
});
