/** EXITCODE of a #VMEXIT (AMD APM vol. 2, appendix C). */

/**
 * Exit codes by the manual's names less `VMEXIT_`. The first of a row stands for all: `CR0_READ + n`, `DR0_WRITE + n`,
 * `EXCP0 + vector`, `CR0_WRITE_TRAP + n`. Those below 0 are the 64-bit numbers that they are modulo 2^64.
 */
// biome-ignore format: a table
export const ExitCode = {
  CR0_READ: 0x000, CR0_WRITE: 0x010, DR0_READ: 0x020, DR0_WRITE: 0x030, EXCP0: 0x040,
  INTR: 0x060, NMI: 0x061, SMI: 0x062, INIT: 0x063, VINTR: 0x064, CR0_SEL_WRITE: 0x065,
  IDTR_READ: 0x066, GDTR_READ: 0x067, LDTR_READ: 0x068, TR_READ: 0x069,
  IDTR_WRITE: 0x06a, GDTR_WRITE: 0x06b, LDTR_WRITE: 0x06c, TR_WRITE: 0x06d,
  RDTSC: 0x06e, RDPMC: 0x06f, PUSHF: 0x070, POPF: 0x071, CPUID: 0x072, RSM: 0x073, IRET: 0x074, SWINT: 0x075,
  INVD: 0x076, PAUSE: 0x077, HLT: 0x078, INVLPG: 0x079, INVLPGA: 0x07a, IOIO: 0x07b, MSR: 0x07c,
  TASK_SWITCH: 0x07d, FERR_FREEZE: 0x07e, SHUTDOWN: 0x07f,
  VMRUN: 0x080, VMMCALL: 0x081, VMLOAD: 0x082, VMSAVE: 0x083, STGI: 0x084, CLGI: 0x085, SKINIT: 0x086,
  RDTSCP: 0x087, ICEBP: 0x088, WBINVD: 0x089, MONITOR: 0x08a, MWAIT: 0x08b, MWAIT_CONDITIONAL: 0x08c, XSETBV: 0x08d,
  RDPRU: 0x08e, EFER_WRITE_TRAP: 0x08f, CR0_WRITE_TRAP: 0x090,
  INVLPGB: 0x0a0, INVLPGB_ILLEGAL: 0x0a1, INVPCID: 0x0a2, MCOMMIT: 0x0a3, TLBSYNC: 0x0a4, BUSLOCK: 0x0a5,
  IDLE_HLT: 0x0a6,
  NPF: 0x400, AVIC_INCOMPLETE_IPI: 0x401, AVIC_NOACCEL: 0x402, VMGEXIT: 0x403,
  INVALID: -1, BUSY: -2, IDLE_REQUIRED: -3,
} as const;

const ROWS: readonly (readonly [first: number, count: number, name: (index: number) => string])[] = [
  [ExitCode.CR0_READ, 16, (cr) => `CR${cr}_READ`],
  [ExitCode.CR0_WRITE, 16, (cr) => `CR${cr}_WRITE`],
  [ExitCode.DR0_READ, 16, (dr) => `DR${dr}_READ`],
  [ExitCode.DR0_WRITE, 16, (dr) => `DR${dr}_WRITE`],
  [ExitCode.EXCP0, 32, (vector) => `EXCP${vector}`],
  [ExitCode.CR0_WRITE_TRAP, 16, (cr) => `CR${cr}_WRITE_TRAP`],
];
const NAMES: ReadonlyMap<number, string> = new Map([
  ...Object.entries(ExitCode).map(([name, code]) => [code, name] as const),
  ...ROWS.flatMap(([first, count, name]) =>
    Array.from({ length: count }, (_, index) => [first + index, name(index)] as const),
  ),
]);

/** Name of an exit code for traces and counters: `CR3_WRITE`, `EXCP14`, `NPF`; one that is not known in hexadecimal. */
export function exitName(code: number): string {
  return NAMES.get(code) ?? `0x${code.toString(16)}`;
}
