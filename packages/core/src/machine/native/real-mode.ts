/** Interrupts and far transfers of real-address mode (SDM vol. 3B, 20.1), the transfers of virtual-8086 mode too. */
import { Flag } from '../../isa/flags.ts';
import type { MachineVcpu } from '../vcpu.ts';
import { memoryFault, type NativeFault, protection } from './answer.ts';
import { isFault } from './descriptors.ts';
import { mergeFlags } from './flags.ts';
import { iopl, isVirtual8086 } from './mode.ts';
import { paragraphSegment } from './segments.ts';
import { above, currentStack, peek, push, setStackPointer } from './stack.ts';

const CS = 1;
const VECTOR_BYTES = 4;

const flag = (bits: number) => BigInt(bits);

/** Through the interrupt vector table; error codes are not pushed. */
export function deliverReal(vcpu: MachineVcpu, { vector }: { readonly vector: number }): NativeFault | undefined {
  const { base, limit } = vcpu.tables.idtr;
  if (vector * VECTOR_BYTES + VECTOR_BYTES - 1 > limit) return protection(vector * 8 + 2);
  const entry = vcpu.read(base + BigInt(vector * VECTOR_BYTES), VECTOR_BYTES);
  if (!entry.ok) return memoryFault(entry.fault);
  const view = new DataView(entry.bytes.buffer);
  const stack = currentStack(vcpu);
  const pointer = push(vcpu, stack, 2, [vcpu.rflags, BigInt(vcpu.segment(CS).selector), vcpu.rip]);
  if (typeof pointer === 'object') return pointer;
  setStackPointer(vcpu, stack, pointer);
  loadCode(vcpu, view.getUint16(2, true));
  vcpu.rip = BigInt(view.getUint16(0, true));
  vcpu.rflags &= ~flag(Flag.IF | Flag.TF | Flag.RF | Flag.AC);
  return undefined;
}

function loadCode(vcpu: MachineVcpu, selector: number): void {
  vcpu.setSegment(CS, paragraphSegment(vcpu, CS, selector));
}
/** #GP(0) if an offset lies outside the code segment that a transfer leads to: the limit stays. */
const outsideCode = (vcpu: MachineVcpu, rip: bigint): boolean => rip > BigInt(vcpu.segment(CS).limit);

/** IRET. */
export function interruptReturnReal(vcpu: MachineVcpu, widthBits: number): NativeFault | undefined {
  if (isVirtual8086(vcpu) && iopl(vcpu) < 3) return protection(0);
  const bytes = widthBits / 8;
  const stack = currentStack(vcpu);
  const frame = peek(vcpu, stack, bytes, 3);
  if (isFault(frame)) return frame;
  const [rip, cs, image] = frame;
  if (outsideCode(vcpu, rip)) return protection(0);
  setStackPointer(vcpu, stack, above(stack, 3 * bytes));
  loadCode(vcpu, Number(cs & 0xffffn));
  vcpu.rip = rip;
  const kept = flag(Flag.VIF | Flag.VIP);
  const old = vcpu.rflags;
  vcpu.rflags = (mergeFlags(old, image, vcpu.cpl, widthBits) & ~kept) | (old & kept);
  return undefined;
}

/** RET far. */
export function farReturnReal(vcpu: MachineVcpu, widthBits: number, releaseBytes: number): NativeFault | undefined {
  const bytes = widthBits / 8;
  const stack = currentStack(vcpu);
  const frame = peek(vcpu, stack, bytes, 2);
  if (isFault(frame)) return frame;
  const [rip, cs] = frame;
  if (outsideCode(vcpu, rip)) return protection(0);
  setStackPointer(vcpu, stack, above(stack, 2 * bytes + releaseBytes));
  loadCode(vcpu, Number(cs & 0xffffn));
  vcpu.rip = rip;
  return undefined;
}

/** JMP far, and CALL far with the address to return to. */
export function farTransferReal(
  vcpu: MachineVcpu,
  selector: number,
  offset: bigint,
  widthBits: number,
  returnRip: bigint | undefined,
): NativeFault | undefined {
  if (outsideCode(vcpu, offset)) return protection(0);
  if (returnRip !== undefined) {
    const stack = currentStack(vcpu);
    const pointer = push(vcpu, stack, widthBits / 8, [BigInt(vcpu.segment(CS).selector), returnRip]);
    if (typeof pointer === 'object') return pointer;
    setStackPointer(vcpu, stack, pointer);
  }
  loadCode(vcpu, selector);
  vcpu.rip = offset;
  return undefined;
}
