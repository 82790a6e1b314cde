import { describe, expect, it } from 'vitest';
import { BtfWriter } from '../loader/image/testing/btf-fixture.ts';
import { kernelMembers } from './kernel-members.ts';
import { buildKernel } from './testing/kernel-fixture.ts';

/** `struct thing { char first; struct { long *pointer; int number; }; name_t names[2][3]; long tail; int flags : 3, odd : 2; }`. */
function types(): Uint8Array {
  const writer = new BtfWriter();
  const byte = writer.int('char', 1);
  const number = writer.int('int', 4);
  const long = writer.int('long', 8);
  const inner = writer.struct('', 8, [
    ['pointer', writer.pointer(long), 0],
    ['number', writer.const(number), 0],
  ]);
  const names = writer.array(writer.array(writer.typedef('name_t', number), 3), 2);
  writer.struct('thing', 64, [
    ['first', byte, 0],
    ['', inner, 8],
    ['names', names, 16],
    ['tail', long, 40],
    ['flags', number, 48, 3],
    ['odd', number, 48.375],
  ]);
  return writer.bytes();
}

describe("members of a kernel's structs", () => {
  const kernel = { slots: [0x300], width: 64 } as const;
  const member = kernelMembers({ elf: buildKernel({ ...kernel, btf: types() }), wordBytes: 8 });

  it.each([
    ['first', 0, 1],
    ['pointer', 8, 8],
    ['number', 8, 4],
    ['names', 16, 24],
    ['tail', 40, 8],
  ])('%s is at %d and has %d bytes', (name, offsetBytes, sizeBytes) => {
    expect(member('thing', name)).toEqual({ offsetBytes, sizeBytes });
    expect(member('thing', name)).toBe(member('thing', name));
  });

  it('are unknown if there is no such struct or member, or it is a bit-field', () => {
    for (const name of ['other', 'flags', 'odd']) expect(member('thing', name)).toBeUndefined();
    expect(member('other', 'first')).toBeUndefined();
  });

  it('are unknown in a kernel without types', () => {
    expect(kernelMembers({ elf: buildKernel(kernel), wordBytes: 8 })('thing', 'first')).toBeUndefined();
  });
});
