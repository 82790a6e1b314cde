/** JMP and CALL far (SDM vol. 2A and 2B; vol. 3A, 5.8). */
import type { Segment } from '@polyvisor/plugin-api';
import { AccessRights } from '../cpu-mode.ts';
import type { MachineVcpu } from '../vcpu.ts';
import { type NativeFault, protection, Vector } from './answer.ts';
import {
  codeSegmentFault,
  type Descriptor,
  dplOf,
  errorCodeOf,
  isBeyondLimit,
  isFault,
  isNull,
  readDescriptor,
  readWords,
  SystemType,
  segmentFromWords,
} from './descriptors.ts';
import { hasDescriptors, isLongMode } from './mode.ts';
import { farTransferReal } from './real-mode.ts';
import { loadCodeSegment, nullSegment } from './segments.ts';
import { currentStack, innerStack, peek, push, type Stack, setStackPointer } from './stack.ts';
import { switchTask } from './task-switch.ts';
import { stackOfLevel, stackPointerAt } from './tss.ts';

const RSP = 4;
const CS = 1;
const SS = 2;
const { S, P, CODE, CONFORMING, L, DB } = AccessRights;
const TSS_RSP0 = 4;

/** RIP behind the instruction: what CALL pushes, and where a task that is left goes on. */
interface Origin {
  readonly call: boolean;
  readonly nextRip: bigint;
}

/** JMP and CALL far: to code, through a call gate, to a task. */
export function farTransfer(
  vcpu: MachineVcpu,
  selector: number,
  offset: bigint,
  widthBits: number,
  origin: Origin,
): NativeFault | undefined {
  if (!hasDescriptors(vcpu))
    return farTransferReal(vcpu, selector, offset, widthBits, origin.call ? origin.nextRip : undefined);
  if (isNull(selector)) return protection(0);
  const words = readWords(vcpu, selector);
  if (isFault(words)) return words;
  const segment = segmentFromWords(selector, words);
  if (!(segment.accessRights & S)) return throughSystemDescriptor(vcpu, segment, words, origin);
  const fault = codeSegmentFault(vcpu, segment, vcpu.cpl, false);
  if (fault) return fault;
  if (isBeyondLimit(vcpu, segment, offset)) return protection(0);
  return toSameLevel(vcpu, segment, offset, widthBits / 8, origin);
}

function toSameLevel(
  vcpu: MachineVcpu,
  segment: Segment,
  offset: bigint,
  bytes: number,
  origin: Origin,
): NativeFault | undefined {
  if (origin.call) {
    const stack = currentStack(vcpu);
    const pointer = push(vcpu, stack, bytes, [BigInt(vcpu.segment(CS).selector), origin.nextRip]);
    if (typeof pointer === 'object') return pointer;
    setStackPointer(vcpu, stack, pointer);
  }
  loadCodeSegment(vcpu, segment, vcpu.cpl);
  vcpu.rip = offset;
  return undefined;
}

function throughSystemDescriptor(
  vcpu: MachineVcpu,
  descriptor: Segment,
  words: Descriptor,
  origin: Origin,
): NativeFault | undefined {
  const { selector, accessRights } = descriptor;
  const code = errorCodeOf(selector);
  const type = accessRights & 15;
  const long = isLongMode(vcpu);
  const isCallGate = type === SystemType.CALL_GATE32 || (type === SystemType.CALL_GATE16 && !long);
  const isTask = !long && (type === SystemType.TSS16 || type === SystemType.TSS32 || type === SystemType.TASK_GATE);
  if (!isCallGate && !isTask) return protection(code);
  if (dplOf(descriptor) < Math.max(vcpu.cpl, selector & 3)) return protection(code);
  if (!(accessRights & P)) return { vector: Vector.NP, errorCode: code };
  if (isTask) {
    const tss = type === SystemType.TASK_GATE ? words.low >>> 16 : selector;
    return switchTask(vcpu, tss, origin.call ? 'call' : 'jump', origin.nextRip);
  }
  const gate = readCallGate(vcpu, selector, words);
  return isFault(gate) ? gate : throughCallGate(vcpu, gate, origin);
}

