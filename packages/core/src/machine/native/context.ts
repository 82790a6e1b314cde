import type { MachineVcpu } from '../vcpu.ts';
import type { NativeAnswer } from './answer.ts';
import type { CpuidAnswer } from './cpuid.ts';

/** What native instructions need of the machine. */
export interface NativeMachine {
  /** What this processor says of itself. */
  cpuid(vcpu: MachineVcpu, leaf: number, subleaf: number): CpuidAnswer;
  /** Port I/O of a device; reads of an empty port answer all ones. */
  portRead(port: number, sizeBytes: number): number;
  portWrite(port: number, sizeBytes: number, value: number): void;
}

export interface NativeContext {
  readonly vcpu: MachineVcpu;
  readonly machine: NativeMachine;
  readonly lengthBytes: number;
  /** Carry it out whatever the CPL: a plug-in asked for it. */
  readonly privileged: boolean;
}
/** Carries out one instruction. */
export type Native = (context: NativeContext) => NativeAnswer;

/** An ARG slot (isa/instruction-exit.ts says which holds what) as a number of 32 bits, and as it is. */
export const number = ({ vcpu }: NativeContext, index: number): number => vcpu.arg32(index);
export const value = ({ vcpu }: NativeContext, index: number): bigint => vcpu.arg(index);
/** RIP of the next instruction. */
export const after = ({ vcpu, lengthBytes }: NativeContext): bigint =>
  BigInt.asUintN(vcpu.engine.mode === 'long64' ? 64 : 32, vcpu.rip + BigInt(lengthBytes));

/** Write a general register as an instruction of this operand width does: 32 bits clear the upper half. */
export function writeGpr(vcpu: MachineVcpu, index: number, widthBits: number, result: bigint): void {
  const low = BigInt.asUintN(widthBits, result);
  vcpu.gpr[index] = widthBits >= 32 ? low : ((vcpu.gpr[index] >> BigInt(widthBits)) << BigInt(widthBits)) | low;
}
