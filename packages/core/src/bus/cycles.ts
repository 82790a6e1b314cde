import type { MmioDevice, PortDevice } from './device.ts';

/** Widest cycle for the rest of an access: a power of two, naturally aligned, at most `most`. */
function cycleBytesAt(offset: number, leftBytes: number, most: number): number {
  let size = most;
  while (size > leftBytes || offset % size !== 0) size >>= 1;
  return size;
}

/** An access that lies within a device's ports, as the cycles that the device decodes. */
export function readPorts(device: PortDevice, offset: number, sizeBytes: number): number {
  let value = 0;
  for (let done = 0; done < sizeBytes; ) {
    const cycle = cycleBytesAt(offset + done, sizeBytes - done, device.cycleBytes);
    value |= device.readPort(offset + done, cycle) << (8 * done);
    done += cycle;
  }
  return value >>> 0;
}
export function writePorts(device: PortDevice, offset: number, sizeBytes: number, value: number): void {
  for (let done = 0; done < sizeBytes; ) {
    const cycle = cycleBytesAt(offset + done, sizeBytes - done, device.cycleBytes);
    device.writePort(offset + done, cycle, (value >>> (8 * done)) & (0xffffffff >>> (32 - 8 * cycle)));
    done += cycle;
  }
}

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
/** Widest access that is handed on in one piece, to a device with 64-bit registers. */
const WIDEST = 8;

/** An access that lies within a device's addresses, as the pieces that the device knows. */
export function readMemory(device: MmioDevice, offset: number, into: Uint8Array): void {
  const view = viewOf(into);
  for (let done = 0; done < into.length; ) {
    const cycle = cycleBytesAt(offset + done, into.length - done, device.readMmio64 ? WIDEST : 4);
    if (cycle === 8) view.setBigUint64(done, device.readMmio64?.(offset + done) ?? 0n, true);
    else if (cycle === 4) view.setUint32(done, device.readMmio(offset + done, 4), true);
    else if (cycle === 2) view.setUint16(done, device.readMmio(offset + done, 2), true);
    else view.setUint8(done, device.readMmio(offset + done, 1));
    done += cycle;
  }
}
export function writeMemory(device: MmioDevice, offset: number, bytes: Uint8Array): void {
  const view = viewOf(bytes);
  for (let done = 0; done < bytes.length; ) {
    const cycle = cycleBytesAt(offset + done, bytes.length - done, device.writeMmio64 ? WIDEST : 4);
    if (cycle === 8) device.writeMmio64?.(offset + done, view.getBigUint64(done, true));
    else if (cycle === 4) device.writeMmio(offset + done, 4, view.getUint32(done, true));
    else if (cycle === 2) device.writeMmio(offset + done, 2, view.getUint16(done, true));
    else device.writeMmio(offset + done, 1, view.getUint8(done));
    done += cycle;
  }
}
