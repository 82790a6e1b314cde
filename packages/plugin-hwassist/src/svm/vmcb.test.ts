import { FakeMemory } from '@polyvisor/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  accessRightsOf,
  attribOf,
  type NarrowField,
  SEGMENT_OFFSETS,
  VMCB_BYTES,
  VMCB_FIELDS,
  Vmcb,
  type VmcbField,
  type VmcbSegment,
  type WideField,
} from './vmcb.ts';

const GPA = 0x3000;
const SEGMENTS = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS', 'LDTR', 'TR'] as const satisfies readonly VmcbSegment[];
const FIELDS = Object.keys(VMCB_FIELDS) as VmcbField[];
const isWide = (field: VmcbField): field is WideField => VMCB_FIELDS[field].sizeBytes === 8;
const WIDE = FIELDS.filter(isWide);
const NARROW = FIELDS.filter((field): field is NarrowField => !isWide(field));

function make() {
  const memory = new FakeMemory(GPA + 2 * VMCB_BYTES);
  return { memory, vmcb: new Vmcb(memory, GPA) };
}

describe('layout of a VMCB', () => {
  it.each([
    ['PAUSE_FILTER_THRESHOLD', 0x3c],
    ['ASID', 0x58],
    ['V_CONTROL', 0x60],
    ['EXITCODE', 0x70],
    ['EXITINTINFO', 0x88],
    ['EVENTINJ', 0xa8],
    ['nCR3', 0xb0],
    ['nRIP', 0xc8],
    ['CPL', 0x4cb],
    ['EFER', 0x4d0],
    ['CR4', 0x548],
    ['RIP', 0x578],
    ['RSP', 0x5d8],
    ['RAX', 0x5f8],
    ['CR2', 0x640],
    ['G_PAT', 0x668],
    ['LASTEXCPTO', 0x690],
  ] as const)('%s is where appendix B has it', (field, offset) => {
    expect(VMCB_FIELDS[field].offset).toBe(offset);
  });

  it('fields are aligned, within their area, and do not overlap', () => {
    const segments = Object.values(SEGMENT_OFFSETS).map((offset) => ({ offset, sizeBytes: 16 }));
    const places = [...Object.values(VMCB_FIELDS), ...segments].sort((a, b) => a.offset - b.offset);
    places.forEach(({ offset, sizeBytes }, index) => {
      expect(offset % Math.min(sizeBytes, 8)).toBe(0);
      if (index > 0) expect(offset).toBeGreaterThanOrEqual(places[index - 1].offset + places[index - 1].sizeBytes);
    });
    expect(places.at(-1)!.offset + 8).toBeLessThanOrEqual(VMCB_BYTES);
  });
});

describe('fields', () => {
  it('of 64 bits are written at their place only, modulo 2^64', () => {
    fc.assert(
      fc.property(fc.constantFrom(...WIDE), fc.bigInt({ min: -(1n << 63n), max: (1n << 64n) - 1n }), (field, value) => {
        const { memory, vmcb } = make();
        vmcb.write64(field, value);
        expect(vmcb.read64(field)).toBe(BigInt.asUintN(64, value));
        memory.write64(GPA + VMCB_FIELDS[field].offset, 0n);
        expect(memory.bytes.every((byte) => byte === 0)).toBe(true);
      }),
    );
  });

  it('of fewer bits read unsigned, and the bytes beside them stay', () => {
    fc.assert(
      fc.property(fc.constantFrom(...NARROW), fc.integer({ min: -(2 ** 31), max: 2 ** 32 - 1 }), (field, value) => {
        const { memory, vmcb } = make();
        memory.bytes.fill(0xa5);
        vmcb.write(field, value);
        const { offset, sizeBytes } = VMCB_FIELDS[field];
        expect(vmcb.read(field)).toBe(Number(BigInt.asUintN(8 * sizeBytes, BigInt(value))));
        memory.fill(GPA + offset, sizeBytes, 0xa5);
        expect(memory.bytes.every((byte) => byte === 0xa5)).toBe(true);
      }),
    );
  });

  it('the bytes of an instruction are counted, 15 at most', () => {
    const { memory, vmcb } = make();
    vmcb.setInstructionBytes(Uint8Array.from({ length: 20 }, (_, index) => index + 1));
    expect(vmcb.read('BYTES_FETCHED')).toBe(15);
    expect([...memory.readBytes(GPA + 0xd1, 16)]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0]);
  });

  it('beyond memory nothing is read', () => {
    const { memory } = make();
    expect(() => new Vmcb(memory, memory.sizeBytes).read64('EFER')).toThrow(RangeError);
  });
});

describe('segments', () => {
  it.each([
    ['64-bit code, G', 0xa9b, 0xa09b, 0xa9b],
    ['32-bit data, G', 0xc93, 0xc093, 0xc93],
    ['AVL', 0x193, 0x1093, 0x193],
    ['busy TSS', 0x08b, 0x008b, 0x08b],
    ['null', 0x000, 0x1_0000, 0x000],
    ['not present data', 0xc13, 0x1_c013, 0xc13],
  ])('%s: attrib to access rights and back', (_, attrib, accessRights, back) => {
    const { memory, vmcb } = make();
    memory.write16(GPA + SEGMENT_OFFSETS.DS + 2, attrib);
    expect(vmcb.segment('DS').accessRights).toBe(accessRights);
    expect(attribOf(accessRights)).toBe(back);
  });

  it('an unusable one has no P in a VMCB', () => {
    expect(attribOf(0x1_c093)).toBe(0xc13);
  });

  it('CS and TR are never null', () => {
    const { vmcb } = make();
    expect([vmcb.segment('CS').accessRights, vmcb.segment('TR').accessRights]).toEqual([0, 0]);
  });

  it('all 4,096 attributes come back', () => {
    for (let attrib = 0; attrib < 4096; attrib++) expect(attribOf(accessRightsOf(attrib))).toBe(attrib);
  });

  it('are read as they were written', () => {
    const present = fc.integer({ min: 0, max: 0xfff }).map((attrib) => accessRightsOf(attrib | 0x80));
    const segment = fc.record({
      selector: fc.integer({ min: 0, max: 0xffff }),
      base: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      limit: fc.integer({ min: 0, max: 0xffff_ffff }),
      accessRights: fc.oneof(
        present,
        present.map((rights) => (rights & ~0x80) | 0x1_0000),
      ),
    });
    fc.assert(
      fc.property(fc.constantFrom('ES', 'SS', 'DS', 'FS', 'GS', 'LDTR'), segment, (name, value) => {
        const { vmcb } = make();
        vmcb.setSegment(name, value);
        expect(vmcb.segment(name)).toEqual(value);
        for (const other of SEGMENTS) if (other !== name) expect(vmcb.segment(other).limit).toBe(0);
      }),
    );
  });

  it('descriptor tables have base and a limit of 16 bits', () => {
    const { vmcb } = make();
    vmcb.setTable('GDTR', { base: 0xffff_8000_0000_1000n, limit: 0x1_0fff });
    vmcb.setTable('IDTR', { base: 0x2000n, limit: 0xfff });
    expect(vmcb.table('GDTR')).toEqual({ base: 0xffff_8000_0000_1000n, limit: 0x0fff });
    expect(vmcb.table('IDTR')).toEqual({ base: 0x2000n, limit: 0xfff });
  });
});
