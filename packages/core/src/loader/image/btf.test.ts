import { PolyvisorError } from '@polyvisor/plugin-api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Btf, BtfKind, functionPrototype } from './btf.ts';
import { allAtOnce } from './steps.ts';
import { BtfWriter } from './testing/btf-fixture.ts';

function sample() {
  const writer = new BtfWriter();
  const int = writer.int('int');
  const char = writer.int('char', 1);
  const text = writer.pointer(writer.const(char));
  const u8 = writer.typedef('u8', char);
  const task = writer.forward('task');
  const mode = writer.enumeration('mode', ['OFF', 'ON']);
  const callback = writer.prototype(0, [['', writer.pointer(task)]]);
  const struct = writer.struct('ops', 32, [
    ['name', text, 0],
    ['table', writer.array(u8, 8), 8],
    ['call', writer.pointer(callback), 16],
    ['mode', mode, 24],
  ]);
  const open = writer.func(
    'open',
    writer.prototype(int, [
      ['path', text],
      ['mode', mode],
      ['', 0],
    ]),
  );
  const handler = writer.func('handler', writer.prototype(writer.pointer(callback), []));
  return { bytes: writer.bytes(), struct, open, handler, u8, char };
}

describe('BTF', () => {
  const { bytes, struct, open, u8, char } = sample();
  const btf = new Btf(bytes);

  it('finds types by kind and name', () => {
    expect(btf.find(BtfKind.STRUCT, 'ops')).toBe(struct);
    expect(btf.find(BtfKind.FUNC, 'open')).toBe(open);
    expect(btf.find(BtfKind.FUNC, 'ops')).toBeUndefined();
  });

  it('is read in steps, and finds the first of a name then too, of whatever kind', () => {
    const writer = new BtfWriter();
    const first = writer.struct('twice', 8, []);
    for (let i = 0; i < 2000; i++) writer.struct(`s${i}`, 8, []);
    const last = writer.struct('s', 8, []);
    writer.struct('twice', 16, []);
    const number = writer.int('twice', 4);
    const all = [...Btf.inSteps(writer.bytes(), [BtfKind.STRUCT])];
    expect(all.length).toBeGreaterThanOrEqual(6);
    const inSteps = allAtOnce(Btf.inSteps(writer.bytes(), [BtfKind.STRUCT]));
    for (const found of [inSteps, new Btf(writer.bytes())]) {
      expect(found.find(BtfKind.STRUCT, 'twice')).toBe(first);
      expect(found.find(BtfKind.STRUCT, 's')).toBe(last);
      expect(found.find(BtfKind.INT, 'twice')).toBe(number);
      expect(found.find(BtfKind.STRUCT, 'none')).toBeUndefined();
    }
  });

  it('lists members with their places', () => {
    const members = btf.members(struct).map(({ name, type, bitOffset }) => [name, btf.describe(type), bitOffset / 8]);
    expect(members).toEqual([
      ['name', 'const char *', 0],
      ['table', 'u8[8]', 8],
      ['call', 'void (struct task *)', 16],
      ['mode', 'enum mode', 24],
    ]);
    expect(btf.structSizeBytes(struct)).toBe(32);
  });

  it('takes typedefs and qualifiers off', () => {
    expect(btf.strip(u8)).toBe(char);
  });

  it('writes prototypes', () => {
    expect(functionPrototype(btf, 'open')).toBe('int (const char *path, enum mode mode, ...)');
    expect(functionPrototype(btf, 'handler')).toBe('void (struct task *) (void)');
    expect(functionPrototype(btf, 'close')).toBeUndefined();
  });

  it('reads bit-fields by their own offsets', () => {
    const changed = bytes.slice();
    const view = new DataView(changed.buffer);
    // kind_flag of the struct; the offset of its second member then has the width in its upper byte.
    let at = 24;
    while (((view.getUint32(at + 4, true) >>> 24) & 0x1f) !== BtfKind.STRUCT) at += 4;
    view.setUint32(at + 4, (view.getUint32(at + 4, true) | 0x80000000) >>> 0, true);
    view.setUint32(at + 12 + 12 + 8, 0x03000041, true);
    expect(new Btf(changed).members(struct)[1].bitOffset).toBe(0x41);
  });
});

describe('BTF that is damaged', () => {
  const { bytes } = sample();
  const refused = (change: (view: DataView, copy: Uint8Array) => Uint8Array | undefined) => {
    const copy = bytes.slice();
    const changed = change(new DataView(copy.buffer), copy) ?? copy;
    expect(() => new Btf(changed)).toThrow(expect.objectContaining({ code: 'PV2001' }));
  };

  it('is refused', () => {
    refused((view) => void view.setUint16(0, 0x9feb, true));
    refused((view) => void view.setUint8(2, 2));
    refused((view) => void view.setUint32(4, 8, true));
    refused((view) => void view.setUint32(12, 0xfffffff0, true));
    refused((view) => void view.setUint32(24 + 4, 0x1f000000, true));
    refused((_view, copy) => copy.subarray(0, 40));
    refused(() => new Uint8Array(0));
  });

  it('a typedef of itself ends', () => {
    const writer = new BtfWriter();
    const loop = writer.typedef('loop', 1);
    const btf = new Btf(writer.bytes());
    expect(() => btf.strip(loop)).toThrow('made of itself');
    expect(btf.describe(loop)).toBe('loop');
    const pointer = new BtfWriter();
    pointer.pointer(1);
    expect(new Btf(pointer.bytes()).describe(1)).toContain('…');
  });

  it('of any kind gives answers or a coded error', () => {
    const change = fc.tuple(fc.nat(bytes.length - 1), fc.nat(255));
    fc.assert(
      fc.property(
        fc.array(change, { minLength: 1, maxLength: 6 }),
        fc.nat(bytes.length),
        fc.boolean(),
        (all, cut, cuts) => {
          const mutated = bytes.slice(0, cuts ? cut : bytes.length);
          for (const [at, value] of all) if (at < mutated.length) mutated[at] = value;
          try {
            const btf = new Btf(mutated);
            for (let type = 1; type < btf.typeCount; type++) {
              expect(btf.describe(type).length).toBeLessThan(1 << 20);
              if (btf.kind(type) === BtfKind.STRUCT)
                for (const member of btf.members(type)) btf.sizeBytes(member.type, 8);
              if (btf.kind(type) === BtfKind.FUNC) functionPrototype(btf, btf.name(type));
            }
          } catch (error) {
            expect(error).toBeInstanceOf(PolyvisorError);
          }
        },
      ),
      { numRuns: 1000 },
    );
  });
});
