import { Gpr, type Segment, SegmentIndex, type Vcpu } from '@polyvisor/plugin-api';

/** Bytes of struct vmi_ap_state (Linux 2.6.32, arch/x86/include/asm/vmi.h): packed, in the order of {@link readApState}. */
export const AP_STATE_BYTES = 90;
const GPRS = [Gpr.RAX, Gpr.RBX, Gpr.RCX, Gpr.RDX, Gpr.RSP, Gpr.RBP, Gpr.RSI, Gpr.RDI];

/** What a processor that is about to be started is to begin with (VMI_SetInitialAPState). */
interface ApState {
  readonly cr0: number;
  readonly cr2: number;
  readonly cr3: number;
  readonly cr4: number;
  readonly efer: bigint;
  readonly eip: number;
  readonly eflags: number;
  /** In the order of {@link GPRS}. */
  readonly gprs: readonly number[];
  /** Selectors: CS, SS, DS, ES, FS, GS. */
  readonly segments: readonly number[];
  readonly ldtr: number;
  readonly gdtr: { readonly base: number; readonly limit: number };
  readonly idtr: { readonly base: number; readonly limit: number };
}
const SEGMENTS = [
  ...[SegmentIndex.CS, SegmentIndex.SS, SegmentIndex.DS, SegmentIndex.ES],
  ...[SegmentIndex.FS, SegmentIndex.GS],
];

/** @param bytes {@link AP_STATE_BYTES} of them */
export function readApState(bytes: Uint8Array): ApState {
  const view = new DataView(bytes.buffer, bytes.byteOffset, AP_STATE_BYTES);
  let at = 0;
  const u16 = () => {
    at += 2;
    return view.getUint16(at - 2, true);
  };
  const u32 = () => {
    at += 4;
    return view.getUint32(at - 4, true);
  };
  const [cr0, cr2, cr3, cr4] = [u32(), u32(), u32(), u32()];
  const efer = BigInt(u32()) | (BigInt(u32()) << 32n);
  const [eip, eflags] = [u32(), u32()];
  const gprs = GPRS.map(u32);
  const segments = SEGMENTS.map(u16);
  const [ldtr, gdtrLimit, gdtrBase, idtrBase, idtrLimit] = [u16(), u16(), u32(), u32(), u16()];
  return {
    ...{ cr0, cr2, cr3, cr4, efer, eip, eflags, gprs, segments, ldtr },
    ...{ gdtr: { base: gdtrBase, limit: gdtrLimit }, idtr: { base: idtrBase, limit: idtrLimit } },
  };
}

const CR0 = { PE: 1, NW: 1 << 29, CD: 1 << 30, PG: 2 ** 31, ET: 0x10 } as const;
/** PE, MP, EM, TS, ET, NE, WP, AM, NW, CD, PG (SDM vol. 3A, 2.5). */
const CR0_KNOWN = 0xe005003f;
/** VME to OSXMMEXCPT, and UMIP, FSGSBASE, OSXSAVE, SMEP, SMAP: none of 64-bit mode's. */
const CR4_KNOWN = 0x350fff & ~0x1000;
/** SCE and NXE: there is no 64-bit mode beneath VMI. */
const EFER_KNOWN = 0x801n;
/** CF, PF, AF, ZF, SF, TF, IF, DF, OF, IOPL, NT, RF, AC, ID. */
const EFLAGS_KNOWN = 0x257fd5;
const EFLAGS_ALWAYS = 2;
const RPL = 3;
const TABLE_INDICATOR = 4;

const has = (value: number, bit: number) => (value & bit) !== 0;

/** What of a state the processor could not be in, or is not started in: not 32-bit protected mode at CPL 0. `undefined`: nothing. */
export function whyImpossible({ cr0, cr4, efer, eflags, segments, ldtr }: ApState): string | undefined {
  if (!has(cr0, CR0.PE)) return 'CR0.PE is off';
  if (has(cr0, ~CR0_KNOWN) || (has(cr0, CR0.NW) && !has(cr0, CR0.CD))) return 'no CR0';
  if (has(cr4, ~CR4_KNOWN)) return 'no CR4';
  if (efer & ~EFER_KNOWN) return 'EFER has more than SCE and NXE';
  if (has(eflags, ~(EFLAGS_KNOWN | EFLAGS_ALWAYS))) return 'no EFLAGS';
  if ([...segments, ldtr].some((selector) => has(selector, TABLE_INDICATOR))) return 'a selector of an LDT';
  const [cs, ss] = segments;
  return has(cs, RPL) || has(ss, RPL) ? 'CS or SS is not of ring 0' : undefined;
}

