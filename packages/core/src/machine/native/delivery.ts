import type { Segment } from '@polyvisor/plugin-api';
import { Flag } from '../../isa/flags.ts';
import { AccessRights } from '../cpu-mode.ts';
import type { MachineVcpu } from '../vcpu.ts';
import { type Delivery, memoryFault, type NativeFault, protection, pushedResumeFlag, Vector } from './answer.ts';
import { deliverProtected } from './delivery-protected.ts';
import { dplOf, isFault, readDescriptor } from './descriptors.ts';
import { hasDescriptors, iopl, isLongMode, isVirtual8086 } from './mode.ts';
import { deliverReal } from './real-mode.ts';
import { loadCodeSegment, nullSegment } from './segments.ts';
import { stackPointerAt, TSS_IST1, TSS_RSP0 } from './tss.ts';

const GPR_RSP = 4;
const MASK64 = (1n << 64n) - 1n;
const GATE_BYTES = 16;
const { S, CODE, CONFORMING, P, L } = AccessRights;

/** Deliver through the IDT, or in real-address mode through the interrupt vector table; a fault on the way is the answer. */
export function deliver(vcpu: MachineVcpu, event: Delivery): NativeFault | undefined {
  if (vcpu.enterEvent(event.vector, event.errorCode, event.software)) return undefined;
  if (isLongMode(vcpu)) return deliverLong(vcpu, event);
  if (isVirtual8086(vcpu)) {
    // CR4.VME is not there (SDM vol. 3B, 20.2.8.3 and table 20-2).
    if (event.needsIopl && iopl(vcpu) < 3) return protection(0);
    return deliverProtected(vcpu, event);
  }
  return hasDescriptors(vcpu) ? deliverProtected(vcpu, event) : deliverReal(vcpu, event);
}

/** SDM vol. 3A, 6.14. */
export function deliverLong(vcpu: MachineVcpu, event: Delivery): NativeFault | undefined {
  const gateCode = event.vector * 8 + 2 + (event.software ? 0 : 1);
  const gate = readGate(vcpu, event, gateCode);
  if (isFault(gate)) return gate;
  const segment = readCodeSegmentForGate(vcpu, gate.selector);
  if (isFault(segment)) return segment;
  const conforming = (segment.accessRights & CONFORMING) !== 0;
  const target = conforming ? vcpu.cpl : dplOf(segment);
  const stack = stackFor(vcpu, gate.ist, target);
  if (typeof stack === 'object') return stack;
  return enter(vcpu, event, gate, segment, target, stack);
}

interface Gate {
  readonly selector: number;
  readonly offset: bigint;
  readonly ist: number;
  readonly trap: boolean;
}

function readGate(vcpu: MachineVcpu, event: Delivery, gateCode: number): Gate | NativeFault {
  const { idtr } = vcpu.tables;
  if (event.vector * GATE_BYTES + GATE_BYTES - 1 > idtr.limit) return protection(gateCode);
  const found = vcpu.read(idtr.base + BigInt(event.vector * GATE_BYTES), GATE_BYTES, { as: 'supervisor' });
  if (!found.ok) return memoryFault(found.fault);
  const view = new DataView(found.bytes.buffer);
  const attributes = view.getUint16(4, true);
  const type = (attributes >> 8) & 0x1f;
  if (type !== 0x0e && type !== 0x0f) return protection(gateCode);
  if (event.software && ((attributes >> 13) & 3) < vcpu.cpl) return protection(gateCode);
  if (!(attributes & 0x8000)) return { vector: Vector.NP, errorCode: gateCode };
  const offset =
    BigInt(view.getUint16(0, true)) |
    (BigInt(view.getUint16(6, true)) << 16n) |
    (BigInt(view.getUint32(8, true)) << 32n);
  return { selector: view.getUint16(2, true), offset, ist: attributes & 7, trap: type === 0x0f };
}

function readCodeSegmentForGate(vcpu: MachineVcpu, selector: number) {
  const code = selector & 0xfffc;
  if (code === 0) return protection(0);
  const segment = readDescriptor(vcpu, selector);
  if (isFault(segment)) return segment;
  const isCode = (segment.accessRights & (S | CODE)) === (S | CODE);
  if (!isCode || dplOf(segment) > vcpu.cpl || !(segment.accessRights & L)) return protection(code);
  return segment.accessRights & P ? segment : { vector: Vector.NP, errorCode: code };
}

/** RSP to use: an IST entry, the target level's RSP of the TSS, or the present one; aligned to 16 bytes. */
function stackFor(vcpu: MachineVcpu, ist: number, target: number): bigint | NativeFault {
  let rsp: bigint | NativeFault = vcpu.gpr[GPR_RSP];
  if (ist > 0 || target < vcpu.cpl) {
    rsp = stackPointerAt(vcpu, ist > 0 ? TSS_IST1 + (ist - 1) * 8 : TSS_RSP0 + target * 8);
    if (typeof rsp === 'object') return rsp;
  }
  return rsp & ~15n;
}

function enter(
  vcpu: MachineVcpu,
  event: Delivery,
  gate: Gate,
  segment: Segment,
  target: number,
  stack: bigint,
): NativeFault | undefined {
  const rflags = vcpu.rflags;
  const frame = [
    vcpu.rip,
    BigInt(vcpu.selector(1)),
    rflags | pushedResumeFlag(event),
    vcpu.gpr[GPR_RSP],
    BigInt(vcpu.selector(2)),
  ];
  if (event.errorCode !== undefined) frame.unshift(BigInt(event.errorCode));
  const bytes = new BigUint64Array(frame);
  const rsp = (stack - BigInt(bytes.byteLength)) & MASK64;
  const written = vcpu.write(rsp, new Uint8Array(bytes.buffer), { as: 'supervisor' });
  if (!written.ok) return memoryFault(written.fault);
  if (target !== vcpu.cpl) vcpu.setSegment(2, nullSegment(target));
  loadCodeSegment(vcpu, segment, target);
  vcpu.gpr[GPR_RSP] = rsp;
  vcpu.rip = gate.offset;
  const cleared = Flag.TF | Flag.NT | Flag.RF | Flag.VM | (gate.trap ? 0 : Flag.IF);
  vcpu.rflags = rflags & ~BigInt(cleared);
  return undefined;
}
