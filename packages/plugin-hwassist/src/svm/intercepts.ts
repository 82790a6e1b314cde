/** What a guest's VMCB intercepts (AMD APM vol. 2, 15.9 to 15.14; table B-1, offsets 000h to 014h). */
import type { Vmcb } from './vmcb.ts';

/**
 * Bits of intercept vectors 3, 4 and 5, as 32 * vector + bit. Counted so a bit has the number of its exit code (appendix C).
 * `CR0_WRITE_TRAP` is the first of 16.
 */
// biome-ignore format: a table
export const Intercept = {
  INTR: 0x60, NMI: 0x61, SMI: 0x62, INIT: 0x63, VINTR: 0x64, CR0_SEL_WRITE: 0x65,
  IDTR_READ: 0x66, GDTR_READ: 0x67, LDTR_READ: 0x68, TR_READ: 0x69,
  IDTR_WRITE: 0x6a, GDTR_WRITE: 0x6b, LDTR_WRITE: 0x6c, TR_WRITE: 0x6d,
  RDTSC: 0x6e, RDPMC: 0x6f, PUSHF: 0x70, POPF: 0x71, CPUID: 0x72, RSM: 0x73, IRET: 0x74, INTn: 0x75,
  INVD: 0x76, PAUSE: 0x77, HLT: 0x78, INVLPG: 0x79, INVLPGA: 0x7a, IOIO_PROT: 0x7b, MSR_PROT: 0x7c,
  TASK_SWITCH: 0x7d, FERR_FREEZE: 0x7e, SHUTDOWN: 0x7f,
  VMRUN: 0x80, VMMCALL: 0x81, VMLOAD: 0x82, VMSAVE: 0x83, STGI: 0x84, CLGI: 0x85, SKINIT: 0x86,
  RDTSCP: 0x87, ICEBP: 0x88, WBINVD: 0x89, MONITOR: 0x8a, MWAIT: 0x8b, MWAIT_ARMED: 0x8c, XSETBV: 0x8d,
  RDPRU: 0x8e, EFER_WRITE_TRAP: 0x8f, CR0_WRITE_TRAP: 0x90,
  INVLPGB: 0xa0, INVLPGB_ILLEGAL: 0xa1, INVPCID: 0xa2, MCOMMIT: 0xa3, TLBSYNC: 0xa4, BUSLOCK: 0xa5, IDLE_HLT: 0xa6,
} as const;
export type InterceptBit = (typeof Intercept)[keyof typeof Intercept];

/** The intercepts of one VMCB as they were when it was read; VMRUN reads them once (15.5.1). */
export class Intercepts {
  /** Reads in bits 15:0, writes in bits 31:16. */
  readonly #cr: number;
  readonly #dr: number;
  readonly #exceptions: number;
  readonly #vector3: number;
  readonly #vector4: number;
  readonly #vector5: number;

  constructor(vmcb: Vmcb) {
    this.#cr = vmcb.read('INTERCEPT_CR');
    this.#dr = vmcb.read('INTERCEPT_DR');
    this.#exceptions = vmcb.read('INTERCEPT_EXCEPTIONS');
    this.#vector3 = vmcb.read('INTERCEPT_VECTOR_3');
    this.#vector4 = vmcb.read('INTERCEPT_VECTOR_4');
    this.#vector5 = vmcb.read('INTERCEPT_VECTOR_5');
  }

  /** `cr`: 0 to 15. */
  readsCr(cr: number): boolean {
    return ((this.#cr >>> cr) & 1) !== 0;
  }
  writesCr(cr: number): boolean {
    return ((this.#cr >>> (16 + cr)) & 1) !== 0;
  }
  /** A write that has been done is told then (15.8.1: CR0 to CR15 write traps). */
  trapsCrWrite(cr: number): boolean {
    return ((this.#vector4 >>> (16 + cr)) & 1) !== 0;
  }
  /** `dr`: 0 to 15. */
  readsDr(dr: number): boolean {
    return ((this.#dr >>> dr) & 1) !== 0;
  }
  writesDr(dr: number): boolean {
    return ((this.#dr >>> (16 + dr)) & 1) !== 0;
  }
  /** Vectors 0 to 31; no other is an exception. */
  exception(vector: number): boolean {
    return vector < 32 && ((this.#exceptions >>> vector) & 1) !== 0;
  }
  has(intercept: InterceptBit): boolean {
    const vector = intercept < 0x80 ? this.#vector3 : intercept < 0xa0 ? this.#vector4 : this.#vector5;
    return ((vector >>> (intercept & 31)) & 1) !== 0;
  }
}

export const readIntercepts = (vmcb: Vmcb): Intercepts => new Intercepts(vmcb);
