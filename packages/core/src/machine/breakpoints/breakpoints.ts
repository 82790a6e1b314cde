import { Flag } from '../../isa/flags.ts';
import type { MachineVcpu } from '../vcpu.ts';
import { DataAccesses } from './data-accesses.ts';
import {
  breakpointsEnabled,
  type DataAccess,
  Dr6,
  dataHits,
  instructionHits,
  portHits,
  reportInDr6,
  watchesData,
} from './debug-registers.ts';

const CS = 1;
const NO_ACCESSES: readonly DataAccess[] = [];

/** What is known of an instruction before it is carried out. */
export interface WatchedStep {
  readonly accesses: readonly DataAccess[];
  readonly resumeFlag: boolean;
}

/**
 * The breakpoints of DR0 to DR3 (SDM vol. 3B, 18.3.1). While DR7 enables one, the machine executes instruction by instruction and
 * asks here before and after each; otherwise nobody comes here.
 */
export class Breakpoints {
  readonly #dataAccesses = new DataAccesses();

  /**
   * An instruction breakpoint at RIP: a #DB of the fault kind is due, and DR6 says why. MOV SS and POP SS do not keep it back, which
   * they do on processors of Intel's alone (kvm-unit-tests, x86/emulator.c, test_mov_pop_ss_code_db); CPUID says AMD here. What
   * they do keep back is told with it.
   */
  stopsAt(vcpu: MachineVcpu): boolean {
    if (!breakpointsEnabled(vcpu) || vcpu.eflags & Flag.RF) return false;
    const bits = instructionHits(vcpu, BigInt.asUintN(64, vcpu.rip + vcpu.segment(CS).base));
    if (bits) reportInDr6(vcpu, bits | vcpu.heldTraps);
    if (bits) vcpu.heldTraps = 0;
    return bits !== 0;
  }

  /** Before an instruction; `undefined`: no breakpoint is enabled. */
  watch(vcpu: MachineVcpu): WatchedStep | undefined {
    if (!breakpointsEnabled(vcpu)) return undefined;
    const accesses = watchesData(vcpu) ? this.#dataAccesses.ofNextInstruction(vcpu) : NO_ACCESSES;
    return { accesses, resumeFlag: (vcpu.eflags & Flag.RF) !== 0 };
  }

  /**
   * After an instruction that has been carried out. True: a #DB of the trap kind is due, and DR6 says why.
   * @param port what IN or OUT reached
   * @param loadsFlags IRET: RF is what it has loaded
   */
  trapsAfter(
    vcpu: MachineVcpu,
    step: WatchedStep | undefined,
    after: { singleStep: boolean; port?: { number: number; sizeBytes: number }; loadsFlags: boolean },
  ): boolean {
    if (step?.resumeFlag && !after.loadsFlags) vcpu.eflags &= ~Flag.RF;
    let bits = vcpu.heldTraps;
    vcpu.heldTraps = 0;
    if (step) bits |= dataHits(vcpu, step.accesses);
    if (step && after.port) bits |= portHits(vcpu, after.port.number, after.port.sizeBytes);
    if (vcpu.debugShadow) {
      // Traps of MOV SS and POP SS wait for the end of the next instruction (18.3.1.3).
      vcpu.heldTraps = bits;
      return false;
    }
    if (after.singleStep) bits |= Dr6.BS;
    if (bits) reportInDr6(vcpu, bits);
    return bits !== 0;
  }

  /** An instruction ended in an exception: what was held for its end is lost. */
  abandon(vcpu: MachineVcpu): void {
    vcpu.heldTraps = 0;
  }
}
