/** The virtual machine control block: a page of control area and state save area (AMD APM vol. 2, appendix B). */
import type { DescriptorTable, GuestMemory, Segment } from '@polyvisor/plugin-api';

interface FieldPlace {
  /** From the VMCB's first byte. */
  readonly offset: number;
  readonly sizeBytes: 1 | 2 | 4 | 8;
}

/**
 * Fields of the control area (table B-1). `V_CONTROL` is the word with V_TPR, V_IRQ and their like ({@link VirtualInterrupt}),
 * `NP_CONTROL` the one with NP_ENABLE, `VIRTUALIZATION_ENABLE` the one that has LBR virtualization in bit 0.
 */
// biome-ignore format: a table
const CONTROL_AREA = {
  INTERCEPT_CR:           { offset: 0x000, sizeBytes: 4 },
  INTERCEPT_DR:           { offset: 0x004, sizeBytes: 4 },
  INTERCEPT_EXCEPTIONS:   { offset: 0x008, sizeBytes: 4 },
  INTERCEPT_VECTOR_3:     { offset: 0x00c, sizeBytes: 4 },
  INTERCEPT_VECTOR_4:     { offset: 0x010, sizeBytes: 4 },
  INTERCEPT_VECTOR_5:     { offset: 0x014, sizeBytes: 4 },
  PAUSE_FILTER_THRESHOLD: { offset: 0x03c, sizeBytes: 2 },
  PAUSE_FILTER_COUNT:     { offset: 0x03e, sizeBytes: 2 },
  IOPM_BASE_PA:           { offset: 0x040, sizeBytes: 8 },
  MSRPM_BASE_PA:          { offset: 0x048, sizeBytes: 8 },
  TSC_OFFSET:             { offset: 0x050, sizeBytes: 8 },
  ASID:                   { offset: 0x058, sizeBytes: 4 },
  TLB_CONTROL:            { offset: 0x05c, sizeBytes: 1 },
  V_CONTROL:              { offset: 0x060, sizeBytes: 4 },
  V_INTR_VECTOR:          { offset: 0x064, sizeBytes: 1 },
  INTERRUPT_SHADOW:       { offset: 0x068, sizeBytes: 4 },
  EXITCODE:               { offset: 0x070, sizeBytes: 8 },
  EXITINFO1:              { offset: 0x078, sizeBytes: 8 },
  EXITINFO2:              { offset: 0x080, sizeBytes: 8 },
  EXITINTINFO:            { offset: 0x088, sizeBytes: 8 },
  NP_CONTROL:             { offset: 0x090, sizeBytes: 4 },
  AVIC_APIC_BAR:          { offset: 0x098, sizeBytes: 8 },
  GHCB_GPA:               { offset: 0x0a0, sizeBytes: 8 },
  EVENTINJ:               { offset: 0x0a8, sizeBytes: 8 },
  nCR3:                   { offset: 0x0b0, sizeBytes: 8 },
  VIRTUALIZATION_ENABLE:  { offset: 0x0b8, sizeBytes: 4 },
  VMCB_CLEAN:             { offset: 0x0c0, sizeBytes: 4 },
  nRIP:                   { offset: 0x0c8, sizeBytes: 8 },
  BYTES_FETCHED:          { offset: 0x0d0, sizeBytes: 1 },
} as const satisfies Readonly<Record<string, FieldPlace>>;

/** Fields of the state save area less the segments (table B-2). */
// biome-ignore format: a table
const SAVE_AREA = {
  CPL:           { offset: 0x4cb, sizeBytes: 1 },
  EFER:          { offset: 0x4d0, sizeBytes: 8 },
  CR4:           { offset: 0x548, sizeBytes: 8 },
  CR3:           { offset: 0x550, sizeBytes: 8 },
  CR0:           { offset: 0x558, sizeBytes: 8 },
  DR7:           { offset: 0x560, sizeBytes: 8 },
  DR6:           { offset: 0x568, sizeBytes: 8 },
  RFLAGS:        { offset: 0x570, sizeBytes: 8 },
  RIP:           { offset: 0x578, sizeBytes: 8 },
  RSP:           { offset: 0x5d8, sizeBytes: 8 },
  S_CET:         { offset: 0x5e0, sizeBytes: 8 },
  SSP:           { offset: 0x5e8, sizeBytes: 8 },
  ISST_ADDR:     { offset: 0x5f0, sizeBytes: 8 },
  RAX:           { offset: 0x5f8, sizeBytes: 8 },
  STAR:          { offset: 0x600, sizeBytes: 8 },
  LSTAR:         { offset: 0x608, sizeBytes: 8 },
  CSTAR:         { offset: 0x610, sizeBytes: 8 },
  SFMASK:        { offset: 0x618, sizeBytes: 8 },
  KernelGsBase:  { offset: 0x620, sizeBytes: 8 },
  SYSENTER_CS:   { offset: 0x628, sizeBytes: 8 },
  SYSENTER_ESP:  { offset: 0x630, sizeBytes: 8 },
  SYSENTER_EIP:  { offset: 0x638, sizeBytes: 8 },
  CR2:           { offset: 0x640, sizeBytes: 8 },
  G_PAT:         { offset: 0x668, sizeBytes: 8 },
  DBGCTL:        { offset: 0x670, sizeBytes: 8 },
  BR_FROM:       { offset: 0x678, sizeBytes: 8 },
  BR_TO:         { offset: 0x680, sizeBytes: 8 },
  LASTEXCPFROM:  { offset: 0x688, sizeBytes: 8 },
  LASTEXCPTO:    { offset: 0x690, sizeBytes: 8 },
} as const satisfies Readonly<Record<string, FieldPlace>>;

