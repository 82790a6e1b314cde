/** VMX instructions in root operation and outside of VMX operation (SDM vol. 3C, chapter 30). */
import {
  type ExitAnswer,
  type ExitOf,
  SegmentIndex,
  type Vcpu,
  type VirtualizationInstruction,
} from '@polyvisor/plugin-api';
import type { Surroundings } from '../assist.ts';
import { isCanonical, isPage } from './checks/state.ts';
import { isLegalEptPointer } from './ept.ts';
import { InstructionError } from './exit-reasons.ts';
import { fieldAt } from './fields.ts';
import { codeSizeOf, instructionBytes, isLongCode, isLongMode, isProtected } from './guest-code.ts';
import { instructionInformation, segmentOf } from './instruction-information.ts';
import type { MsrAccess } from './msr-lists.ts';
import { CR0_FIXED0, CR4_VMXE } from './msrs.ts';
import { VMCS_REVISION, Vmcs } from './vmcs.ts';
import { World } from './world.ts';

const [VECTOR_UD, VECTOR_SS, VECTOR_GP, VECTOR_PF] = [6, 12, 13, 14];
const undefinedOpcode: ExitAnswer = { fault: VECTOR_UD };
const protection: ExitAnswer = { fault: VECTOR_GP, errorCode: 0 };
const stackFault: ExitAnswer = { fault: VECTOR_SS, errorCode: 0 };
/** CF, PF, AF, ZF, SF, OF. */
const Flags = { CF: 1, ZF: 1 << 6, ALL: 0x8d5, VM: 1 << 17 } as const;
const POINTER_BYTES = 8;
const DESCRIPTOR_BYTES = 16;
/** What VMPTRST stores where there is no current VMCS. */
const NO_VMCS = 0xffff_ffff_ffff_ffffn;
const LOW = 0xffff_ffffn;
const InveptType = { SINGLE: 1n, ALL: 2n } as const;
const InvvpidType = { ADDRESS: 0n, SINGLE: 1n, ALL: 2n, SINGLE_NON_GLOBAL: 3n } as const;
const VPID_MASK = 0xffffn;

/** What an instruction comes to: VMsucceed, VMfailInvalid, VMfail with an error number, or a fault. */
type Outcome = 'succeed' | 'failInvalid' | number | { readonly answer: ExitAnswer };

export class VmxInstructions {
  readonly #vcpu: Vcpu;
  readonly #surroundings: Surroundings;
  readonly #world: World;
  /** Physical address of the VMXON region; `undefined`: not in VMX operation. */
  #vmxon: bigint | undefined;
  #current: Vmcs | undefined;
  /** Of the instruction that is carried out. */
  #lengthBytes = 0;

  constructor(vcpu: Vcpu, surroundings: Surroundings, msrs: MsrAccess) {
    this.#vcpu = vcpu;
    this.#surroundings = surroundings;
    this.#world = new World(vcpu, surroundings, msrs);
  }

