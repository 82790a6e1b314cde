/** VM entries and VM exits: the host's world, the guest's, and the ways between them (SDM vol. 3C, chapters 26 and 27). */
import type {
  DeliveredEvent,
  EventGate,
  Exit,
  ExitAnswer,
  ExitOf,
  GatedEvent,
  PhysicalEvent,
  Vcpu,
} from '@polyvisor/plugin-api';
import type { Surroundings } from '../assist.ts';
import { AddressSpaces } from './address-spaces.ts';
import { illegalControls } from './checks/controls.ts';
import { Activity, Interruptibility, illegalGuestState, PendingDebug, pdptesOf } from './checks/guest.ts';
import { illegalHostState } from './checks/host.ts';
import { type Controls, Cr0, Efer, type Entry, Rflags } from './checks/state.ts';
import { ExitControl, Pin, Primary, Secondary } from './controls.ts';
import { ExtendedPageTables, Violation } from './ept.ts';
import { eventOf, Interruption, InterruptionType, interruption, isOfInstruction, typeOf, vectoring } from './events.ts';
import { ENTRY_FAILURE, ExitReason, exitName, InstructionError } from './exit-reasons.ts';
import { bytesAtRip, isLongCode } from './guest-code.ts';
import { loadGuest, saveGuest } from './guest-state.ts';
import { loadHost } from './host-state.ts';
import { softwareInterruptOf } from './instruction-information.ts';
import { exceptionExit, mayExit, type Rules, type VmExit, vmExitOf } from './interception.ts';
import { loadMsrs, type MsrAccess, storeMsrs } from './msr-lists.ts';
import { CR0_FIXED0, CR4_VMXE } from './msrs.ts';
import { PreemptionTimer } from './preemption-timer.ts';
import { rulesOf } from './rules.ts';
import { hasTprShadow, TprShadow, virtualised } from './virtualised.ts';
import type { Vmcs } from './vmcs.ts';

const TASK_PRIORITY_REGISTER = 8;
const IA32_TSC = 0x10;
const VECTOR_DB = 1;
const VECTOR_NMI = 2;
const DEBUG_EXCEPTION = interruption(InterruptionType.HARDWARE_EXCEPTION, VECTOR_DB);
/** VMX-abort indicators (27.7). */
const Abort = { MSR_STORE: 1, MSR_LOAD: 4 } as const;

/** The guest that runs. */
interface RunningGuest {
  readonly vmcs: Vmcs;
  readonly rules: Rules;
  readonly tables: ExtendedPageTables | undefined;
  readonly tprShadow: TprShadow | undefined;
  readonly timer: PreemptionTimer | undefined;
  /** With virtual NMIs the host's own blocking is elsewhere. */
  readonly hostNmiBlocked: boolean;
  /** What the entry injects, and has not been followed by an instruction of the guest's yet. */
  injected: { readonly information: number; readonly instructionLength: number } | undefined;
  /** Where it goes on once HLT is over; it may be in HLT. */
  haltedAt: bigint | undefined;
}

/** Which world a vCPU is in. */
export class World {
  readonly #vcpu: Vcpu;
  readonly #surroundings: Surroundings;
  readonly #msrs: MsrAccess;
  /** As VM exit stores them: the time stamp is the host's. */
  readonly #stored: MsrAccess;
  readonly #spaces: AddressSpaces;
  #guest: RunningGuest | undefined;

  constructor(vcpu: Vcpu, surroundings: Surroundings, msrs: MsrAccess) {
    this.#vcpu = vcpu;
    this.#surroundings = surroundings;
    this.#msrs = msrs;
    this.#stored = { ...msrs, read: (index) => (index === IA32_TSC ? vcpu.tsc - this.#tscOffset : msrs.read(index)) };
    this.#spaces = new AddressSpaces(() => vcpu.flushTlb());
    this.limitControlRegisters(false);
  }

  /** VMXON and VMXOFF: what CR0 and CR4 may be, and from the former on who takes events. */
  limitControlRegisters(isInOperation: boolean): void {
    const ones = isInOperation ? { cr0Ones: CR0_FIXED0, cr4Ones: CR4_VMXE } : { cr0Ones: 0n, cr4Ones: 0n };
    this.#vcpu.controlRegisterLimits = { ...ones, cr4More: CR4_VMXE };
    if (isInOperation) this.#vcpu.eventGate ??= this.#gate;
  }

