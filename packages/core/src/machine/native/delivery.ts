import type { Segment } from '@polyvisor/plugin-api';
import { Flag } from '../../isa/flags.ts';
import { AccessRights, type MachineVcpu } from '../vcpu.ts';
import { memoryFault, type NativeFault, protection, Vector } from './answer.ts';
import { dplOf, dropInnerSegments, isFault, loadCodeSegment, readCodeSegment, readDescriptor } from './segments.ts';

const GPR_RSP = 4;
const MASK64 = (1n << 64n) - 1n;
/** Bytes of a TSS up to IST7 (SDM vol. 3A, 8.7). */
const TSS_RSP0 = 4;
const TSS_IST1 = 36;
const GATE_BYTES = 16;

/** An exception or interrupt on its way to the guest's IDT. */
export interface Delivery {
  readonly vector: number;
  readonly errorCode: number | undefined;
  /** INT n, INT3, INTO: the gate's DPL is checked, and RIP has already moved on. */
  readonly software: boolean;
}

/**
 * Deliver through the long-mode IDT (SDM vol. 3A, 6.14); a fault on the way is the answer.
 * NOT IMPLEMENTED: legacy-mode delivery (IA32_EFER.LMA clear) — answers a double fault.
 */
export function deliver(vcpu: MachineVcpu, event: Delivery): NativeFault | undefined {
  if (!(vcpu.efer & (1n << 10n))) return { vector: Vector.DF, errorCode: 0 };
  const gateCode = event.vector * 8 + 2 + (event.software ? 0 : 1);
  const gate = readGate(vcpu, event, gateCode);
  if (isFault(gate)) return gate;
  const segment = readCodeSegmentForGate(vcpu, gate.selector);
  if (isFault(segment)) return segment;
  const conforming = (segment.accessRights & 4) !== 0;
  const target = conforming ? vcpu.cpl : (segment.accessRights >> 5) & 3;
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
  const isCode = (segment.accessRights & 0x18) === 0x18;
  if (!isCode || ((segment.accessRights >> 5) & 3) > vcpu.cpl || !(segment.accessRights & (1 << 13)))
    return protection(code);
  return segment.accessRights & 0x80 ? segment : { vector: Vector.NP, errorCode: code };
}

/** RSP to use: an IST entry, the target level's RSP of the TSS, or the present one; aligned to 16 bytes. */
function stackFor(vcpu: MachineVcpu, ist: number, target: number): bigint | NativeFault {
  let rsp = vcpu.gpr[GPR_RSP];
  if (ist > 0 || target < vcpu.cpl) {
    const { tr } = vcpu.tables;
    const offset = ist > 0 ? TSS_IST1 + (ist - 1) * 8 : TSS_RSP0 + target * 8;
    if (offset + 7 > tr.limit) return { vector: Vector.TS, errorCode: tr.selector & 0xfffc };
    const found = vcpu.read(tr.base + BigInt(offset), 8, { as: 'supervisor' });
    if (!found.ok) return memoryFault(found.fault);
    rsp = new DataView(found.bytes.buffer).getBigUint64(0, true);
  }
  return rsp & ~15n;
}

function enter(
  vcpu: MachineVcpu,
  event: Delivery,
  gate: Gate,
  segment: Parameters<typeof loadCodeSegment>[1],
  target: number,
  stack: bigint,
): NativeFault | undefined {
  const rflags = vcpu.rflags;
  const frame = [
    vcpu.rip,
    BigInt(vcpu.segment(1).selector),
    rflags,
    vcpu.gpr[GPR_RSP],
    BigInt(vcpu.segment(2).selector),
  ];
  if (event.errorCode !== undefined) frame.unshift(BigInt(event.errorCode));
  const bytes = new BigUint64Array(frame);
  const rsp = (stack - BigInt(bytes.byteLength)) & MASK64;
  const written = vcpu.write(rsp, new Uint8Array(bytes.buffer), { as: 'supervisor' });
  if (!written.ok) return memoryFault(written.fault);
  if (target !== vcpu.cpl) vcpu.setSegment(2, { selector: target, base: 0n, limit: 0, accessRights: 1 << 16 });
  loadCodeSegment(vcpu, segment, target);
  vcpu.gpr[GPR_RSP] = rsp;
  vcpu.rip = gate.offset;
  const cleared = Flag.TF | Flag.NT | Flag.RF | Flag.VM | (gate.trap ? 0 : Flag.IF);
  vcpu.rflags = rflags & ~BigInt(cleared);
  return undefined;
}

