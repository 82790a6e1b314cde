/**
 * Where a vCPU's architectural state lives in linear memory: byte offsets from the start of the
 * vCPU's state block. The engine's generated code, the evaluator and TypeScript all read it here.
 */
export type SlotType = 'i32' | 'i64' | 'v128';

/** One named place in the state block. */
export interface Slot {
  readonly name: string;
  readonly offset: number;
  readonly type: SlotType;
}

/**
 * Bits of DIRECT: system instructions that need no exit, as long as nobody wants to see it. Not for the whole of each:
 * what is rare, and every exception, is TypeScript's all the same.
 */
export const Direct = {
  CLI: 1,
  STI: 2,
  POPF: 4,
  SWAPGS: 8,
  SYSCALL: 16,
  SYSRET: 32,
  IRET: 64,
  INVLPG: 128,
  READ_CR: 256,
  WRITE_CR3: 512,
  ALIGNMENT_CHECK: 1024,
  /** What plug-ins have built for themselves. */
  PLUGIN_CODE: 2048,
  /** The other way round: PUSHF and POPF leave, since RFLAGS.IF is not in the state block. */
  IF_ELSEWHERE: 4096,
  /** MOV and POP to DS, ES, FS and GS. */
  SEGMENT: 8192,
  /** The other way round: PAUSE leaves, since another vCPU could go on or somebody asks. */
  PAUSE_LEAVES: 16384,
  SYSENTER: 32768,
  SYSEXIT: 65536,
  /** Page faults, to the guest's handler. */
  PAGE_FAULT: 131072,
  /** The other way round: RDTSC and RDTSCP leave. */
  TSC_LEAVES: 262144,
} as const;

const SIZES = { i32: 4, i64: 8, v128: 16 } as const;
let cursor = 0;

function slot(name: string, type: SlotType): Slot {
  const size = SIZES[type];
  cursor = (cursor + size - 1) & -size;
  const made = { name, offset: cursor, type };
  cursor += size;
  return made;
}

function slots(name: string, type: SlotType, count: number): readonly Slot[] {
  return Array.from({ length: count }, (_, i) => slot(`${name}${i}`, type));
}

/** General registers in encoding order; byte registers AH..BH are at offset + 1 of the first four. */
export const GPR = slots('r', 'i64', 16);
export const XMM = slots('xmm', 'v128', 16);
/** Always 0: stands in for a missing base or index register. */
export const ZERO = slot('zero', 'i64');
/** Virtual address of the page that the current record's code lies in (linear address, CS base included). */
export const PAGE_BASE = slot('pageBase', 'i64');
/** Valid whenever the engine is outside guest code (linear address less CS base). */
export const RIP = slot('rip', 'i64');

/**
 * The arithmetic flags, lazily: ZF is `FZ == 0`; SF is the sign of FS and PF the parity of its low
 * byte; FC holds CF in bit 31, CF ^ OF in bit 30 and AF in bit 3 (other bits are noise).
 */
export const FZ = slot('fz', 'i64');
export const FS = slot('fs', 'i64');
export const FC = slot('fc', 'i32');
/** RFLAGS without CF PF AF ZF SF OF; bit 1 is always set. */
export const EFLAGS_SYSTEM = slot('eflagsSystem', 'i32');

/** Segment bases in encoding order ES CS SS DS FS GS. In 64-bit mode all but FS and GS are kept 0. */
export const SEGMENT_BASE = slots('segmentBase', 'i64', 6);
/** Always 0, and right after the segment bases: the base of accesses without a segment (engine/record.ts, NO_SEGMENT). */
slot('noSegmentBase', 'i64');
export const SEGMENT_SELECTOR = slots('segmentSelector', 'i32', 6);
export const SEGMENT_LIMIT = slots('segmentLimit', 'i32', 6);
export const SEGMENT_ACCESS = slots('segmentAccess', 'i32', 6);
/**
 * What limit and access rights come to: offsets from the floor on, up to but not including the end, can be read or
 * written; an end of 0: none can.
 */