/** Every field by its name, segments excepted. */
export const VMCB_FIELDS = { ...CONTROL_AREA, ...SAVE_AREA } as const;

type Fields = typeof VMCB_FIELDS;
export type VmcbField = keyof Fields;
/** Fields of 64 bits. */
export type WideField = { [K in VmcbField]: Fields[K]['sizeBytes'] extends 8 ? K : never }[VmcbField];
/** Fields of at most 32 bits. */
export type NarrowField = Exclude<VmcbField, WideField>;

/** Where the segments' 16 bytes begin: selector[2] attrib[2] limit[4] base[8] (table B-2). */
// biome-ignore format: a table
export const SEGMENT_OFFSETS = {
  ES: 0x400, CS: 0x410, SS: 0x420, DS: 0x430, FS: 0x440, GS: 0x450, GDTR: 0x460, LDTR: 0x470, IDTR: 0x480, TR: 0x490,
} as const;
export type VmcbTable = 'GDTR' | 'IDTR';
export type VmcbSegment = Exclude<keyof typeof SEGMENT_OFFSETS, VmcbTable>;
const SegmentPart = { SELECTOR: 0, ATTRIB: 2, LIMIT: 4, BASE: 8 } as const;

export const VMCB_BYTES = 4096;
/** Where the 15 bytes of the guest's instruction stand that {@link VMCB_FIELDS.BYTES_FETCHED} counts (15.8.4). */
const INSTRUCTION_BYTES_OFFSET = 0xd1;
const MOST_INSTRUCTION_BYTES = 15;

/** Bits of `V_CONTROL` (table B-1, offset 060h; 15.21.4). V_TPR is bits 7:0, V_INTR_PRIO bits 19:16. */
export const VirtualInterrupt = {
  V_TPR_MASK: 0xff,
  V_IRQ: 1 << 8,
  VGIF: 1 << 9,
  V_NMI: 1 << 11,
  V_NMI_MASK: 1 << 12,
  V_INTR_PRIO_SHIFT: 16,
  V_INTR_PRIO_MASK: 0xf << 16,
  V_IGN_TPR: 1 << 20,
  V_INTR_MASKING: 1 << 24,
  VGIF_ENABLE: 1 << 25,
  V_NMI_ENABLE: 1 << 26,
} as const;
/** Bits of `INTERRUPT_SHADOW` (table B-1, offset 068h). */
export const InterruptShadow = { INTERRUPT_SHADOW: 1, GUEST_INTERRUPT_MASK: 2 } as const;
/** Values of `TLB_CONTROL` (15.16.1). */
export const TlbControl = { NOTHING: 0, FLUSH_ALL: 1, FLUSH_GUEST: 3, FLUSH_GUEST_NON_GLOBAL: 7 } as const;
export const NP_ENABLE = 1;
/** EVENTINJ and EXITINTINFO (15.20, 15.7.2): VECTOR is bits 7:0, TYPE bits 10:8, ERRORCODE bits 63:32. */
export const EventInfo = { VECTOR_MASK: 0xff, TYPE_SHIFT: 8, TYPE_MASK: 7 << 8, EV: 1 << 11, V: 0x8000_0000 } as const;
/** TYPE of {@link EventInfo} (table 15-1 of 15.20). */
export const EventType = { INTR: 0, NMI: 2, EXCEPTION: 3, SOFTWARE_INTERRUPT: 4 } as const;

/** P of a segment's attributes, in a VMCB and in {@link Segment.accessRights} alike. */
const PRESENT = 1 << 7;
const UNUSABLE = 1 << 16;