const UNUSABLE = 0x10000;
const NULL_SEGMENT = { base: 0n, limit: 0, accessRights: UNUSABLE } as const;
/** The state names no TSS, and TR cannot be unusable (SDM vol. 3C, 26.3.1.2): one that holds nothing. */
const NO_TASK: Segment = { selector: 0, base: 0n, limit: 0, accessRights: 0x8b };
/** Access rights (SDM vol. 3A, 3.4.5.1 and table 3-2). */
const PRESENT = 0x80;
const DPL = 0x60;
const DPL_SHIFT = 5;
const KIND = 0x1f;
const CODE = 0x18;
const CONFORMING = 4;
const READABLE = 2;
const ACCESSED = 1;
const DATA = 0x10;
const WRITABLE = 2;
const LDT = 2;
const GRANULAR = 0x8000;
const LONG = 0x2000;

/** A descriptor of the GDT; `undefined`: it cannot be read. */
function descriptor(vcpu: Vcpu, selector: number): Segment | undefined {
  const at = selector & ~RPL;
  const { base, limit } = vcpu.tables.gdtr;
  const found = at + 7 <= limit ? vcpu.read(base + BigInt(at), 8, { as: 'supervisor' }) : undefined;
  if (!found?.ok) return undefined;
  const view = new DataView(found.bytes.buffer, found.bytes.byteOffset);
  const [low, high] = [view.getUint32(0, true), view.getUint32(4, true)];
  const accessRights = (high >>> 8) & 0xf0ff;
  const bound = (low & 0xffff) | (high & 0xf0000);
  const limitBytes = accessRights & GRANULAR ? bound * 4096 + 0xfff : bound;
  const start = ((low >>> 16) | ((high & 0xff) << 16) | (high & 0xff000000)) >>> 0;
  return { selector, base: BigInt(start), limit: limitBytes, accessRights };
}

/** Whether a segment register may hold it at CPL 0 (SDM vol. 2A, "MOV": protected mode exceptions). */
function mayBeIn(index: number, { selector, accessRights }: Segment): boolean {
  const kind = accessRights & KIND;
  const privilege = (accessRights & DPL) >> DPL_SHIFT;
  if (!(accessRights & PRESENT)) return false;
  const isCode = (kind & CODE) === CODE;
  if (index === SegmentIndex.CS) return isCode && privilege === 0 && !(accessRights & LONG);
  const isData = (kind & CODE) === DATA;
  if (index === SegmentIndex.SS) return isData && has(kind, WRITABLE) && privilege === 0;
  if (isCode && !has(kind, READABLE)) return false;
  return (isCode && has(kind, CONFORMING)) || ((isCode || isData) && (selector & RPL) <= privilege);
}

function loadSegments(vcpu: Vcpu, { segments, ldtr }: ApState): boolean {
  for (const [i, selector] of segments.entries()) {
    const index = SEGMENTS[i];
    const isNull = (selector & ~RPL) === 0;
    if (isNull && (index === SegmentIndex.CS || index === SegmentIndex.SS)) return false;
    const segment = isNull ? { selector, ...NULL_SEGMENT } : descriptor(vcpu, selector);
    if (!segment || (!isNull && !mayBeIn(index, segment))) return false;
    const { accessRights } = segment;
    vcpu.setSegment(index, { ...segment, accessRights: isNull ? accessRights : accessRights | ACCESSED });
  }
  const table = (ldtr & ~RPL) === 0 ? { selector: ldtr, ...NULL_SEGMENT } : descriptor(vcpu, ldtr);
  if (!table) return false;
  const isTable = (table.accessRights & (KIND | PRESENT)) === (LDT | PRESENT);
  if (table.accessRights !== UNUSABLE && !isTable) return false;
  vcpu.tables.ldtr = table;
  return true;
}

/**
 * Begin with this state, which is possible ({@link whyImpossible}). False: its segments cannot be loaded from its GDT, by its own page
 * tables; then nothing can be executed.
 */
export function enterApState(vcpu: Vcpu, state: ApState): boolean {
  const { gdtr, idtr } = vcpu.tables;
  [gdtr.base, gdtr.limit] = [BigInt(state.gdtr.base), state.gdtr.limit];
  [idtr.base, idtr.limit] = [BigInt(state.idtr.base), state.idtr.limit];
  vcpu.efer = state.efer;
  vcpu.cr4 = BigInt(state.cr4);
  vcpu.cr0 = BigInt((state.cr0 | CR0.ET) >>> 0);
  vcpu.cr2 = BigInt(state.cr2);
  // With paging and PAE on already, the upper entries are loaded with it.
  vcpu.cr3 = BigInt(state.cr3);
  vcpu.cpl = 0;
  vcpu.tables.tr = NO_TASK;
  if (!loadSegments(vcpu, state)) return false;
  vcpu.gpr.fill(0n);
  for (const [i, value] of state.gprs.entries()) vcpu.gpr[GPRS[i]] = BigInt(value);
  vcpu.rip = BigInt(state.eip);
  vcpu.rflags = BigInt(state.eflags | EFLAGS_ALWAYS);
  return true;
}