export const SEGMENT_FLOOR = slots('segmentFloor', 'i64', 6);
export const SEGMENT_READ_END = slots('segmentReadEnd', 'i64', 6);
export const SEGMENT_WRITE_END = slots('segmentWriteEnd', 'i64', 6);
/** The same by name, for IR. */
export const SEGMENT_BOUNDS = { floor: SEGMENT_FLOOR, read: SEGMENT_READ_END, write: SEGMENT_WRITE_END } as const;
export type SegmentBound = keyof typeof SEGMENT_BOUNDS;

export const CPL = slot('cpl', 'i32');
export const MXCSR = slot('mxcsr', 'i32');
export const CR0 = slot('cr0', 'i64');
export const CR2 = slot('cr2', 'i64');
export const CR3 = slot('cr3', 'i64');
/** PAE paging: the page-directory-pointer-table entries, loaded with CR3 (SDM vol. 3A, 4.4.1). */
export const PDPTE = slots('pdpte', 'i64', 4);
export const CR4 = slot('cr4', 'i64');
export const EFER = slot('efer', 'i64');
export const KERNEL_GS_BASE = slot('kernelGsBase', 'i64');
export const XCR0 = slot('xcr0', 'i64');
/** IA32_STAR, IA32_LSTAR, IA32_FMASK. */
export const STAR = slot('star', 'i64');
export const LSTAR = slot('lstar', 'i64');
export const FMASK = slot('fmask', 'i64');
/** IA32_SYSENTER_CS, IA32_SYSENTER_ESP, IA32_SYSENTER_EIP. */
export const SYSENTER_CS = slot('sysenterCs', 'i64');
export const SYSENTER_ESP = slot('sysenterEsp', 'i64');
export const SYSENTER_EIP = slot('sysenterEip', 'i64');
export const DR = slots('dr', 'i64', 8);

/** Start of the TLB bank in use (host address). */
export const TLB = slot('tlb', 'i32');
/** What the page walker needs: see memory/walk.ts. */
export const MMU_FLAGS = slot('mmuFlags', 'i32');
/**
 * MMU_FLAGS and TLB bank of the root in CR3 for each way to access memory in 64-bit mode: CPL 3, CPL 0, and CPL 0 with
 * RFLAGS.AC set. A bank of 0: not known, the change of level is TypeScript's.
 */
const level = (name: string) => ({ flags: slot(`${name}Flags`, 'i32'), bank: slot(`${name}Bank`, 'i32') });
export const LEVELS = { user: level('user'), kernel: level('kernel'), open: level('open') } as const;
export type Level = keyof typeof LEVELS;
/** Which system instructions generated code carries out by itself: bits of {@link Direct}. */
export const DIRECT = slot('direct', 'i32');
/** Not 0: an interrupt may be waiting for RFLAGS.IF. */
export const INTERRUPT_WAITS = slot('interruptWaits', 'i32');
/**
 * Two page-table roots between which generated code goes by itself, and the TLB bank of each for accesses as they are made
 * now; a bank of 0: not known.
 */
const root = (name: string) => ({ cr3: slot(`${name}Cr3`, 'i64'), bank: slot(`${name}RootBank`, 'i32') });
export const ROOTS = [root('first'), root('second')] as const;
/** Words of a plug-in's own, for the code that it has built (plugin-api, DirectCode). */
export const CELLS = slots('cell', 'i64', 32);
/** Number of the mode that code is decoded in (isa/modes.ts). */
export const CODE_MODE = slot('codeMode', 'i32');
/** Entry table of the code page at PAGE_BASE; valid when regions hand over to tier 0. */
export const ENTRY_TABLE = slot('entryTable', 'i32');
/** Instructions left before the engine must leave guest code; signed. */
export const BUDGET = slot('budget', 'i32');