  /** VMCALL in root operation. */
  vmcall(): ExitAnswer {
    if (this.#vmxon === undefined) return 'pass';
    if (this.#vcpu.cpl !== 0) return protection;
    return this.#conclude(InstructionError.VMCALL_IN_ROOT);
  }

  execute(exit: ExitOf<'virtualization'>): ExitAnswer {
    const vcpu = this.#vcpu;
    const isLegalMode = isProtected(vcpu) && (vcpu.eflags & Flags.VM) === 0 && isLongMode(vcpu) === isLongCode(vcpu);
    const run = this.#runs[exit.instruction];
    const isOn = exit.instruction === 'vmxon' ? (vcpu.cr4 & CR4_VMXE) !== 0n : this.#vmxon !== undefined;
    if (!run || !isLegalMode || !isOn) return undefinedOpcode;
    if (vcpu.cpl !== 0) return protection;
    this.#lengthBytes = exit.instructionLength;
    return this.#conclude(run(exit));
  }

  #conclude(outcome: Outcome): ExitAnswer {
    if (typeof outcome === 'object') return outcome.answer;
    const vcpu = this.#vcpu;
    const flags = vcpu.eflags & ~Flags.ALL;
    if (outcome === 'succeed') vcpu.eflags = flags;
    else if (outcome === 'failInvalid' || !this.#current) vcpu.eflags = flags | Flags.CF;
    else {
      vcpu.eflags = flags | Flags.ZF;
      this.#current.write('INSTRUCTION_ERROR', outcome);
    }
    return 'handled';
  }

  readonly #runs: { readonly [K in VirtualizationInstruction]?: (exit: ExitOf<'virtualization'>) => Outcome } = {
    vmxon: ({ address }) => this.#enterOperation(address),
    vmxoff: () => this.#leaveOperation(),
    vmclear: ({ address }) => this.#withPointer(address, (gpa) => this.#clear(gpa)),
    vmptrld: ({ address }) => this.#withPointer(address, (gpa) => this.#select(gpa)),
    vmptrst: ({ address }) => this.#store(address, this.#current ? BigInt(this.#current.gpa) : NO_VMCS, POINTER_BYTES),
    vmread: (exit) => this.#readField(exit),
    vmwrite: (exit) => this.#writeField(exit),
    vmlaunch: () => this.#enter(false),
    vmresume: () => this.#enter(true),
    invept: (exit) => this.#invalidate(exit, isIllegalInvept),
    invvpid: (exit) => this.#invalidate(exit, isIllegalInvvpid),
  };

  // ---- VMX operation ----

  #enterOperation(address: bigint): Outcome {
    const vcpu = this.#vcpu;
    if (this.#vmxon !== undefined) return InstructionError.VMXON_IN_ROOT;
    if ((vcpu.cr0 & CR0_FIXED0) !== CR0_FIXED0) return { answer: protection };
    return this.#withPointer(address, (gpa) => {
      if (!isPage(gpa) || this.#vmcsAt(gpa)?.revision !== VMCS_REVISION) return 'failInvalid';
      this.#vmxon = gpa;
      this.#current = undefined;
      this.#world.limitControlRegisters(true);
      return 'succeed';
    });
  }
  #leaveOperation(): Outcome {
    this.#vmxon = undefined;
    this.#current = undefined;
    this.#world.limitControlRegisters(false);
    return 'succeed';
  }

  // ---- VMCS ----

  /** `undefined`: it lies beyond memory, where all reads as ones. */
  #vmcsAt(gpa: bigint): Vmcs | undefined {
    const { memory } = this.#surroundings;
    return gpa < BigInt(memory.sizeBytes) ? new Vmcs(memory, Number(gpa)) : undefined;
  }
  #clear(gpa: bigint): Outcome {
    if (!isPage(gpa)) return InstructionError.VMCLEAR_INVALID_ADDRESS;
    if (gpa === this.#vmxon) return InstructionError.VMCLEAR_VMXON_POINTER;
    const vmcs = this.#vmcsAt(gpa);
    if (vmcs) vmcs.isLaunched = false;
    if (this.#current && BigInt(this.#current.gpa) === gpa) this.#current = undefined;
    return 'succeed';
  }
  #select(gpa: bigint): Outcome {
    if (!isPage(gpa)) return InstructionError.VMPTRLD_INVALID_ADDRESS;
    if (gpa === this.#vmxon) return InstructionError.VMPTRLD_VMXON_POINTER;
    const vmcs = this.#vmcsAt(gpa);
    if (vmcs?.revision !== VMCS_REVISION) return InstructionError.VMPTRLD_REVISION;
    this.#current = vmcs;
    return 'succeed';
  }

  #fieldOf({ operands }: ExitOf<'virtualization'>) {
    const encoding = this.#vcpu.gpr[operands?.reg ?? 0];
    return fieldAt(operands?.sizeBytes === 8 ? encoding : encoding & LOW);
  }
  #readField(exit: ExitOf<'virtualization'>): Outcome {
    const { operands, address } = exit;
    if (!this.#current) return 'failInvalid';
    const field = this.#fieldOf(exit);
    if (!field) return InstructionError.UNSUPPORTED_FIELD;
    const sizeBytes = operands?.sizeBytes ?? 8;
    const value = BigInt.asUintN(sizeBytes * 8, this.#current.get(field));
    if (operands?.rm === undefined) return this.#store(address, value, sizeBytes);
    this.#vcpu.gpr[operands.rm] = value;
    return 'succeed';
  }
  #writeField(exit: ExitOf<'virtualization'>): Outcome {
    const { operands, address } = exit;
    if (!this.#current) return 'failInvalid';
    const sizeBytes = operands?.sizeBytes ?? 8;
    const loaded = operands?.rm === undefined ? this.#load(address, sizeBytes) : this.#vcpu.gpr[operands.rm];
    if (typeof loaded === 'object') return loaded;
    const field = this.#fieldOf(exit);
    if (!field) return InstructionError.UNSUPPORTED_FIELD;
    if (field.isReadOnly) return InstructionError.READ_ONLY_FIELD;
    this.#current.set(field, BigInt.asUintN(sizeBytes * 8, loaded), sizeBytes * 8);
    return 'succeed';
  }

  #enter(isResume: boolean): Outcome {
    const vmcs = this.#current;
    if (!vmcs) return 'failInvalid';
    if (this.#vcpu.instructionShadow === 'stackSegment') return InstructionError.BLOCKED_BY_MOV_SS;
    if (vmcs.isLaunched !== isResume) {
      return isResume ? InstructionError.VMRESUME_NOT_LAUNCHED : InstructionError.VMLAUNCH_NOT_CLEAR;
    }
    return this.#world.enter(vmcs) ?? { answer: 'handled' };
  }

  #invalidate(
    { instruction, address, operands }: ExitOf<'virtualization'>,
    isIllegal: typeof isIllegalInvept,
  ): Outcome {
    const register = this.#vcpu.gpr[operands?.reg ?? 0];
    const type = operands?.sizeBytes === 8 ? register : register & LOW;
    const loaded = this.#load(address, DESCRIPTOR_BYTES);
    if (typeof loaded === 'object') return loaded;
    if (isIllegal(type, BigInt.asUintN(64, loaded), loaded >> 64n)) return InstructionError.INVALID_OPERAND;
    // More is dropped than is asked for: of all guests, and of a page in each.
    const isOfPage = instruction === 'invvpid' && type === InvvpidType.ADDRESS;
    this.#vcpu.flushTlb(isOfPage ? loaded >> 64n : undefined);
    return 'succeed';
  }

  // ---- operands in memory ----

  #withPointer(address: bigint, use: (gpa: bigint) => Outcome): Outcome {
    const loaded = this.#load(address, POINTER_BYTES);
    return typeof loaded === 'object' ? loaded : use(loaded);
  }
  /** NOT IMPLEMENTED: limits of segments, and their rights, outside of 64-bit mode. */
  #load(address: bigint, sizeBytes: number): bigint | { readonly answer: ExitAnswer } {
    if (!isCanonical(address)) return { answer: this.#beyondSegment() };
    const found = this.#vcpu.read(address, sizeBytes);
    if (!found.ok) return { answer: { fault: VECTOR_PF, errorCode: found.fault.errorCode, cr2: found.fault.gva } };
    return found.bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
  }
  /** #SS for what the stack segment is used for, else #GP. */
  #beyondSegment(): ExitAnswer {
    const vcpu = this.#vcpu;
    const { information } = instructionInformation(instructionBytes(vcpu, this.#lengthBytes), codeSizeOf(vcpu), 0n);
    return segmentOf(information) === SegmentIndex.SS ? stackFault : protection;
  }
  #store(address: bigint, value: bigint, sizeBytes: number): Outcome {
    if (!isCanonical(address)) return { answer: this.#beyondSegment() };
    const bytes = Uint8Array.from({ length: sizeBytes }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
    const written = this.#vcpu.write(address, bytes);
    if (written.ok) return 'succeed';
    return { answer: { fault: VECTOR_PF, errorCode: written.fault.errorCode, cr2: written.fault.gva } };
  }
}

const isIllegalInvept = (type: bigint, eptp: bigint, reserved: bigint): boolean => {
  if (type !== InveptType.SINGLE && type !== InveptType.ALL) return true;
  return reserved !== 0n || (type === InveptType.SINGLE && !isLegalEptPointer(eptp));
};
const isIllegalInvvpid = (type: bigint, vpid: bigint, address: bigint): boolean => {
  if (type > InvvpidType.SINGLE_NON_GLOBAL || (vpid & ~VPID_MASK) !== 0n) return true;
  if (type !== InvvpidType.ALL && vpid === 0n) return true;
  return type === InvvpidType.ADDRESS && !isCanonical(address);
};