  // ---- events ----

  readonly #gate: EventGate = {
    lets: (event) => this.#lets(event),
    takes: (event) => this.#takes(event),
    window: () => this.#window(),
  };
  #lets(event: PhysicalEvent): boolean | undefined {
    const { pin = 0 } = this.#guest?.rules.controls ?? {};
    const bit = event === 'nmi' ? Pin.VIRTUAL_NMIS : Pin.EXTERNAL_INTERRUPT_EXITING;
    return pin & bit ? true : undefined;
  }
  #window(): 'open' | 'waits' | undefined {
    const guest = this.#guest;
    if (!guest) return undefined;
    if (guest.timer?.isOver) return 'open';
    const { primary } = guest.rules.controls;
    const wantsNmi = (primary & Primary.NMI_WINDOW_EXITING) !== 0;
    const wantsInterrupt = (primary & Primary.INTERRUPT_WINDOW_EXITING) !== 0;
    if (!wantsNmi && !wantsInterrupt) return undefined;
    const isOpen = (wantsNmi && !this.#vcpu.nmiBlocked) || (wantsInterrupt && (this.#vcpu.rflags & Rflags.IF) !== 0n);
    return isOpen ? 'open' : 'waits';
  }
  #takes(event: GatedEvent): boolean {
    const guest = this.#guest;
    if (!guest) return false;
    const { pin, primary, exit } = guest.rules.controls;
    if (event === 'window' && guest.timer?.isOver) {
      this.#vmexit({ reason: ExitReason.PREEMPTION_TIMER });
      return true;
    }
    if (event === 'window') {
      const isNmi = (primary & Primary.NMI_WINDOW_EXITING) !== 0 && !this.#vcpu.nmiBlocked;
      this.#vmexit({ reason: isNmi ? ExitReason.NMI_WINDOW : ExitReason.INTERRUPT_WINDOW });
      return true;
    }
    if (event === 'nmi' && pin & Pin.NMI_EXITING) {
      const interrupted = interruption(InterruptionType.NMI, VECTOR_NMI);
      this.#vmexit({ reason: ExitReason.EXCEPTION_OR_NMI, interruption: interrupted });
      this.#vcpu.acknowledgeNmi();
      return true;
    }
    if (event === 'interrupt' && pin & Pin.EXTERNAL_INTERRUPT_EXITING) {
      const vector = exit & ExitControl.ACKNOWLEDGE_INTERRUPT ? this.#vcpu.acknowledgeInterrupt() : undefined;
      const acknowledged =
        vector === undefined ? {} : { interruption: interruption(InterruptionType.EXTERNAL, vector) };
      this.#vmexit({ reason: ExitReason.EXTERNAL_INTERRUPT, ...acknowledged });
      return true;
    }
    guest.haltedAt = undefined;
    return false;
  }

  // ---- VM entry ----

  /** VMLAUNCH and VMRESUME, whose launch state has been looked at. An error number: VMfailValid. */
  enter(vmcs: Vmcs): number | undefined {
    const { memory, count } = this.#surroundings;
    const vcpu = this.#vcpu;
    const primary = vmcs.read('PROCESSOR_BASED_CONTROLS');
    const controls: Controls = {
      ...{ pin: vmcs.read('PIN_BASED_CONTROLS'), primary },
      secondary: primary & Primary.ACTIVATE_SECONDARY_CONTROLS ? vmcs.read('SECONDARY_CONTROLS') : 0,
      ...{ exit: vmcs.read('EXIT_CONTROLS'), entry: vmcs.read('ENTRY_CONTROLS') },
    };
    const isHostLong = (vcpu.efer & Efer.LMA) !== 0n;
    const entry: Entry = { vmcs, controls, memory, cr4Bits: vcpu.cr4Bits | CR4_VMXE, isHostLong };
    count('vmentry');
    const control = illegalControls(entry);
    if (control !== undefined) return this.#refuse(InstructionError.INVALID_CONTROLS, control);
    const hostState = illegalHostState(entry);
    if (hostState !== undefined) return this.#refuse(InstructionError.INVALID_HOST_STATE, hostState);
    const guestState = illegalGuestState(entry);
    if (guestState) {
      this.#surroundings.log('debug', `a VM entry fails for the guest's ${guestState.what}`);
      this.#failEntry(vmcs, controls, ExitReason.INVALID_GUEST_STATE, guestState.qualification);
      return undefined;
    }
    vmcs.isLaunched = true;
    this.#load(entry);
    return undefined;
  }
  #refuse(error: number, what: string): number {
    this.#surroundings.log('debug', `a VM entry is refused with error ${error} for ${what}`);
    return error;
  }

  #load(entry: Entry): void {
    const { vmcs, controls } = entry;
    const vcpu = this.#vcpu;
    const eptp = controls.secondary & Secondary.ENABLE_EPT ? vmcs.read64('EPT_POINTER') : undefined;
    const tables = eptp === undefined ? undefined : new ExtendedPageTables(this.#surroundings.memory, eptp);
    const rules = rulesOf(entry);
    const guest: RunningGuest = {
      ...{ vmcs, rules, tables, hostNmiBlocked: vcpu.nmiBlocked, injected: undefined, haltedAt: undefined },
      timer: this.#timerOf(entry),
      tprShadow: hasTprShadow(rules)
        ? new TprShadow(rules, Number(vmcs.read64('VIRTUAL_APIC_ADDRESS')), vmcs.read('TPR_THRESHOLD'))
        : undefined,
    };
    this.#guest = guest;
    const isUnrestricted = (controls.secondary & Secondary.UNRESTRICTED_GUEST) !== 0;
    const cr0Ones = isUnrestricted ? CR0_FIXED0 & ~(Cr0.PE | Cr0.PG) : CR0_FIXED0;
    vcpu.controlRegisterLimits = { cr0Ones, cr4Ones: CR4_VMXE, cr4More: CR4_VMXE };
    const vpid = controls.secondary & Secondary.ENABLE_VPID ? vmcs.read('VPID') : 0;
    loadGuest(vcpu, vmcs, controls, pdptesOf(entry), {
      addressSpace: this.#spaces.of(vpid, eptp),
      secondLevel: tables,
      tscOffset: controls.primary & Primary.USE_TSC_OFFSETTING ? vmcs.read64('TSC_OFFSET') : 0n,
      exit: (exit) => this.#exit(guest, exit),
      wants: (kind) => mayExit(kind, rules),
    });
    const failed = loadMsrs(
      this.#surroundings.memory,
      vmcs.read64('ENTRY_MSR_LOAD_ADDRESS'),
      vmcs.read('ENTRY_MSR_LOAD_COUNT'),
      this.#msrs,
    );
    if (failed !== undefined) {
      guest.timer?.stop();
      this.#guest = undefined;
      this.#failEntry(vmcs, controls, ExitReason.MSR_LOADING, BigInt(failed));
      return;
    }
    this.#begin(guest);
    vcpu.kick();
  }

  #timerOf({ vmcs, controls }: Entry): PreemptionTimer | undefined {
    if ((controls.pin & Pin.PREEMPTION_TIMER) === 0) return undefined;
    return new PreemptionTimer(this.#surroundings.clock, this.#vcpu, vmcs.read('PREEMPTION_TIMER'));
  }

  /** Events and the activity state that the guest begins with. */
  #begin(guest: RunningGuest): void {
    const { vmcs } = guest;
    const vcpu = this.#vcpu;
    const information = vmcs.read('ENTRY_INTERRUPTION_INFORMATION');
    if (information & Interruption.VALID) {
      this.#inject(guest, information);
      return;
    }
    if (this.#takesPendingDebug(guest)) return;
    if (vmcs.read('GUEST_ACTIVITY') !== Activity.HLT) return;
    guest.haltedAt = vcpu.rip;
    vcpu.blocked = true;
  }
  #inject(guest: RunningGuest, information: number): void {
    const vcpu = this.#vcpu;
    const isOfGuest = isOfInstruction(information);
    const instructionLength = isOfGuest ? guest.vmcs.read('ENTRY_INSTRUCTION_LENGTH') : 0;
    guest.injected = { information, instructionLength };
    const { vector, errorCode, source } = eventOf(information, guest.vmcs.read('ENTRY_EXCEPTION_ERROR_CODE'));
    if (isOfGuest) vcpu.rip += BigInt(instructionLength);
    vcpu.inject(vector, errorCode, source);
    if (source === 'nmi') vcpu.nmiBlocked = true;
    vcpu.interruptShadow = false;
    vcpu.debugShadow = false;
  }
  /** A trap that the guest has not seen yet; held back behind MOV SS. */
  #takesPendingDebug({ vmcs, rules }: RunningGuest): boolean {
    const vcpu = this.#vcpu;
    const pending = vmcs.read64('GUEST_PENDING_DEBUG');
    const isDue = (pending & (PendingDebug.BS | PendingDebug.ENABLED)) !== 0n;
    if (!isDue || vmcs.read('GUEST_INTERRUPTIBILITY') & Interruptibility.MOV_SS) return false;
    const conditions = pending & (PendingDebug.BS | PendingDebug.BREAKPOINTS);
    const exit = exceptionExit(VECTOR_DB, undefined, undefined, rules, vcpu);
    if (exit) {
      this.#vmexit({ ...exit, qualification: conditions }, undefined, 0, vcpu.debugRegister(6));
      return true;
    }
    vcpu.setDebugRegister(6, vcpu.debugRegister(6) | conditions);
    vcpu.inject(VECTOR_DB);
    return true;
  }

  /** The host goes on at its exit address, and of the VMCS nothing but the reason has changed (26.8). */
  #failEntry(vmcs: Vmcs, controls: Controls, reason: number, qualification: bigint): void {
    this.#surroundings.count(`vmexit.${exitName(reason)}`);
    vmcs.write('EXIT_REASON', ENTRY_FAILURE | reason);
    vmcs.write64('EXIT_QUALIFICATION', qualification);
    this.#return(vmcs, controls.exit);
  }

  get #tscOffset(): bigint {
    return this.#vcpu.assist?.tscOffset ?? 0n;
  }

  // ---- VM exit ----

  /** The first say in an exit of the guest. */
  #exit(guest: RunningGuest, exit: Exit): ExitAnswer {
    const vcpu = this.#vcpu;
    const vmExit = exit.kind === 'secondLevelFault' ? eptExit(guest, exit) : vmExitOf(exit, guest.rules, vcpu);
    const lengthBytes = 'instructionLength' in exit ? exit.instructionLength : 0;
    if (vmExit) {
      this.#vmexit(vmExit, 'during' in exit ? exit.during : undefined, lengthBytes);
      return 'handled';
    }
    if (exit.kind === 'hlt' && vcpu.cpl === 0) guest.haltedAt = vcpu.rip + BigInt(lengthBytes);
    const answer = virtualised(exit, guest.rules, vcpu, guest.tprShadow);
    if (
      answer === 'handled' &&
      exit.kind === 'writeCr' &&
      exit.cr === TASK_PRIORITY_REGISTER &&
      guest.tprShadow?.isBelowThreshold
    ) {
      vcpu.rip += BigInt(lengthBytes);
      this.#vmexit({ reason: ExitReason.TPR_BELOW_THRESHOLD });
    }
    return answer;
  }

  #vmexit(exit: VmExit, during?: DeliveredEvent, lengthBytes = 0, dr6 = this.#vcpu.latestDebug.dr6): void {
    const vcpu = this.#vcpu;
    const guest = this.#guest as RunningGuest;
    const { vmcs, rules } = guest;
    const { controls, memory } = rules;
    this.#surroundings.count(`vmexit.${exitName(exit.reason)}`);
    const isDebugTrap = exit.interruption === DEBUG_EXCEPTION;
    // A #DB that exits leaves DR6 alone (27.1).
    if (isDebugTrap) vcpu.setDebugRegister(6, dr6);
    this.#tellVectoring(guest, during ?? vcpu.takeInjected(), lengthBytes);
    vmcs.write('EXIT_REASON', exit.reason);
    vmcs.write64('EXIT_QUALIFICATION', exit.qualification ?? 0n);
    vmcs.write64('GUEST_LINEAR_ADDRESS', exit.linearAddress ?? 0n);
    vmcs.write64('GUEST_PHYSICAL_ADDRESS', exit.physicalAddress ?? 0n);
    vmcs.write('EXIT_INTERRUPTION_INFORMATION', exit.interruption ?? 0);
    vmcs.write('EXIT_INTERRUPTION_ERROR_CODE', exit.errorCode ?? 0);
    vmcs.write('EXIT_INSTRUCTION_INFORMATION', exit.information ?? 0);
    vmcs.write('ENTRY_INTERRUPTION_INFORMATION', vmcs.read('ENTRY_INTERRUPTION_INFORMATION') & ~Interruption.VALID);
    saveGuest(vcpu, vmcs, controls, { isHalted: guest.haltedAt === vcpu.rip, isBehind: isDebugTrap });
    const left = guest.timer?.stop();
    if (left !== undefined && controls.exit & ExitControl.SAVE_PREEMPTION_TIMER) vmcs.write('PREEMPTION_TIMER', left);
    const stored = storeMsrs(
      memory,
      vmcs.read64('EXIT_MSR_STORE_ADDRESS'),
      vmcs.read('EXIT_MSR_STORE_COUNT'),
      this.#stored,
    );
    if (controls.pin & Pin.VIRTUAL_NMIS) vcpu.nmiBlocked = guest.hostNmiBlocked;
    this.#guest = undefined;
    vcpu.blocked = false;
    if (stored) this.#return(vmcs, controls.exit);
    else this.#abort(vmcs, Abort.MSR_STORE);
  }

  /** IDT-vectoring information, and the length of the instruction that the exit or the event is of. */
  #tellVectoring(guest: RunningGuest, event: DeliveredEvent | undefined, lengthBytes: number): void {
    const { vmcs, injected } = guest;
    const vcpu = this.#vcpu;
    guest.injected = undefined;
    if (!event) {
      vmcs.write('IDT_VECTORING_INFORMATION', 0);
      vmcs.write('EXIT_INSTRUCTION_LENGTH', lengthBytes);
      return;
    }
    vmcs.write('IDT_VECTORING_ERROR_CODE', event.errorCode ?? 0);
    if (
      injected &&
      typeOf(injected.information) !== undefined &&
      (injected.information & Interruption.VECTOR_MASK) === event.vector
    ) {
      vmcs.write('IDT_VECTORING_INFORMATION', injected.information & ~Interruption.RESERVED);
      vmcs.write('EXIT_INSTRUCTION_LENGTH', injected.instructionLength);
      vcpu.rip -= BigInt(injected.instructionLength);
      if (event.source === 'nmi') vcpu.nmiBlocked = false;
      return;
    }
    const isOfGuest = event.source === 'softwareInterrupt';
    const instruction = isOfGuest ? softwareInterruptOf(bytesAtRip(vcpu), isLongCode(vcpu)) : undefined;
    vmcs.write('IDT_VECTORING_INFORMATION', vectoring(event, instruction?.opcode));
    vmcs.write('EXIT_INSTRUCTION_LENGTH', instruction?.lengthBytes ?? lengthBytes);
  }

  #return(vmcs: Vmcs, exitControls: number): void {
    const { memory } = this.#surroundings;
    loadHost(this.#vcpu, vmcs, exitControls);
    this.limitControlRegisters(true);
    const failed = loadMsrs(memory, vmcs.read64('EXIT_MSR_LOAD_ADDRESS'), vmcs.read('EXIT_MSR_LOAD_COUNT'), this.#msrs);
    if (failed !== undefined) this.#abort(vmcs, Abort.MSR_LOAD);
  }
  /** The processor stops until it is reset. */
  #abort(vmcs: Vmcs, why: number): void {
    vmcs.abort = why;
    this.#surroundings.log('error', `a VM exit cannot load or store its MSRs: VMX abort ${why}`);
    this.#vcpu.offline = true;
  }
}

function eptExit({ tables }: RunningGuest, { gpa, gva, access }: ExitOf<'secondLevelFault'>): VmExit {
  const physicalAddress = BigInt(gpa);
  const violation = tables?.violation;
  if (violation === undefined) return { reason: ExitReason.EPT_MISCONFIGURATION, physicalAddress };
  const isFinal = access !== 'table' && access !== 'tableWrite';
  const ofLinear = gva === undefined ? 0 : Violation.LINEAR_VALID | (isFinal ? Violation.FINAL : 0);
  return {
    ...{ reason: ExitReason.EPT_VIOLATION, physicalAddress, qualification: BigInt(violation | ofLinear) },
    ...(gva !== undefined && { linearAddress: gva }),
  };
}