/**
 * Of accesses of a small loop, by their place in it: the page that each was in last, as the TLB had it (engine/region/small-loops.ts).
 * Its address in the guest, how far from there it is on the host, and from which offset on in it there is no room for the access; 0:
 * there has been none.
 */
export const LAST_PAGES = Array.from({ length: 16 }, (_, i) => ({
  gva: slot(`lastPage${i}Gva`, 'i64'),
  end: slot(`lastPage${i}End`, 'i64'),
  distance: slot(`lastPage${i}Distance`, 'i32'),
}));
export type LastPageSlots = (typeof LAST_PAGES)[number];

/** For statistics: instructions executed in regions, how often one was entered, and TLB entries filled. */
export const REGION_INSTRUCTIONS = slot('regionInstructions', 'i64');
export const REGION_ENTRIES = slot('regionEntries', 'i64');
export const TLB_FILLS = slot('tlbFills', 'i64');

/** Exit kind (isa/instruction-exit.ts) or fault vector. */
export const EXIT_DETAIL = slot('exitDetail', 'i32');
export const FAULT_VECTOR = slot('faultVector', 'i32');
export const FAULT_ERROR_CODE = slot('faultErrorCode', 'i32');
export const FAULT_ADDRESS = slot('faultAddress', 'i64');
/** With SECOND_LEVEL_FAULT: the linear address that was being translated. */
export const FAULT_LINEAR = slot('faultLinear', 'i64');
/** Record at which the engine stopped (host address), 0 if none. */
export const EXIT_RECORD = slot('exitRecord', 'i32');

/** Arguments and results of helpers and instruction exits. */
export const ARG = slots('arg', 'i64', 6);
export const RESULT = slots('result', 'i64', 2);
export const VECTOR_SCRATCH = slots('vectorScratch', 'v128', 4);

/** x87: physical register file, 16 bytes apart (64-bit significand, 16-bit sign and exponent). */
export const X87 = slots('x87r', 'v128', 8);
export const X87_CONTROL = slot('x87Control', 'i32');
export const X87_STATUS = slot('x87Status', 'i32');
/** One bit per physical register: 1 = in use (the abridged tag of FXSAVE). */
export const X87_TAG = slot('x87Tag', 'i32');
export const X87_OPCODE = slot('x87Opcode', 'i32');
export const X87_IP = slot('x87Ip', 'i64');
export const X87_DP = slot('x87Dp', 'i64');
/** What x87 and SSE instructions raise by CR0 and CR4, 0 in the ordinary case: cpu/fpu-trap.ts. */
export const FPU_TRAP = slot('fpuTrap', 'i32');

/** Table registers as SGDT, SIDT, SLDT and STR store them. */
export const GDTR_BASE = slot('gdtrBase', 'i64');
export const GDTR_LIMIT = slot('gdtrLimit', 'i32');
export const IDTR_BASE = slot('idtrBase', 'i64');
export const IDTR_LIMIT = slot('idtrLimit', 'i32');
export const LDTR_SELECTOR = slot('ldtrSelector', 'i32');
export const TR_SELECTOR = slot('trSelector', 'i32');
/** Where the task-state segment is, and access rights in the form of SEGMENT_ACCESS. */
export const TR_BASE = slot('trBase', 'i64');
export const TR_LIMIT = slot('trLimit', 'i32');
export const TR_ACCESS = slot('trAccess', 'i32');
/** IA32_TSC_AUX, for RDTSCP. */
export const TSC_AUX = slot('tscAux', 'i32');

/** A GDT that a hypervisor keeps outside of the guest's memory (plugin-api, Vcpu.hiddenGdt), and its host address; 0: there is none. */
export const HIDDEN_GDT_AT = slot('hiddenGdtAt', 'i32');
export const HIDDEN_GDT = slots('hiddenGdt', 'i64', 32);

/** Size of one vCPU's state block, bytes. */
export const STATE_SIZE_BYTES = 4096;
if (cursor > STATE_SIZE_BYTES) throw new Error('vCPU state block is too small');