interface CallGate {
  readonly selector: number;
  readonly offset: bigint;
  readonly bytes: 2 | 4 | 8;
  readonly parameters: number;
}

/** In IA-32e mode a gate has 16 bytes and no parameters (SDM vol. 3A, 5.8.3.1). */
function readCallGate(vcpu: MachineVcpu, selector: number, { low, high }: Descriptor): CallGate | NativeFault {
  const target = low >>> 16;
  const parameters = high & 31;
  if (((high >>> 8) & 15) === SystemType.CALL_GATE16)
    return { selector: target, offset: BigInt(low & 0xffff), bytes: 2, parameters };
  const offset = BigInt(((low & 0xffff) | (high & 0xffff0000)) >>> 0);
  if (!isLongMode(vcpu)) return { selector: target, offset, bytes: 4, parameters };
  const second = readWords(vcpu, selector + 8);
  if (isFault(second)) return second;
  if (second.high & 0x1f00) return protection(errorCodeOf(selector));
  return { selector: target, offset: offset | (BigInt(second.low) << 32n), bytes: 8, parameters: 0 };
}

function throughCallGate(vcpu: MachineVcpu, gate: CallGate, origin: Origin): NativeFault | undefined {
  if (isNull(gate.selector)) return protection(0);
  const segment = readDescriptor(vcpu, gate.selector);
  if (isFault(segment)) return segment;
  const { accessRights } = segment;
  const code = errorCodeOf(gate.selector);
  const dpl = dplOf(segment);
  const conforming = (accessRights & CONFORMING) !== 0;
  if ((accessRights & (S | CODE)) !== (S | CODE) || dpl > vcpu.cpl) return protection(code);
  if (!origin.call && !conforming && dpl !== vcpu.cpl) return protection(code);
  if (isLongMode(vcpu) && (!(accessRights & L) || accessRights & DB)) return protection(code);
  if (!(accessRights & P)) return { vector: Vector.NP, errorCode: code };
  if (isBeyondLimit(vcpu, segment, gate.offset)) return protection(0);
  if (!origin.call || conforming || dpl === vcpu.cpl)
    return toSameLevel(vcpu, segment, gate.offset, gate.bytes, origin);
  return toInnerLevel(vcpu, gate, segment, dpl, origin.nextRip);
}

/** The stack of the inner level gets the outer one's pointer and the parameters that the gate counts. */
function toInnerLevel(
  vcpu: MachineVcpu,
  gate: CallGate,
  segment: Segment,
  level: number,
  returnRip: bigint,
): NativeFault | undefined {
  const outer = currentStack(vcpu);
  const parameters = peek(vcpu, outer, gate.bytes, gate.parameters);
  if (isFault(parameters)) return parameters;
  const inner = isLongMode(vcpu) ? longStack(vcpu, level) : legacyStack(vcpu, level);
  if (isFault(inner)) return inner;
  const pointer = push(vcpu, inner, gate.bytes, [
    BigInt(vcpu.segment(SS).selector),
    vcpu.gpr[RSP],
    ...parameters.reverse(),
    BigInt(vcpu.segment(CS).selector),
    returnRip,
  ]);
  if (typeof pointer === 'object') return pointer;
  loadCodeSegment(vcpu, segment, level);
  vcpu.setSegment(SS, inner.segment);
  setStackPointer(vcpu, inner, pointer);
  vcpu.rip = gate.offset;
  return undefined;
}

function legacyStack(vcpu: MachineVcpu, level: number): Stack | NativeFault {
  const found = stackOfLevel(vcpu, level, 0);
  if (isFault(found)) return found;
  return innerStack(found.segment, found.pointer, errorCodeOf(found.segment.selector));
}
function longStack(vcpu: MachineVcpu, level: number): Stack | NativeFault {
  const pointer = stackPointerAt(vcpu, TSS_RSP0 + level * 8);
  if (typeof pointer === 'object') return pointer;
  return { segment: nullSegment(level), pointer, pointerBits: 64, errorCode: 0, access: { as: 'supervisor' } };
}
