import { MXCSR, type Slot, X87, X87_CONTROL, X87_DP, X87_IP, X87_OPCODE, X87_STATUS, X87_TAG, XMM } from './state.ts';

/** Size of an FXSAVE image, bytes, and where its parts lie (SDM vol. 1, 10.5.1, table 10-2; FXSAVE64 layout). */
const IMAGE_BYTES = 512;
const At = {
  control: 0,
  status: 2,
  tag: 4,
  opcode: 6,
  ip: 8,
  dp: 16,
  mxcsr: 24,
  mxcsrMask: 28,
  st0: 32,
  xmm0: 160,
} as const;
const MXCSR_MASK = 0xffff;

/** The x87 and SSE state of a state block as an FXSAVE64 image. */
export function readFxsave(state: DataView, base: number): Uint8Array {
  const image = new Uint8Array(IMAGE_BYTES);
  const out = new DataView(image.buffer);
  const get = (slot: Slot) => state.getInt32(base + slot.offset, true);
  out.setUint16(At.control, get(X87_CONTROL), true);
  out.setUint16(At.status, get(X87_STATUS), true);
  out.setUint8(At.tag, get(X87_TAG));
  out.setUint16(At.opcode, get(X87_OPCODE), true);
  out.setBigUint64(At.ip, state.getBigUint64(base + X87_IP.offset, true), true);
  out.setBigUint64(At.dp, state.getBigUint64(base + X87_DP.offset, true), true);
  out.setUint32(At.mxcsr, get(MXCSR), true);
  out.setUint32(At.mxcsrMask, MXCSR_MASK, true);
  forEachRegister(state, base, (from, to, bytes) => {
    for (let i = 0; i < bytes; i++) image[to + i] = state.getUint8(from + i);
  });
  return image;
}

/** Load a state block's x87 and SSE state from an FXSAVE64 image. */
export function writeFxsave(state: DataView, base: number, image: Uint8Array): void {
  if (image.length < IMAGE_BYTES) throw new RangeError(`an FXSAVE image has ${IMAGE_BYTES} bytes, not ${image.length}`);
  const from = new DataView(image.buffer, image.byteOffset, IMAGE_BYTES);
  const set = (slot: Slot, value: number) => state.setInt32(base + slot.offset, value, true);
  set(X87_CONTROL, from.getUint16(At.control, true));
  set(X87_STATUS, from.getUint16(At.status, true));
  set(X87_TAG, from.getUint8(At.tag));
  set(X87_OPCODE, from.getUint16(At.opcode, true) & 0x7ff);
  state.setBigUint64(base + X87_IP.offset, from.getBigUint64(At.ip, true), true);
  state.setBigUint64(base + X87_DP.offset, from.getBigUint64(At.dp, true), true);
  set(MXCSR, from.getUint32(At.mxcsr, true) & MXCSR_MASK);
  forEachRegister(state, base, (to, at, bytes) => {
    for (let i = 0; i < bytes; i++) state.setUint8(to + i, image[at + i]);
  });
}

/** Call back with (address in the state, offset in the image, bytes) for ST(0)–ST(7) and the XMM registers. */
function forEachRegister(
  state: DataView,
  base: number,
  visit: (stateAt: number, imageAt: number, bytes: number) => void,
): void {
  const top = (state.getInt32(base + X87_STATUS.offset, true) >> 11) & 7;
  for (let i = 0; i < 8; i++) visit(base + X87[(top + i) & 7].offset, At.st0 + i * 16, 10);
  for (let i = 0; i < 16; i++) visit(base + XMM[i].offset, At.xmm0 + i * 16, 16);
}
