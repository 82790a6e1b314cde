/** Fields of a VMCS and their encodings (SDM vol. 3D, appendix B). Those of features that the processor does not have are not here. */

/** Segment registers in the order in which their fields stand. */
export const VMCS_SEGMENTS = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS', 'LDTR', 'TR'] as const;
export type VmcsSegment = (typeof VMCS_SEGMENTS)[number];

/** Of 16 and of 32 bits. */
// biome-ignore format: a table
const NARROW_FIELDS = {
  VPID: 0x0000,
  GUEST_ES_SELECTOR: 0x0800, GUEST_CS_SELECTOR: 0x0802, GUEST_SS_SELECTOR: 0x0804, GUEST_DS_SELECTOR: 0x0806,
  GUEST_FS_SELECTOR: 0x0808, GUEST_GS_SELECTOR: 0x080a, GUEST_LDTR_SELECTOR: 0x080c, GUEST_TR_SELECTOR: 0x080e,
  HOST_ES_SELECTOR: 0x0c00, HOST_CS_SELECTOR: 0x0c02, HOST_SS_SELECTOR: 0x0c04, HOST_DS_SELECTOR: 0x0c06,
  HOST_FS_SELECTOR: 0x0c08, HOST_GS_SELECTOR: 0x0c0a, HOST_TR_SELECTOR: 0x0c0c,
  PIN_BASED_CONTROLS: 0x4000, PROCESSOR_BASED_CONTROLS: 0x4002, EXCEPTION_BITMAP: 0x4004,
  PAGE_FAULT_ERROR_CODE_MASK: 0x4006, PAGE_FAULT_ERROR_CODE_MATCH: 0x4008, CR3_TARGET_COUNT: 0x400a,
  EXIT_CONTROLS: 0x400c, EXIT_MSR_STORE_COUNT: 0x400e, EXIT_MSR_LOAD_COUNT: 0x4010,
  ENTRY_CONTROLS: 0x4012, ENTRY_MSR_LOAD_COUNT: 0x4014,
  ENTRY_INTERRUPTION_INFORMATION: 0x4016, ENTRY_EXCEPTION_ERROR_CODE: 0x4018, ENTRY_INSTRUCTION_LENGTH: 0x401a,
  TPR_THRESHOLD: 0x401c, SECONDARY_CONTROLS: 0x401e,
  INSTRUCTION_ERROR: 0x4400, EXIT_REASON: 0x4402,
  EXIT_INTERRUPTION_INFORMATION: 0x4404, EXIT_INTERRUPTION_ERROR_CODE: 0x4406,
  IDT_VECTORING_INFORMATION: 0x4408, IDT_VECTORING_ERROR_CODE: 0x440a,
  EXIT_INSTRUCTION_LENGTH: 0x440c, EXIT_INSTRUCTION_INFORMATION: 0x440e,
  GUEST_ES_LIMIT: 0x4800, GUEST_CS_LIMIT: 0x4802, GUEST_SS_LIMIT: 0x4804, GUEST_DS_LIMIT: 0x4806,
  GUEST_FS_LIMIT: 0x4808, GUEST_GS_LIMIT: 0x480a, GUEST_LDTR_LIMIT: 0x480c, GUEST_TR_LIMIT: 0x480e,
  GUEST_GDTR_LIMIT: 0x4810, GUEST_IDTR_LIMIT: 0x4812,
  GUEST_ES_ACCESS_RIGHTS: 0x4814, GUEST_CS_ACCESS_RIGHTS: 0x4816, GUEST_SS_ACCESS_RIGHTS: 0x4818,
  GUEST_DS_ACCESS_RIGHTS: 0x481a, GUEST_FS_ACCESS_RIGHTS: 0x481c, GUEST_GS_ACCESS_RIGHTS: 0x481e,
  GUEST_LDTR_ACCESS_RIGHTS: 0x4820, GUEST_TR_ACCESS_RIGHTS: 0x4822,
  GUEST_INTERRUPTIBILITY: 0x4824, GUEST_ACTIVITY: 0x4826, GUEST_SMBASE: 0x4828, GUEST_SYSENTER_CS: 0x482a,
  PREEMPTION_TIMER: 0x482e,
  HOST_SYSENTER_CS: 0x4c00,
} as const;

/** Of 64 bits. */
// biome-ignore format: a table
const QUADWORD_FIELDS = {
  IO_BITMAP_A: 0x2000, IO_BITMAP_B: 0x2002, MSR_BITMAPS: 0x2004,
  EXIT_MSR_STORE_ADDRESS: 0x2006, EXIT_MSR_LOAD_ADDRESS: 0x2008, ENTRY_MSR_LOAD_ADDRESS: 0x200a,
  EXECUTIVE_VMCS: 0x200c, TSC_OFFSET: 0x2010, VIRTUAL_APIC_ADDRESS: 0x2012, EPT_POINTER: 0x201a,
  GUEST_PHYSICAL_ADDRESS: 0x2400,
  VMCS_LINK_POINTER: 0x2800, GUEST_DEBUGCTL: 0x2802, GUEST_PAT: 0x2804, GUEST_EFER: 0x2806,
  GUEST_PDPTE0: 0x280a, GUEST_PDPTE1: 0x280c, GUEST_PDPTE2: 0x280e, GUEST_PDPTE3: 0x2810,
  HOST_PAT: 0x2c00, HOST_EFER: 0x2c02,
} as const;

