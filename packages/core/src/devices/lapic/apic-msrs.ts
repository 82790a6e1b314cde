import type { LocalApic } from './local-apic.ts';
import { ApicBase, ICR_WRITABLE, LVT_FIRST, LVT_WRITABLE, Msr, Register, SVR_WRITABLE } from './spec.ts';

/** Delivery status and remote IRR: read-only bits that a write may carry. */
const LVT_STATUS = 0x5000;
const ICR_STATUS = 0x1000;

/** Bits of 31:0 that may be written; what is not in here raises #GP (SDM vol. 3A, table 10-6 and 10.12.1.3). */
const writable = new Map<number, number>([
  [Register.TPR, 0xff],
  [Register.EOI, 0],
  [Register.SVR, SVR_WRITABLE],
  [Register.ESR, 0],
  [Register.ICR_LOW, ICR_WRITABLE | ICR_STATUS],
  [Register.INITIAL_COUNT, 0xffff_ffff],
  [Register.DIVIDE, 0x0b],
  [Register.SELF_IPI, 0xff],
  ...LVT_WRITABLE.map((mask, index): [number, number] => [LVT_FIRST + index, mask | LVT_STATUS]),
]);
const unreadable = new Set<number>([
  Register.APR,
  Register.EOI,
  Register.RRD,
  Register.DFR,
  Register.ICR_HIGH,
  Register.SELF_IPI,
]);

interface ApicMsrOptions {
  /** CPUID.1:ECX[21]: without it IA32_APIC_BASE.EXTD is reserved. */
  readonly x2apic: boolean;
  /** MAXPHYADDR: address bits above it are reserved. */
  readonly physicalAddressBits: number;
  /** The register page may have moved, appeared or vanished: see {@link LocalApic.pageGpa}. */
  readonly baseChanged: () => void;
}

/** The local APIC's MSRs: IA32_APIC_BASE, IA32_TSC_DEADLINE, and 0x800–0x8FF in x2APIC mode. */
export class ApicMsrs {
  readonly #apic: LocalApic;
  readonly #options: ApicMsrOptions;

  constructor(apic: LocalApic, options: ApicMsrOptions) {
    this.#apic = apic;
    this.#options = options;
  }

  /** Whether the MSR is one of these. */
  has(msr: number): boolean {
    return msr === Msr.APIC_BASE || msr === Msr.TSC_DEADLINE || (msr >= Msr.X2APIC_FIRST && msr <= Msr.X2APIC_LAST);
  }

  /** RDMSR; `undefined`: #GP(0). */
  read(msr: number): bigint | undefined {
    const apic = this.#apic;
    if (msr === Msr.APIC_BASE) return wide(apic.base.low, apic.base.high);
    if (msr === Msr.TSC_DEADLINE) return wide(apic.timer.deadline.low, apic.timer.deadline.high);
    const register = msr - Msr.X2APIC_FIRST;
    if (!apic.x2apic || !isReadable(register)) return undefined;
    const high = register === Register.ICR_LOW ? apic.readRegister(Register.ICR_HIGH) : 0;
    return wide(apic.readRegister(register), high);
  }

  /**
   * WRMSR of EDX:EAX, unsigned halves.
   * @returns `false`: #GP(0)
   */
  write(msr: number, low: number, high: number): boolean {
    if (msr === Msr.APIC_BASE) return this.#writeBase(low, high);
    if (msr === Msr.TSC_DEADLINE) {
      this.#apic.timer.setDeadline(low, high);
      return true;
    }
    const apic = this.#apic;
    const register = msr - Msr.X2APIC_FIRST;
    const mask = writable.get(register);
    if (!apic.x2apic || mask === undefined || (low & ~mask) !== 0) return false;
    if (register === Register.ICR_LOW) apic.writeRegister(Register.ICR_HIGH, high);
    else if (high !== 0) return false;
    if (register === Register.SELF_IPI) apic.sendToSelf(low);
    else apic.writeRegister(register, low);
    return true;
  }

  /** Which changes of mode there are: SDM vol. 3A, figure 10-27 and table 10-5. */
  #writeBase(low: number, high: number): boolean {
    const { x2apic, physicalAddressBits, baseChanged } = this.#options;
    const reserved = ApicBase.RESERVED | (x2apic ? 0 : ApicBase.X2APIC);
    if (low & reserved || high >= 2 ** (physicalAddressBits - 32)) return false;
    const modes = ApicBase.ENABLED | ApicBase.X2APIC;
    const [from, to] = [this.#apic.base.low & modes, low & modes];
    if (to === ApicBase.X2APIC) return false;
    if (from === modes && to === ApicBase.ENABLED) return false;
    if (from === 0 && to === modes) return false;
    this.#apic.setBase(low, high);
    baseChanged();
    return true;
  }
}

const wide = (low: number, high: number) => (BigInt(high) << 32n) | BigInt(low);

function isReadable(register: number): boolean {
  if (unreadable.has(register)) return false;
  if (register >= Register.ISR && register <= Register.ESR) return true;
  return (
    writable.has(register) ||
    register === Register.ID ||
    register === Register.VERSION ||
    register === Register.PPR ||
    register === Register.LDR ||
    register === Register.CURRENT_COUNT
  );
}
