/** Pushes and pops of the instructions and events that TypeScript carries out, with the checks of the stack segment. */
import type { Segment, VirtualAccessOptions } from '@polyvisor/plugin-api';
import { AccessRights, segmentBounds } from '../cpu-mode.ts';
import type { MachineVcpu } from '../vcpu.ts';
import { memoryFault, type NativeFault, Vector } from './answer.ts';

const RSP = 4;
const SS = 2;

/** A place to push to or pop from. */
export interface Stack {
  readonly segment: Segment;
  readonly pointer: bigint;
  /** Width of the pointer: 64 in 64-bit mode, else by SS.B. */
  readonly pointerBits: 16 | 32 | 64;
  /** Error code of the #SS that an access outside the segment raises. */
  readonly errorCode: number;
  readonly access?: VirtualAccessOptions;
}

const pointerBitsOf = (segment: Segment): 16 | 32 => (segment.accessRights & AccessRights.DB ? 32 : 16);

/** The stack in use. */
export function currentStack(vcpu: MachineVcpu, access?: VirtualAccessOptions, errorCode = 0): Stack {
  const segment = vcpu.segment(SS);
  const pointerBits = vcpu.engine.mode === 'long64' ? 64 : pointerBitsOf(segment);
  const pointer = BigInt.asUintN(pointerBits, vcpu.gpr[RSP]);
  return { segment, pointer, pointerBits, errorCode, ...(access ? { access } : {}) };
}
/** The stack of an inner level, on which the processor pushes for itself. */
export function innerStack(segment: Segment, pointer: bigint, errorCode: number): Stack {
  const pointerBits = pointerBitsOf(segment);
  return {
    segment,
    pointer: BigInt.asUintN(pointerBits, pointer),
    pointerBits,
    errorCode,
    access: { as: 'supervisor' },
  };
}

/** Let rSP be `pointer`; above a 16-bit pointer it keeps what it holds. */
export function setStackPointer(vcpu: MachineVcpu, { pointerBits }: Pick<Stack, 'pointerBits'>, pointer: bigint): void {
  const low = BigInt.asUintN(pointerBits, pointer);
  vcpu.gpr[RSP] = pointerBits === 16 ? (vcpu.gpr[RSP] & ~0xffffn) | low : low;
}

function refused(stack: Stack, pointer: bigint, bytes: number, write: boolean): NativeFault | undefined {
  if (stack.pointerBits === 64) return undefined;
  const { floor, readEnd, writeEnd } = segmentBounds(stack.segment.limit, stack.segment.accessRights);
  const at = Number(pointer);
  const outside = at < floor || at + bytes > (write ? writeEnd : readEnd);
  return outside ? { vector: Vector.SS, errorCode: stack.errorCode } : undefined;
}

/** Linear address of the stack's byte at `pointer`. */
function linear(stack: Stack, pointer: bigint): bigint {
  return stack.pointerBits === 64 ? pointer : BigInt.asUintN(32, stack.segment.base + pointer);
}

/** Push values, the first one first; answers the new pointer. Segment faults are raised before anything is written. */
export function push(vcpu: MachineVcpu, stack: Stack, bytes: number, values: readonly bigint[]): bigint | NativeFault {
  const places: bigint[] = [];
  let { pointer } = stack;
  for (let i = 0; i < values.length; i++) {
    pointer = BigInt.asUintN(stack.pointerBits, pointer - BigInt(bytes));
    const fault = refused(stack, pointer, bytes, true);
    if (fault) return fault;
    places.push(pointer);
  }
  const whole = new DataView(new ArrayBuffer(bytes * values.length));
  values.forEach((value, i) => put(whole, (values.length - 1 - i) * bytes, bytes, value));
  const image = new Uint8Array(whole.buffer);
  const together = places[0] - pointer === BigInt(bytes * (values.length - 1));
  if (together) return writeAt(vcpu, stack, pointer, image) ?? pointer;
  for (const [i, place] of places.entries()) {
    const from = (values.length - 1 - i) * bytes;
    const fault = writeAt(vcpu, stack, place, image.subarray(from, from + bytes));
    if (fault) return fault;
  }
  return pointer;
}

function writeAt(vcpu: MachineVcpu, stack: Stack, pointer: bigint, image: Uint8Array): NativeFault | undefined {
  const written = vcpu.write(linear(stack, pointer), image, stack.access);
  return written.ok ? undefined : memoryFault(written.fault);
}

/** `count` values from the top of the stack, and from `skipBytes` above it. Where the pointer will be: {@link above}. */
export function peek(
  vcpu: MachineVcpu,
  stack: Stack,
  bytes: number,
  count: number,
  skipBytes = 0,
): bigint[] | NativeFault {
  const values: bigint[] = [];
  for (let i = 0; i < count; i++) {
    const pointer = above(stack, skipBytes + i * bytes);
    const fault = refused(stack, pointer, bytes, false);
    if (fault) return fault;
    const found = vcpu.read(linear(stack, pointer), bytes, stack.access);
    if (!found.ok) return memoryFault(found.fault);
    values.push(get(new DataView(found.bytes.buffer), 0, bytes));
  }
  return values;
}
/** The pointer `bytes` up from the top. */
export const above = (stack: Stack, bytes: number): bigint =>
  BigInt.asUintN(stack.pointerBits, stack.pointer + BigInt(bytes));

function put(view: DataView, at: number, bytes: number, value: bigint): void {
  if (bytes === 8) view.setBigUint64(at, BigInt.asUintN(64, value), true);
  else if (bytes === 4) view.setUint32(at, Number(value & 0xffffffffn), true);
  else view.setUint16(at, Number(value & 0xffffn), true);
}
function get(view: DataView, at: number, bytes: number): bigint {
  if (bytes === 8) return view.getBigUint64(at, true);
  return BigInt(bytes === 4 ? view.getUint32(at, true) : view.getUint16(at, true));
}