/** As wide as the processor: 64 bits, of which VMREAD and VMWRITE have 32 outside of 64-bit mode. */
// biome-ignore format: a table
const NATURAL_FIELDS = {
  CR0_MASK: 0x6000, CR4_MASK: 0x6002, CR0_READ_SHADOW: 0x6004, CR4_READ_SHADOW: 0x6006,
  CR3_TARGET0: 0x6008, CR3_TARGET1: 0x600a, CR3_TARGET2: 0x600c, CR3_TARGET3: 0x600e,
  EXIT_QUALIFICATION: 0x6400, IO_RCX: 0x6402, IO_RSI: 0x6404, IO_RDI: 0x6406, IO_RIP: 0x6408, GUEST_LINEAR_ADDRESS: 0x640a,
  GUEST_CR0: 0x6800, GUEST_CR3: 0x6802, GUEST_CR4: 0x6804,
  GUEST_ES_BASE: 0x6806, GUEST_CS_BASE: 0x6808, GUEST_SS_BASE: 0x680a, GUEST_DS_BASE: 0x680c,
  GUEST_FS_BASE: 0x680e, GUEST_GS_BASE: 0x6810, GUEST_LDTR_BASE: 0x6812, GUEST_TR_BASE: 0x6814,
  GUEST_GDTR_BASE: 0x6816, GUEST_IDTR_BASE: 0x6818,
  GUEST_DR7: 0x681a, GUEST_RSP: 0x681c, GUEST_RIP: 0x681e, GUEST_RFLAGS: 0x6820, GUEST_PENDING_DEBUG: 0x6822,
  GUEST_SYSENTER_ESP: 0x6824, GUEST_SYSENTER_EIP: 0x6826,
  HOST_CR0: 0x6c00, HOST_CR3: 0x6c02, HOST_CR4: 0x6c04, HOST_FS_BASE: 0x6c06, HOST_GS_BASE: 0x6c08, HOST_TR_BASE: 0x6c0a,
  HOST_GDTR_BASE: 0x6c0c, HOST_IDTR_BASE: 0x6c0e, HOST_SYSENTER_ESP: 0x6c10, HOST_SYSENTER_EIP: 0x6c12,
  HOST_RSP: 0x6c14, HOST_RIP: 0x6c16,
} as const;

export const VMCS_FIELDS = { ...NARROW_FIELDS, ...QUADWORD_FIELDS, ...NATURAL_FIELDS } as const;
/** Fields of at most 32 bits. */
export type NarrowField = keyof typeof NARROW_FIELDS;
/** Fields of 64 bits, and of the processor's width. */
export type WideField = keyof typeof QUADWORD_FIELDS | keyof typeof NATURAL_FIELDS;
export type VmcsField = keyof typeof VMCS_FIELDS;

/** Bits of an encoding (24.11.2). */
const Encoding = { HIGH: 1, INDEX_SHIFT: 1, INDEX_MASK: 0x1ff, TYPE_SHIFT: 10, WIDTH_SHIFT: 13, TWO_BITS: 3 } as const;
const WIDTHS = [16, 64, 32, 'natural'] as const;
const READ_ONLY_TYPE = 1;

/** A field as VMREAD and VMWRITE come to it. */
export interface FieldAccess {
  readonly field: VmcsField;
  readonly width: (typeof WIDTHS)[number];
  /** The upper half of a field of 64 bits. */
  readonly isHigh: boolean;
  /** VM-exit information. */
  readonly isReadOnly: boolean;
}

const BY_ENCODING: ReadonlyMap<number, FieldAccess> = new Map(
  (Object.entries(VMCS_FIELDS) as [VmcsField, number][]).flatMap(([field, encoding]) => {
    const width = WIDTHS[(encoding >> Encoding.WIDTH_SHIFT) & Encoding.TWO_BITS];
    const isReadOnly = ((encoding >> Encoding.TYPE_SHIFT) & Encoding.TWO_BITS) === READ_ONLY_TYPE;
    const whole: [number, FieldAccess] = [encoding, { field, width, isHigh: false, isReadOnly }];
    const high: [number, FieldAccess] = [encoding | Encoding.HIGH, { field, width, isHigh: true, isReadOnly }];
    return width === 64 ? [whole, high] : [whole];
  }),
);

/** `undefined`: no such field. */
export const fieldAt = (encoding: bigint): FieldAccess | undefined =>
  encoding >> 32n === 0n ? BY_ENCODING.get(Number(encoding)) : undefined;

/** The highest index of a field, as IA32_VMX_VMCS_ENUM has it in bits 9:1 (appendix A.9). */
export const HIGHEST_INDEX = Math.max(
  ...Object.values(VMCS_FIELDS).map((encoding) => (encoding >> Encoding.INDEX_SHIFT) & Encoding.INDEX_MASK),
);