/** Access rights of {@link Segment} from a VMCB's 12 bits: descriptor bits 47:40 and 55:52 side by side (15.5.1). */
export const accessRightsOf = (attrib: number): number => (attrib & 0xff) | ((attrib & 0xf00) << 4);

/** The VMCB's 12 bits for access rights of {@link Segment}; there is no "unusable", a null segment has P = 0 (15.5.1). */
export function attribOf(accessRights: number): number {
  const attrib = (accessRights & 0xff) | ((accessRights >>> 4) & 0xf00);
  return (accessRights & UNUSABLE) === 0 ? attrib : attrib & ~PRESENT;
}

/**
 * One VMCB in the machine's memory; nothing of it is kept here.
 * @throws RangeError from all of its methods if it is not all in memory
 */
export class Vmcb {
  /** Of its first byte; a multiple of 4,096. */
  readonly gpa: number;
  readonly #memory: GuestMemory;

  constructor(memory: GuestMemory, gpa: number) {
    this.#memory = memory;
    this.gpa = gpa;
  }

  /** Unsigned. */
  read(field: NarrowField): number {
    const { offset, sizeBytes } = VMCB_FIELDS[field];
    const at = this.gpa + offset;
    if (sizeBytes === 4) return this.#memory.read32(at) >>> 0;
    return sizeBytes === 2 ? this.#memory.read16(at) : this.#memory.read8(at);
  }

  /** What does not fit into the field is cut off. */
  write(field: NarrowField, value: number): void {
    const { offset, sizeBytes } = VMCB_FIELDS[field];
    const at = this.gpa + offset;
    if (sizeBytes === 4) this.#memory.write32(at, value >>> 0);
    else if (sizeBytes === 2) this.#memory.write16(at, value & 0xffff);
    else this.#memory.write8(at, value & 0xff);
  }

  /** Unsigned. */
  read64(field: WideField): bigint {
    return this.#memory.read64(this.gpa + VMCB_FIELDS[field].offset);
  }

  /** Modulo 2^64, so that negative exit codes can be written as they are. */
  write64(field: WideField, value: bigint): void {
    this.#memory.write64(this.gpa + VMCB_FIELDS[field].offset, BigInt.asUintN(64, value));
  }

  /**
   * A segment whose P is 0 is unusable, but CS and TR, which are never null (15.5.1). The limit is in bytes in a VMCB
   * too, whatever G says.
   */
  segment(name: VmcbSegment): Segment {
    const at = this.gpa + SEGMENT_OFFSETS[name];
    const accessRights = accessRightsOf(this.#memory.read16(at + SegmentPart.ATTRIB));
    const isNull = (accessRights & PRESENT) === 0 && name !== 'CS' && name !== 'TR';
    return {
      selector: this.#memory.read16(at + SegmentPart.SELECTOR),
      base: this.#memory.read64(at + SegmentPart.BASE),
      limit: this.#memory.read32(at + SegmentPart.LIMIT) >>> 0,
      accessRights: isNull ? accessRights | UNUSABLE : accessRights,
    };
  }

  setSegment(name: VmcbSegment, segment: Segment): void {
    const at = this.gpa + SEGMENT_OFFSETS[name];
    this.#memory.write16(at + SegmentPart.SELECTOR, segment.selector);
    this.#memory.write16(at + SegmentPart.ATTRIB, attribOf(segment.accessRights));
    this.#memory.write32(at + SegmentPart.LIMIT, segment.limit >>> 0);
    this.#memory.write64(at + SegmentPart.BASE, segment.base);
  }

  /** GDTR or IDTR; a limit has 16 bits. */
  table(name: VmcbTable): DescriptorTable {
    const at = this.gpa + SEGMENT_OFFSETS[name];
    return {
      base: this.#memory.read64(at + SegmentPart.BASE),
      limit: this.#memory.read32(at + SegmentPart.LIMIT) & 0xffff,
    };
  }

  setTable(name: VmcbTable, { base, limit }: DescriptorTable): void {
    const at = this.gpa + SEGMENT_OFFSETS[name];
    this.#memory.write32(at + SegmentPart.LIMIT, limit & 0xffff);
    this.#memory.write64(at + SegmentPart.BASE, base);
  }

  /** Number of bytes fetched, and the bytes: at most 15 (15.8.4). */
  setInstructionBytes(bytes: Uint8Array): void {
    const fetched = bytes.subarray(0, MOST_INSTRUCTION_BYTES);
    this.write('BYTES_FETCHED', fetched.length);
    this.#memory.writeBytes(this.gpa + INSTRUCTION_BYTES_OFFSET, fetched);
  }
}
