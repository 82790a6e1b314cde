import { copyToGuest } from '../access.ts';
import type { HypercallContext, XenVcpu } from '../domain.ts';

// One buffer for all small writes: a write copies it out before it returns.
const scratch = new Uint8Array(8);
const scratchView = new DataView(scratch.buffer);
const firstFour = scratch.subarray(0, 4);
const firstTwo = scratch.subarray(0, 2);

/** Write a 16-bit field of a guest structure; `false` = -EFAULT. */
export function writeU16(vcpu: XenVcpu, gva: bigint, value: number): boolean {
  scratchView.setUint16(0, value, true);
  return copyToGuest(vcpu, BigInt.asUintN(64, gva), firstTwo);
}

/** Write a 32-bit field of a guest structure; `false` = -EFAULT. */
export function writeU32(vcpu: XenVcpu, gva: bigint, value: number): boolean {
  scratchView.setUint32(0, value, true);
  return copyToGuest(vcpu, BigInt.asUintN(64, gva), firstFour);
}

/** Write a 64-bit field of a guest structure; `false` = -EFAULT. */
export function writeU64(vcpu: XenVcpu, gva: bigint, value: bigint): boolean {
  scratchView.setBigUint64(0, BigInt.asUintN(64, value), true);
  return copyToGuest(vcpu, BigInt.asUintN(64, gva), scratch);
}

/** Write a word of the caller's; `false` = -EFAULT. */
export function writeGuestWord({ vcpu, wordBytes }: HypercallContext, gva: bigint, value: bigint): boolean {
  return wordBytes === 8 ? writeU64(vcpu, gva, value) : writeU32(vcpu, gva, Number(BigInt.asUintN(32, value)));
}

/** The bytes of a view, for writing a structure back. */
export function bytesOf(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}