/**
 * IRET with 64- or 32-bit operands in long mode (SDM vol. 2A, IRET).
 * NOT IMPLEMENTED: 16-bit operands, returns to virtual-8086 mode.
 */
export function interruptReturn(vcpu: MachineVcpu, widthBits: number): NativeFault | undefined {
  if (vcpu.rflags & BigInt(Flag.NT)) return protection(0);
  const frame = readFrame(vcpu, widthBits, 5);
  if (isFault(frame)) return frame;
  const [rip, cs, image, rsp, ss] = frame;
  const selector = Number(cs & 0xffffn);
  const rpl = selector & 3;
  if (rpl < vcpu.cpl) return protection(selector & 0xfffc);
  const segment = readCodeSegment(vcpu, selector, vcpu.cpl, true);
  if (isFault(segment)) return segment;
  const outward = rpl > vcpu.cpl;
  const previous = vcpu.cpl;
  const stack = returnStack(vcpu, Number(ss & 0xffffn), segment, rpl);
  if (isFault(stack)) return stack;
  if (!isCanonical(rip)) return protection(0);
  loadCodeSegment(vcpu, segment, rpl);
  vcpu.setSegment(2, stack);
  vcpu.gpr[GPR_RSP] = widthBits === 64 ? rsp : rsp & 0xffffffffn;
  vcpu.rip = rip;
  vcpu.rflags = mergeFlags(vcpu.rflags, image, previous, widthBits);
  if (outward) dropInnerSegments(vcpu);
  return undefined;
}

const isCanonical = (address: bigint) => BigInt.asIntN(48, address) === BigInt.asIntN(64, address);

/** SS for a return to code segment `code` at level `cpl`; null is allowed in 64-bit mode below level 3. */
function returnStack(vcpu: MachineVcpu, selector: number, code: Segment, cpl: number): Segment | NativeFault {
  const rpl = selector & 3;
  if ((selector & 0xfffc) === 0) {
    if (!(code.accessRights & AccessRights.L) || cpl === 3 || rpl !== cpl) return protection(0);
    return { selector, base: 0n, limit: 0, accessRights: AccessRights.UNUSABLE };
  }
  const segment = readDescriptor(vcpu, selector);
  if (isFault(segment)) return segment;
  const writable = (segment.accessRights & 0x1a) === 0x12;
  if (!writable || rpl !== cpl || dplOf(segment) !== cpl) return protection(selector & 0xfffc);
  return segment.accessRights & 0x80 ? segment : { vector: Vector.SS, errorCode: selector & 0xfffc };
}

/** What a return may change of RFLAGS: IOPL only at CPL 0, IF only at or above IOPL. */
export function mergeFlags(old: bigint, image: bigint, cpl: number, widthBits: number): bigint {
  const mask = BigInt(changeableFlags(Number(old & 0xffffn), cpl, widthBits));
  return (old & ~mask) | (image & mask) | 2n;
}
export function changeableFlags(old: number, cpl: number, widthBits: number): number {
  let changeable = Flag.CF | Flag.PF | Flag.AF | Flag.ZF | Flag.SF | Flag.TF | Flag.DF | Flag.OF | Flag.NT;
  if (widthBits > 16) changeable |= Flag.RF | Flag.AC | Flag.ID;
  if (cpl <= ((old >> 12) & 3)) changeable |= Flag.IF;
  if (cpl === 0) changeable |= Flag.IOPL | Flag.VIF | Flag.VIP;
  return changeable;
}

