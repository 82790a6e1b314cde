import type { BlockBackend, GuestMemory } from '@polyvisor/plugin-api';
import type { MemoryMap } from '../../loader/boot/memory-map.ts';
import type { MachineVcpu } from '../vcpu.ts';

const SS = 2;
const RSP = 4;
/** Where an interrupt in real-address mode pushed FLAGS, above IP and CS. */
const FLAGS_OFFSET = 4;

/** A register by its number. */
export const Register = { AX: 0, CX: 1, DX: 2, BX: 3, SI: 6, DI: 7 } as const;
type RegisterIndex = (typeof Register)[keyof typeof Register];

/** One call of a BIOS service: the caller's registers in 16-bit code, and the flags that it gets back. */
export class BiosCall {
  readonly vcpu: MachineVcpu;

  constructor(vcpu: MachineVcpu) {
    this.vcpu = vcpu;
  }

  dword(register: RegisterIndex): number {
    return this.vcpu.gprHalves[register * 2] >>> 0;
  }
  setDword(register: RegisterIndex, value: number): void {
    this.vcpu.gprHalves[register * 2] = value;
  }
  word(register: RegisterIndex): number {
    return this.dword(register) & 0xffff;
  }
  setWord(register: RegisterIndex, value: number): void {
    this.setDword(register, (this.dword(register) & 0xffff0000) | (value & 0xffff));
  }
  low(register: RegisterIndex): number {
    return this.dword(register) & 0xff;
  }
  setLow(register: RegisterIndex, value: number): void {
    this.setWord(register, (this.word(register) & 0xff00) | (value & 0xff));
  }
  high(register: RegisterIndex): number {
    return this.word(register) >> 8;
  }
  setHigh(register: RegisterIndex, value: number): void {
    this.setWord(register, ((value & 0xff) << 8) | this.low(register));
  }

  /** A flag in the image that IRET will load. Where that cannot be reached, the caller has no stack, and is not told. */
  setFlag(flag: number, on: boolean): void {
    const { vcpu } = this;
    const at = vcpu.segment(SS).base + BigInt.asUintN(16, vcpu.gpr[RSP] + BigInt(FLAGS_OFFSET));
    const found = vcpu.read(at, 2);
    if (!found.ok) return;
    const view = new DataView(found.bytes.buffer);
    const flags = view.getUint16(0, true);
    view.setUint16(0, on ? flags | flag : flags & ~flag, true);
    vcpu.write(at, found.bytes);
  }
}

/** What the services reach of the machine. */
export interface BiosHost {
  readonly memory: GuestMemory;
  readonly memoryMap: MemoryMap;
  /** Those that have numbers, from 80h on. */
  readonly disks: readonly BlockBackend[];
  portRead(port: number, sizeBytes: number): number;
  portWrite(port: number, sizeBytes: number, value: number): void;
  /** A byte for the operator. */
  print(byte: number): void;
}

/** `wait`: nothing is there yet; the caller waits for an interrupt, and asks again. */
export type ServiceAnswer = 'wait' | undefined;
