/** Registers that a processor with SVM has beside the others (AMD APM vol. 2, 15.30). */
const PAGE_MASK = 0xfffn;
const PHYSICAL_ADDRESSES = 1n << 40n;

/** First and last of those that are answered here. */
export const SVM_MSRS = [[0xc0010114, 0xc0010118]] as const;
export const SvmMsr = {
  VM_CR: 0xc0010114,
  IGNNE: 0xc0010115,
  SMM_CTL: 0xc0010116,
  VM_HSAVE_PA: 0xc0010117,
  SVM_KEY: 0xc0010118,
} as const;

/** Bits of VM_CR: DPD, R_INIT and DIS_A20M are kept, and nothing follows from them. */
const VmCr = { KEPT: 7n, LOCK: 1n << 3n, SVMDIS: 1n << 4n } as const;

export class SvmRegisters {
  #vmCr = 0n;
  #hostSave = 0n;

  /** EFER.SVME cannot be set (15.4). */
  get isDisabled(): boolean {
    return (this.#vmCr & VmCr.SVMDIS) !== 0n;
  }

  /** `undefined`: #GP(0). */
  read(index: number): bigint | undefined {
    switch (index) {
      case SvmMsr.VM_CR:
        return this.#vmCr;
      case SvmMsr.VM_HSAVE_PA:
        return this.#hostSave;
      // They read as zero: there is no FERR, no SMM, and keys are not to be read.
      case SvmMsr.IGNNE:
      case SvmMsr.SVM_KEY:
        return 0n;
      default:
        return undefined;
    }
  }

  /** @param isEnabled EFER.SVME is set; `false`: #GP(0) */
  write(index: number, value: bigint, isEnabled: boolean): boolean {
    switch (index) {
      case SvmMsr.VM_CR:
        return this.#writeVmCr(value, isEnabled);
      case SvmMsr.VM_HSAVE_PA:
        if (value & PAGE_MASK || value >= PHYSICAL_ADDRESSES) return false;
        this.#hostSave = value;
        return true;
      case SvmMsr.IGNNE:
      case SvmMsr.SVM_KEY:
        return true;
      default:
        return false;
    }
  }

  #writeVmCr(value: bigint, isEnabled: boolean): boolean {
    if (value & ~(VmCr.KEPT | VmCr.LOCK | VmCr.SVMDIS)) return false;
    if (value & VmCr.SVMDIS && isEnabled) return false;
    const fixed = this.#vmCr & VmCr.LOCK ? VmCr.LOCK | VmCr.SVMDIS : 0n;
    this.#vmCr = (value & ~fixed) | (this.#vmCr & fixed);
    return true;
  }
}
