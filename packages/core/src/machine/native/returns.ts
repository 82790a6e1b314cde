/** IRET and RET far. */
import type { Segment } from '@polyvisor/plugin-api';
import { Flag } from '../../isa/flags.ts';
import { AccessRights } from '../cpu-mode.ts';
import type { MachineVcpu } from '../vcpu.ts';
import { memoryFault, type NativeFault, protection, Vector } from './answer.ts';
import { errorCodeOf, isBeyondLimit, isFault, isNull, readCodeSegment, readStackSegment } from './descriptors.ts';
import { mergeFlags } from './flags.ts';
import { hasDescriptors, isLongMode } from './mode.ts';
import { farReturnReal, interruptReturnReal } from './real-mode.ts';
import { dropInnerSegments, loadCodeSegment, nullSegment, virtual8086Segment } from './segments.ts';
import { above, currentStack, peek, type Stack, setStackPointer } from './stack.ts';
import { switchTask } from './task-switch.ts';

const RSP = 4;
const SS = 2;
const { L } = AccessRights;
const isCanonical = (address: bigint) => BigInt.asIntN(48, address) === BigInt.asIntN(64, address);
const selectorOf = (value: bigint) => Number(value & 0xffffn);

/** IRET (SDM vol. 2A). `nextRip`: where the task that is left goes on, if it is a return from a task. */
export function interruptReturn(vcpu: MachineVcpu, widthBits: number, nextRip: bigint): NativeFault | undefined {
  if (!hasDescriptors(vcpu)) return interruptReturnReal(vcpu, widthBits);
  const bytes = widthBits / 8;
  const long = vcpu.engine.mode === 'long64';
  if (vcpu.rflags & BigInt(Flag.NT)) return isLongMode(vcpu) ? protection(0) : returnFromTask(vcpu, nextRip);
  const stack = currentStack(vcpu);
  // In 64-bit mode the stack is always part of the frame.
  const frame = peek(vcpu, stack, bytes, long ? 5 : 3);
  if (isFault(frame)) return frame;
  const [rip, cs, image] = frame;
  if (!isLongMode(vcpu) && widthBits === 32 && image & BigInt(Flag.VM) && vcpu.cpl === 0)
    return returnToVirtual8086(vcpu, stack);
  const target = returnTarget(vcpu, selectorOf(cs), rip);
  if (isFault(target)) return target;
  const outward = (target.selector & 3) > vcpu.cpl;
  const previous = vcpu.cpl;
  const fault =
    long || outward
      ? returnOnStack(vcpu, stack, target, rip, bytes * 3, bytes, 0)
      : returnOnSameStack(vcpu, stack, target, rip, bytes * 3);
  if (fault) return fault;
  vcpu.rflags = mergeFlags(vcpu.rflags, image, previous, widthBits);
  if (outward) dropInnerSegments(vcpu);
  return undefined;
}

/** RET far (SDM vol. 2B, RET). */
export function farReturn(vcpu: MachineVcpu, widthBits: number, releaseBytes: number): NativeFault | undefined {
  if (!hasDescriptors(vcpu)) return farReturnReal(vcpu, widthBits, releaseBytes);
  const bytes = widthBits / 8;
  const stack = currentStack(vcpu);
  const frame = peek(vcpu, stack, bytes, 2);
  if (isFault(frame)) return frame;
  const [rip, cs] = frame;
  const target = returnTarget(vcpu, selectorOf(cs), rip);
  if (isFault(target)) return target;
  const popped = bytes * 2 + releaseBytes;
  if ((target.selector & 3) === vcpu.cpl) return returnOnSameStack(vcpu, stack, target, rip, popped);
  const fault = returnOnStack(vcpu, stack, target, rip, popped, bytes, releaseBytes);
  if (!fault) dropInnerSegments(vcpu);
  return fault;
}

/** The code segment that a return leads to: never inward. */
function returnTarget(vcpu: MachineVcpu, selector: number, rip: bigint): Segment | NativeFault {
  if (isNull(selector)) return protection(0);
  if ((selector & 3) < vcpu.cpl) return protection(errorCodeOf(selector));
  const segment = readCodeSegment(vcpu, selector, vcpu.cpl, true);
  if (isFault(segment)) return segment;
  return isBeyondLimit(vcpu, segment, rip) ? protection(0) : segment;
}

function returnOnSameStack(
  vcpu: MachineVcpu,
  stack: Stack,
  target: Segment,
  rip: bigint,
  popped: number,
): NativeFault | undefined {
  if (isLongMode(vcpu) && !isCanonical(rip)) return protection(0);
  loadCodeSegment(vcpu, target, vcpu.cpl);
  setStackPointer(vcpu, stack, above(stack, popped));
  vcpu.rip = rip;
  return undefined;
}

/** The frame goes on with rSP and SS, `skip` bytes up; the outer stack is released of parameters too. */
function returnOnStack(
  vcpu: MachineVcpu,
  stack: Stack,
  target: Segment,
  rip: bigint,
  skip: number,
  bytes: number,
  releaseBytes: number,
): NativeFault | undefined {
  const outer = peek(vcpu, stack, bytes, 2, skip);
  if (isFault(outer)) return outer;
  const [rsp, ss] = outer;
  const level = target.selector & 3;
  const segment = returnStack(vcpu, selectorOf(ss), target, level);
  if (isFault(segment)) return segment;
  if (isLongMode(vcpu) && !isCanonical(rip)) return protection(0);
  loadCodeSegment(vcpu, target, level);
  vcpu.setSegment(SS, segment);
  const { pointerBits } = currentStack(vcpu);
  setStackPointer(vcpu, { pointerBits }, BigInt.asUintN(64, rsp + BigInt(releaseBytes)));
  vcpu.rip = rip;
  return undefined;
}

/** SS for a return to code segment `code` at level `cpl`; null is allowed in 64-bit mode below level 3. */
function returnStack(vcpu: MachineVcpu, selector: number, code: Segment, cpl: number): Segment | NativeFault {
  if (!isNull(selector)) return readStackSegment(vcpu, selector, cpl, { vector: Vector.GP });
  if (!isLongMode(vcpu) || !(code.accessRights & L) || cpl === 3 || (selector & 3) !== cpl) return protection(0);
  return nullSegment(selector);
}

/** NT: back to the task that this one is nested in (SDM vol. 3A, 8.4). */
function returnFromTask(vcpu: MachineVcpu, nextRip: bigint): NativeFault | undefined {
  const { tr } = vcpu.tables;
  const found = vcpu.read(tr.base, 2, { as: 'supervisor' });
  if (!found.ok) return memoryFault(found.fault);
  return switchTask(vcpu, new DataView(found.bytes.buffer).getUint16(0, true), 'return', nextRip);
}

/** SDM vol. 3B, 20.2.6. */
function returnToVirtual8086(vcpu: MachineVcpu, stack: Stack): NativeFault | undefined {
  const frame = peek(vcpu, stack, 4, 9);
  if (isFault(frame)) return frame;
  const [eip, cs, image, esp, ss, es, ds, fs, gs] = frame;
  if (eip > 0xffffn) return protection(0);
  vcpu.rflags = image & 0x3e7fd7n;
  [es, cs, ss, ds, fs, gs].forEach((value, register) => {
    vcpu.setSegment(register, virtual8086Segment(selectorOf(value)));
  });
  vcpu.gpr[RSP] = esp;
  vcpu.rip = eip;
  vcpu.cpl = 3;
  return undefined;
}
