import { AccessRights } from '../cpu-mode.ts';
import type { MachineVcpu } from '../vcpu.ts';
import { memoryFault, type NativeFault, protection } from './answer.ts';
import { type Native, type NativeContext, number, writeGpr } from './context.ts';
import { dataAddress } from './data-address.ts';
import { iopl, isVirtual8086 } from './mode.ts';
import { isWideTss } from './tss.ts';

const RAX = 0;
const RCX = 1;
const RSI = 6;
const RDI = 7;
const FLAG_DF = 1n << 10n;
/** Offset of the I/O map base in a 32- or 64-bit TSS, and its end (SDM vol. 3A, 8.2.1 and 8.7). */
const TSS_IO_MAP_BASE = 0x66;
const TSS_BYTES = 0x68;

/**
 * Above IOPL, and in virtual-8086 mode always, a port may be used if its bits in the TSS's I/O permission bitmap are clear
 * (SDM vol. 1, 19.5.2; vol. 3B, 20.2.8). A 16-bit TSS has none.
 */
function refused(context: NativeContext, port: number, sizeBytes: number): NativeFault | undefined {
  const { vcpu } = context;
  if (context.privileged || (vcpu.cpl <= iopl(vcpu) && !isVirtual8086(vcpu))) return undefined;
  const { tr } = vcpu.tables;
  if (tr.accessRights & AccessRights.UNUSABLE || !isWideTss(tr) || tr.limit < TSS_BYTES - 1) return protection();
  const map = vcpu.read(tr.base + BigInt(TSS_IO_MAP_BASE), 2, { as: 'supervisor' });
  if (!map.ok) return memoryFault(map.fault);
  // Two bytes are read: a multi-byte port may reach into the second.
  const at = word(map.bytes) + (port >> 3);
  if (at + 1 > tr.limit) return protection();
  const bits = vcpu.read(tr.base + BigInt(at), 2, { as: 'supervisor' });
  if (!bits.ok) return memoryFault(bits.fault);
  return (word(bits.bytes) >> (port & 7)) & ((1 << sizeBytes) - 1) ? protection() : undefined;
}

const word = (bytes: Uint8Array) => bytes[0] | (bytes[1] << 8);

/** IN and OUT. */
export const portIo =
  (direction: 'in' | 'out'): Native =>
  (context) => {
    const { vcpu, machine } = context;
    const [port, size] = [number(context, 0), number(context, 1)];
    const fault = refused(context, port, size);
    if (fault) return fault;
    const { gprHalves } = vcpu;
    if (direction === 'out') machine.portWrite(port, size, (gprHalves[2 * RAX] & maskOf(size)) >>> 0);
    else putIntoRax(gprHalves, size, machine.portRead(port, size));
    return 'next';
  };

const maskOf = (sizeBytes: number) => (sizeBytes === 4 ? -1 : (1 << (8 * sizeBytes)) - 1);

/** EAX clears the upper half; AX and AL leave the rest as it is. */
function putIntoRax(gprHalves: Int32Array, sizeBytes: number, value: number): void {
  const mask = maskOf(sizeBytes);
  gprHalves[2 * RAX] = (gprHalves[2 * RAX] & ~mask) | (value & mask);
  if (sizeBytes === 4) gprHalves[2 * RAX + 1] = 0;
}

/** INS and OUTS: one element; under REP the instruction is entered again until the count is 0. */
export const portString =
  (direction: 'ins' | 'outs'): Native =>
  (context) => {
    const { vcpu } = context;
    const [port, size, addressWidth] = [0, 1, 2].map((index) => number(context, index));
    const repeated = number(context, 4) !== 0;
    if (repeated && BigInt.asUintN(addressWidth, vcpu.gpr[RCX]) === 0n) return 'next';
    const fault = refused(context, port, size) ?? transfer(context, direction, port, size);
    if (fault) return fault;
    const step = BigInt(vcpu.rflags & FLAG_DF ? -size : size);
    const pointer = direction === 'ins' ? RDI : RSI;
    writeGpr(vcpu, pointer, addressWidth, vcpu.gpr[pointer] + step);
    if (!repeated) return 'next';
    writeGpr(vcpu, RCX, addressWidth, vcpu.gpr[RCX] - 1n);
    return 'done';
  };

/** Move one element between port and memory. The write of INS is checked before the port is read. */
function transfer(
  context: NativeContext,
  direction: 'ins' | 'outs',
  port: number,
  size: number,
): NativeFault | undefined {
  const { vcpu, machine } = context;
  const gva = elementAddress(context, direction, size);
  if (typeof gva === 'object') return gva;
  const bytes = new Uint8Array(4);
  const view = new DataView(bytes.buffer);
  const device = deviceAt(vcpu, gva, size, direction === 'ins' ? 'write' : 'read');
  if (direction === 'outs') {
    const found = device === undefined ? vcpu.read(gva, size) : undefined;
    if (found?.ok === false) return memoryFault(found.fault);
    if (found) bytes.set(found.bytes);
    else view.setUint32(0, vcpu.readDevice(device as number, size as 1 | 2 | 4), true);
    machine.portWrite(port, size, view.getUint32(0, true));
    return undefined;
  }
  for (const at of [gva, gva + BigInt(size - 1)]) {
    const place = vcpu.translate(BigInt.asUintN(64, at), 'write');
    if (!place.ok) return memoryFault(place.fault);
  }
  const value = machine.portRead(port, size) >>> 0;
  if (device !== undefined) {
    vcpu.writeDevice(device, size as 1 | 2 | 4, value);
    return undefined;
  }
  view.setUint32(0, value, true);
  const written = vcpu.write(gva, bytes.subarray(0, size));
  return written.ok ? undefined : memoryFault(written.fault);
}

/** Guest-physical address of an element that lies in device memory within a page; `undefined`: it does not, or faults. */
function deviceAt(vcpu: MachineVcpu, gva: bigint, size: number, access: 'read' | 'write'): number | undefined {
  const place = vcpu.translate(gva, access);
  const isDevice = place.ok && place.gpa >= vcpu.engine.memory.layout.ramSizeBytes;
  return isDevice && (gva & 0xfffn) <= BigInt(4096 - size) ? place.gpa : undefined;
}

/** Linear address of the element. */
function elementAddress(context: NativeContext, direction: 'ins' | 'outs', size: number): bigint | NativeFault {
  const { vcpu } = context;
  const offset = BigInt.asUintN(number(context, 2), vcpu.gpr[direction === 'ins' ? RDI : RSI]);
  return dataAddress(vcpu, number(context, 3), offset, size, direction === 'ins' ? 'write' : 'read');
}