/** Quadwords or doublewords from the top of the stack. */
function readFrame(vcpu: MachineVcpu, widthBits: number, count: number): bigint[] | NativeFault {
  const bytes = widthBits / 8;
  const found = vcpu.read(vcpu.gpr[GPR_RSP], bytes * count);
  if (!found.ok) return memoryFault(found.fault);
  const view = new DataView(found.bytes.buffer);
  return Array.from({ length: count }, (_, i) => {
    if (bytes === 8) return view.getBigUint64(i * 8, true);
    return BigInt(bytes === 4 ? view.getUint32(i * 4, true) : view.getUint16(i * 2, true));
  });
}

/** RET far; an outer level also takes SS:RSP (SDM vol. 2B, RET). */
export function farReturn(vcpu: MachineVcpu, widthBits: number, releaseBytes: number): NativeFault | undefined {
  const frame = readFrame(vcpu, widthBits, 2);
  if (isFault(frame)) return frame;
  const [rip, cs] = frame;
  const selector = Number(cs & 0xffffn);
  const rpl = selector & 3;
  if (rpl < vcpu.cpl) return protection(selector & 0xfffc);
  const segment = readCodeSegment(vcpu, selector, vcpu.cpl, true);
  if (isFault(segment)) return segment;
  const size = BigInt(widthBits / 8);
  const after = vcpu.gpr[GPR_RSP] + 2n * size + BigInt(releaseBytes);
  if (rpl === vcpu.cpl) {
    loadCodeSegment(vcpu, segment, rpl);
    vcpu.gpr[GPR_RSP] = after & MASK64;
    vcpu.rip = rip;
    return undefined;
  }
  const outer = vcpu.read(after, Number(size) * 2);
  if (!outer.ok) return memoryFault(outer.fault);
  const view = new DataView(outer.bytes.buffer);
  const newRsp =
    size === 8n
      ? view.getBigUint64(0, true)
      : size === 4n
        ? BigInt(view.getUint32(0, true))
        : BigInt(view.getUint16(0, true));
  const stack = returnStack(vcpu, view.getUint16(Number(size), true), segment, rpl);
  if (isFault(stack)) return stack;
  loadCodeSegment(vcpu, segment, rpl);
  vcpu.setSegment(2, stack);
  vcpu.gpr[GPR_RSP] = (newRsp + BigInt(releaseBytes)) & MASK64;
  vcpu.rip = rip;
  dropInnerSegments(vcpu);
  return undefined;
}

/**
 * JMP and CALL far to a code segment at the same level.
 * NOT IMPLEMENTED: call gates, task gates — #GP with the selector.
 */
export function farTransfer(
  vcpu: MachineVcpu,
  selector: number,
  offset: bigint,
  widthBits: number,
  returnRip: bigint | undefined,
): NativeFault | undefined {
  const segment = readCodeSegment(vcpu, selector, vcpu.cpl, false);
  if (isFault(segment)) return segment;
  if (returnRip !== undefined) {
    const bytes = widthBits / 8;
    const rsp = (vcpu.gpr[GPR_RSP] - BigInt(2 * bytes)) & MASK64;
    const frame = new DataView(new ArrayBuffer(2 * bytes));
    const put = (at: number, value: bigint) => {
      if (bytes === 8) frame.setBigUint64(at, value, true);
      else if (bytes === 4) frame.setUint32(at, Number(value & 0xffffffffn), true);
      else frame.setUint16(at, Number(value & 0xffffn), true);
    };
    put(0, returnRip);
    put(bytes, BigInt(vcpu.segment(1).selector));
    const written = vcpu.write(rsp, new Uint8Array(frame.buffer));
    if (!written.ok) return memoryFault(written.fault);
    vcpu.gpr[GPR_RSP] = rsp;
  }
  loadCodeSegment(vcpu, segment, vcpu.cpl);
  vcpu.rip = offset;
  return undefined;
}
