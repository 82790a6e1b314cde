/** Instructions of the guest that do not exit, and do something else than natively (SDM vol. 3C, 25.3; 29.3 for the TPR shadow). */
import type { Exit, ExitAnswer, ExitOf, Vcpu } from '@polyvisor/plugin-api';
import { VIRTUAL_TPR_OFFSET } from './checks/controls.ts';
import { Primary, Secondary } from './controls.ts';
import { type Rules, writtenValue } from './interception.ts';

const [VECTOR_UD, VECTOR_GP] = [6, 13];
const undefinedOpcode: ExitAnswer = { fault: VECTOR_UD };
const protection: ExitAnswer = { fault: VECTOR_GP, errorCode: 0 };
const TS = 8n;
/** PE can be set and not cleared by LMSW; MP, EM and TS can be either. */
const Lmsw = { PE: 1n, OTHERS: 0xen } as const;
const CLASS_SHIFT = 4;
const HIGHEST_PRIORITY = 0xfn;

const done = (isLegal: boolean): ExitAnswer => (isLegal ? 'handled' : protection);
/** The guest's own bits as it writes them, the host's as they are. */
const merged = (real: bigint, value: bigint, mask: bigint): bigint => (real & mask) | (value & ~mask);

/** The virtual task-priority register. */
export class TprShadow {
  readonly #rules: Rules;
  /** Of VTPR. */
  readonly #gpa: number;
  readonly #threshold: number;

  constructor(rules: Rules, virtualApicAddress: number, threshold: number) {
    this.#rules = rules;
    this.#gpa = virtualApicAddress + VIRTUAL_TPR_OFFSET;
    this.#threshold = threshold;
  }
  get priority(): number {
    return this.#rules.memory.read8(this.#gpa) >> CLASS_SHIFT;
  }
  set priority(priority: number) {
    this.#rules.memory.write32(this.#gpa, priority << CLASS_SHIFT);
  }
  /** Behind an instruction that has written it, the guest exits. */
  get isBelowThreshold(): boolean {
    return this.priority < this.#threshold;
  }
}

function writeCr({ cr, gpr }: ExitOf<'writeCr'>, rules: Rules, vcpu: Vcpu, shadow: TprShadow | undefined): ExitAnswer {
  const value = writtenValue(vcpu, gpr);
  if (cr === 8 && shadow) {
    if (value > HIGHEST_PRIORITY) return protection;
    shadow.priority = Number(value);
    return 'handled';
  }
  if (cr !== 0 && cr !== 4) return 'pass';
  const { mask } = cr === 0 ? rules.cr0 : rules.cr4;
  if (mask === 0n) return 'pass';
  return done(vcpu.writeControlRegister(cr, merged(cr === 0 ? vcpu.cr0 : vcpu.cr4, value, mask)));
}

function readCr({ cr, gpr }: ExitOf<'readCr'>, rules: Rules, vcpu: Vcpu, shadow: TprShadow | undefined): ExitAnswer {
  if (cr === 8 && shadow) {
    vcpu.gpr[gpr] = BigInt(shadow.priority);
    return 'handled';
  }
  if (cr !== 0 && cr !== 4) return 'pass';
  const seen = cr === 0 ? rules.cr0 : rules.cr4;
  vcpu.gpr[gpr] = merged(seen.shadow, cr === 0 ? vcpu.cr0 : vcpu.cr4, seen.mask);
  return 'handled';
}

function lmsw({ value }: ExitOf<'lmsw'>, { cr0 }: Rules, vcpu: Vcpu): ExitAnswer {
  const source = BigInt(value);
  const wanted = (vcpu.cr0 & ~Lmsw.OTHERS) | (source & (Lmsw.PE | Lmsw.OTHERS));
  return done(vcpu.writeControlRegister(0, merged(vcpu.cr0, wanted, cr0.mask)));
}

/** What is done instead of what the processor does natively; `pass`: nothing. The exit has been found to be no VM exit. */
export function virtualised(exit: Exit, rules: Rules, vcpu: Vcpu, shadow: TprShadow | undefined): ExitAnswer {
  const { secondary } = rules.controls;
  switch (exit.kind) {
    case 'rdtsc':
      return exit.withProcessor && (secondary & Secondary.ENABLE_RDTSCP) === 0 ? undefinedOpcode : 'pass';
    case 'invpcid':
      return (secondary & Secondary.ENABLE_INVPCID) === 0 ? undefinedOpcode : 'pass';
    case 'readCr':
      return vcpu.cpl === 0 ? readCr(exit, rules, vcpu, shadow) : 'pass';
    case 'writeCr':
      return vcpu.cpl === 0 ? writeCr(exit, rules, vcpu, shadow) : 'pass';
    case 'clts':
      return vcpu.cpl === 0 && (rules.cr0.mask & TS) !== 0n ? 'handled' : 'pass';
    case 'lmsw':
      return vcpu.cpl === 0 && rules.cr0.mask !== 0n ? lmsw(exit, rules, vcpu) : 'pass';
    default:
      return 'pass';
  }
}

export const hasTprShadow = ({ controls }: Rules): boolean => (controls.primary & Primary.USE_TPR_SHADOW) !== 0;
