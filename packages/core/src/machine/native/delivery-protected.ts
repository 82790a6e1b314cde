import type { Segment } from '@polyvisor/plugin-api';
import { Flag } from '../../isa/flags.ts';
import { AccessRights } from '../cpu-mode.ts';
import type { MachineVcpu } from '../vcpu.ts';
import { type Delivery, memoryFault, type NativeFault, protection, pushedResumeFlag, Vector } from './answer.ts';
import { dplOf, errorCodeOf, isBeyondLimit, isFault, isNull, readDescriptor, SystemType } from './descriptors.ts';
import { isVirtual8086 } from './mode.ts';
import { loadCodeSegment, nullSegment } from './segments.ts';
import { currentStack, innerStack, push, type Stack, setStackPointer } from './stack.ts';
import { switchTask } from './task-switch.ts';
import { isWideTss, stackOfLevel } from './tss.ts';

const RSP = 4;
const CS = 1;
const SS = 2;
const GATE_BYTES = 8;
const { S, CODE, CONFORMING, P } = AccessRights;
/** Types of gates in the IDT (SDM vol. 3A, figure 6-2). */
const GateType = { INTERRUPT16: 6, TRAP16: 7, INTERRUPT32: 14, TRAP32: 15 } as const;

interface Gate {
  readonly selector: number;
  readonly offset: bigint;
  readonly type: number;
}

/** Deliver through the IDT of legacy protected mode, from virtual-8086 mode too (SDM vol. 3A, 6.11 to 6.13; vol. 3B, 20.3). */
export function deliverProtected(vcpu: MachineVcpu, event: Delivery): NativeFault | undefined {
  const external = event.software ? 0 : 1;
  const gate = readGate(vcpu, event, event.vector * 8 + 2 + external);
  if (isFault(gate)) return gate;
  if (gate.type === SystemType.TASK_GATE) return throughTask(vcpu, event, gate.selector, external);
  const segment = targetSegment(vcpu, gate.selector, external);
  if (isFault(segment)) return segment;
  const level = segment.accessRights & CONFORMING ? vcpu.cpl : dplOf(segment);
  if (isVirtual8086(vcpu) && level !== 0) return protection(errorCodeOf(gate.selector) | external);
  const inward = level < vcpu.cpl;
  const stack = inward ? stackAtLevel(vcpu, level, external) : currentStack(vcpu, undefined, external);
  if (isFault(stack)) return stack;
  if (isBeyondLimit(vcpu, segment, gate.offset)) return protection(external);
  return enter(vcpu, event, gate, segment, level, stack, inward);
}

function readGate(vcpu: MachineVcpu, event: Delivery, gateCode: number): Gate | NativeFault {
  const { idtr } = vcpu.tables;
  const at = event.vector * GATE_BYTES;
  if (at + GATE_BYTES - 1 > idtr.limit) return protection(gateCode);
  const found = vcpu.read(idtr.base + BigInt(at), GATE_BYTES, { as: 'supervisor' });
  if (!found.ok) return memoryFault(found.fault);
  const view = new DataView(found.bytes.buffer);
  const attributes = view.getUint16(4, true);
  const type = (attributes >> 8) & 0x1f;
  const known: readonly number[] = [SystemType.TASK_GATE, ...Object.values(GateType)];
  if (!known.includes(type)) return protection(gateCode);
  if (event.software && ((attributes >> 13) & 3) < vcpu.cpl) return protection(gateCode);
  if (!(attributes & 0x8000)) return { vector: Vector.NP, errorCode: gateCode };
  const high = type >= GateType.INTERRUPT32 ? view.getUint16(6, true) : 0;
  return { selector: view.getUint16(2, true), offset: BigInt(view.getUint16(0, true) + high * 0x10000), type };
}

function targetSegment(vcpu: MachineVcpu, selector: number, external: number): Segment | NativeFault {
  if (isNull(selector)) return protection(external);
  const code = errorCodeOf(selector) | external;
  const segment = readDescriptor(vcpu, selector);
  if (isFault(segment)) return segment.vector === Vector.PF ? segment : protection(code);
  if ((segment.accessRights & (S | CODE)) !== (S | CODE) || dplOf(segment) > vcpu.cpl) return protection(code);
  return segment.accessRights & P ? segment : { vector: Vector.NP, errorCode: code };
}

function stackAtLevel(vcpu: MachineVcpu, level: number, external: number): Stack | NativeFault {
  const found = stackOfLevel(vcpu, level, external);
  if (isFault(found)) return found;
  return innerStack(found.segment, found.pointer, errorCodeOf(found.segment.selector) | external);
}

/** What an event pushes: from virtual-8086 mode the data segments too; the stack left, if it goes inward. */
function frameOf(vcpu: MachineVcpu, event: Delivery, inward: boolean): bigint[] {
  const selector = (register: number) => BigInt(vcpu.segment(register).selector);
  const frame = isVirtual8086(vcpu) ? [5, 4, 3, 0].map(selector) : [];
  if (inward) frame.push(selector(SS), vcpu.gpr[RSP]);
  frame.push(vcpu.rflags | pushedResumeFlag(event), selector(CS), vcpu.rip);
  if (event.errorCode !== undefined) frame.push(BigInt(event.errorCode));
  return frame;
}

function enter(
  vcpu: MachineVcpu,
  event: Delivery,
  gate: Gate,
  segment: Segment,
  level: number,
  stack: Stack,
  inward: boolean,
): NativeFault | undefined {
  const bytes = gate.type >= GateType.INTERRUPT32 ? 4 : 2;
  const pointer = push(vcpu, stack, bytes, frameOf(vcpu, event, inward));
  if (typeof pointer === 'object') return pointer;
  const fromVirtual8086 = isVirtual8086(vcpu);
  const interrupt = gate.type === GateType.INTERRUPT16 || gate.type === GateType.INTERRUPT32;
  const cleared = Flag.TF | Flag.NT | Flag.RF | Flag.VM | (interrupt ? Flag.IF : 0);
  vcpu.rflags &= ~BigInt(cleared);
  if (fromVirtual8086) for (const register of [0, 3, 4, 5]) vcpu.setSegment(register, nullSegment());
  loadCodeSegment(vcpu, segment, level);
  if (inward) vcpu.setSegment(SS, stack.segment);
  setStackPointer(vcpu, stack, pointer);
  vcpu.rip = gate.offset;
  return undefined;
}

/** A task gate: the event is handled by a task of its own (SDM vol. 3A, 6.12.2). */
function throughTask(vcpu: MachineVcpu, event: Delivery, selector: number, external: number): NativeFault | undefined {
  const fault = switchTask(vcpu, selector, 'interrupt', vcpu.rip, external);
  if (fault || event.errorCode === undefined) return fault;
  const stack = currentStack(vcpu, undefined, external);
  const pointer = push(vcpu, stack, isWideTss(vcpu.tables.tr) ? 4 : 2, [BigInt(event.errorCode)]);
  if (typeof pointer === 'object') return pointer;
  setStackPointer(vcpu, stack, pointer);
  return undefined;
}
