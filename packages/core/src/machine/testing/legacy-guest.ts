/** For tests: a machine in 32-bit protected or real-address mode around a few bytes of code. */
import type { EngineOptions } from '../../engine/engine.ts';
import { CODE, GDT, HANDLERS, IDT, type TestGuest, TSS, testGuest } from './test-guest.ts';

export const Selector32 = {
  code0: 0x08,
  data0: 0x10,
  code3: 0x1b,
  data3: 0x23,
  tss: 0x28,
  otherTss: 0x30,
  /** Offsets 0 to FFF. */
  small: 0x38,
  /** Expand-down: offsets 1000 to FFFF. */
  down16: 0x40,
  /** Expand-down: offsets 1000 to FFFFFFFF. */
  down32: 0x48,
  readOnly: 0x50,
  executeOnly: 0x58,
  code16: 0x60,
  stack16: 0x68,
} as const;
export const OTHER_TSS = TSS + 0x200;
/** ESP0 of the TSS. */
export const KERNEL_STACK32 = 0x22000n;

/** base, limit, access rights as a {@link import('@polyvisor/plugin-api').Segment} has them. */
export function descriptor(base: number, limit: number, rights: number): bigint {
  const low = ((base & 0xffff) << 16) | (limit & 0xffff);
  const high =
    (base & 0xff000000) | ((rights & 0xf000) << 8) | (limit & 0xf0000) | ((rights & 0xff) << 8) | ((base >>> 16) % 256);
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}

const DESCRIPTORS: Record<number, bigint> = {
  8: descriptor(0, 0xfffff, 0xc09b),
  16: descriptor(0, 0xfffff, 0xc093),
  24: descriptor(0, 0xfffff, 0xc0fb),
  32: descriptor(0, 0xfffff, 0xc0f3),
  40: descriptor(TSS, 0x67, 0x89),
  48: descriptor(OTHER_TSS, 0x67, 0x89),
  56: descriptor(0x8000, 0xfff, 0x4093),
  64: descriptor(0x8000, 0xfff, 0x0097),
  72: descriptor(0x8000, 0xfff, 0x4097),
  80: descriptor(0, 0xfffff, 0xc091),
  88: descriptor(0, 0xfffff, 0xc099),
  96: descriptor(0, 0xffff, 0x009b),
  104: descriptor(0x8000, 0xffff, 0x0093),
};

/** Flat 32-bit code at CPL 0; paging off. Handler n is HLT at HANDLERS + 16n. */
export function protectedGuest(
  code: string,
  prepare?: (guest: TestGuest) => void,
  regions: EngineOptions['regions'] = false,
  exits?: 'all',
): Promise<TestGuest> {
  return testGuest({
    code: { [CODE]: code },
    prepare: (guest) => enterProtected(guest, prepare),
    options: { engine: { hot: [], regions }, ...(exits && { exits }) },
  });
}

function enterProtected(guest: TestGuest, prepare: ((guest: TestGuest) => void) | undefined): void {
  const { machine, vcpu } = guest;
  const { memory } = machine;
  vcpu.cr0 = 0x11n;
  vcpu.cr4 = 0n;
  vcpu.efer = 0n;
  for (const [at, bits] of Object.entries(DESCRIPTORS)) memory.write64(GDT + Number(at), bits);
  memory.write32(TSS + 4, Number(KERNEL_STACK32));
  memory.write16(TSS + 8, Selector32.data0);
  for (let vector = 0; vector < 256; vector++) setGate32(guest, vector, HANDLERS + vector * 16);
  vcpu.tables.gdtr.limit = 0x6f;
  vcpu.tables.idtr.limit = 0x7ff;
  vcpu.tables.tr = { selector: Selector32.tss, base: BigInt(TSS), limit: 0x67, accessRights: 0x8b };
  memory.write8(GDT + Selector32.tss + 5, 0x8b);
  flat(guest, 0);
  prepare?.(guest);
}

/** All segments flat for a level. */
export function flat({ vcpu }: TestGuest, cpl: 0 | 3): void {
  const dpl = cpl << 5;
  const data = cpl ? Selector32.data3 : Selector32.data0;
  for (const index of [0, 2, 3, 4, 5])
    vcpu.setSegment(index, { selector: data, base: 0n, limit: 0xffffffff, accessRights: 0xc093 | dpl });
  const selector = cpl ? Selector32.code3 : Selector32.code0;
  vcpu.setSegment(1, { selector, base: 0n, limit: 0xffffffff, accessRights: 0xc09b | dpl });
  vcpu.cpl = cpl;
}

/** A gate of 8 bytes. */
export function setGate32(
  { machine }: TestGuest,
  vector: number,
  offset: number,
  attributes: { type?: number; dpl?: number; selector?: number } = {},
): void {
  const { type = 0xe, dpl = 0, selector = Selector32.code0 } = attributes;
  machine.memory.write32(IDT + vector * 8, (offset & 0xffff) | (selector << 16));
  machine.memory.write32(IDT + vector * 8 + 4, (offset & 0xffff0000) | 0x8000 | (dpl << 13) | (type << 8));
}

/** Doublewords on the stack. */
export const stack32 = ({ machine, vcpu }: TestGuest, count: number): number[] =>
  Array.from({ length: count }, (_, i) => machine.memory.read32(Number(vcpu.gpr[4] & 0xffffffffn) + i * 4) >>> 0);

/** Real-address mode at 0:CODE; vector n of a table at IDT leads to HANDLERS + 16n. */
export function realGuest(code: string, prepare?: (guest: TestGuest) => void): Promise<TestGuest> {
  return testGuest({
    code: { [CODE16]: code },
    prepare: (guest) => {
      const { machine, vcpu } = guest;
      vcpu.cr0 = 0x10n;
      vcpu.cr4 = 0n;
      vcpu.efer = 0n;
      for (let index = 0; index < 6; index++)
        vcpu.setSegment(index, { selector: 0, base: 0n, limit: 0xffff, accessRights: 0x93 });
      for (let vector = 0; vector < 256; vector++) machine.memory.write32(IDT + vector * 4, HANDLERS + vector * 16);
      vcpu.tables.idtr.limit = 0x3ff;
      vcpu.rip = BigInt(CODE16);
      vcpu.gpr[4] = 0x7000n;
      prepare?.(guest);
    },
  });
}
/** Where {@link realGuest} puts its code. */
export const CODE16 = 0x7100;
