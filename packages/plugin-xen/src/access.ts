import type { XenDomain, XenVcpu } from './domain.ts';

/**
 * The hypervisor's hole in every PV64 address space (public/arch-x86/xen-x86_64.h): its first byte, and the first behind it.
 * A PV32 guest's hole is below 4 GiB, and what it may read there, calls may read for it.
 */
export const HYPERVISOR_VIRT_START = 0xffff_8000_0000_0000n;
export const HYPERVISOR_VIRT_END = 0xffff_8800_0000_0000n;

const AS_SUPERVISOR = { as: 'supervisor' } as const;
/** Xen reaches into a guest on real page tables as its kernel would, whatever the vCPU's CPL is just now. */
const optionsFor = ({ isHvm }: XenVcpu) => (isHvm ? AS_SUPERVISOR : undefined);

const CANONICAL_LOW_END = 0x0000_8000_0000_0000n;

/** A guest may name only its own addresses: canonical, and outside the hole. */
export function isGuestAddress(gva: bigint): boolean {
  return (gva >= 0n && gva < CANONICAL_LOW_END) || (gva >= HYPERVISOR_VIRT_END && gva <= 0xffff_ffff_ffff_ffffn);
}

function isGuestRange({ isHvm }: XenVcpu, gva: bigint, sizeBytes: number): boolean {
  if (isHvm) return gva >= 0n && gva + BigInt(sizeBytes) <= 1n << 64n;
  return isGuestAddress(gva) && (sizeBytes === 0 || isGuestAddress(gva + BigInt(sizeBytes - 1)));
}

/** {@link isGuestAddress} of an address in halves. */
function isGuestHigh(gvaHigh: number): boolean {
  const high = gvaHigh >>> 0;
  return high < 0x8000 || high >= 0xffff_8800;
}

/**
 * Copy `count` 32-bit words in from the address space the vCPU now runs in, to the start of `into`; `false` = -EFAULT.
 * The address is given in halves.
 */
export function wordsFromGuest(vcpu: XenVcpu, low: number, high: number, into: Int32Array, count: number): boolean {
  const last = (low >>> 0) + count * 4 - 1;
  const isGuest = isGuestHigh(high) && (last <= 0xffff_ffff || isGuestHigh(high + 1));
  return isGuest && vcpu.cpu.readWords(low, high, into, count);
}

/** Copy in from the address space the vCPU now runs in; `undefined` = -EFAULT. */
export function copyFromGuest(vcpu: XenVcpu, gva: bigint, sizeBytes: number): DataView | undefined {
  if (!isGuestRange(vcpu, gva, sizeBytes)) return undefined;
  const result = vcpu.cpu.read(gva, sizeBytes, optionsFor(vcpu));
  if (!result.ok) return undefined;
  return new DataView(result.bytes.buffer, result.bytes.byteOffset, sizeBytes);
}

/** Copy out to the address space the vCPU now runs in; `false` = -EFAULT, nothing written. */
export function copyToGuest(vcpu: XenVcpu, gva: bigint, bytes: Uint8Array): boolean {
  return isGuestRange(vcpu, gva, bytes.length) && vcpu.cpu.write(gva, bytes, optionsFor(vcpu)).ok;
}

/** Write at a kernel address whichever root is loaded: for areas a kernel registered once (runstate, time). */
export function copyToGuestKernel(vcpu: XenVcpu, gva: bigint, bytes: Uint8Array): boolean {
  if (vcpu.kernelMode) return copyToGuest(vcpu, gva, bytes);
  if (vcpu.ring1) return isGuestRange(vcpu, gva, bytes.length) && vcpu.cpu.write(gva, bytes, AS_SUPERVISOR).ok;
  const { cpu } = vcpu;
  cpu.switchRoot(BigInt(vcpu.kernelRootMfn) << 12n);
  const ok = copyToGuest(vcpu, gva, bytes);
  cpu.switchRoot(BigInt(vcpu.userRootMfn) << 12n);
  return ok;
}

/** A vCPU by the number a guest gave, which may be anything. */
export function vcpuById(domain: XenDomain, id: bigint): XenVcpu | undefined {
  return id < BigInt(domain.vcpus.length) ? domain.vcpus[Number(id)] : undefined;
}
