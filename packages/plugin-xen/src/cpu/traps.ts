import type { XenDomain, XenVcpu } from '../domain.ts';
import { bounce } from './bounce.ts';

export const Vector = { DB: 1, NMI: 2, BP: 3, UD: 6, NM: 7, GP: 13, PF: 14 } as const;

/** Vectors 8, 10–14, 17, 21 push an error code (SDM vol. 3A, table 6-1). */
const HAS_ERROR_CODE = (1 << 8) | (0x1f << 10) | (1 << 17) | (1 << 21);

/** Bits of a page fault's error code (SDM vol. 3A, 4.7). */
export const FaultCode = { PRESENT: 1, WRITE: 2, USER: 4, RESERVED: 8, FETCH: 16 } as const;
export const TRAP_MASKS_EVENTS = 4;

const NAMES: Readonly<Record<number, string>> = {
  0: '#DE',
  1: '#DB',
  2: 'NMI',
  3: '#BP',
  4: '#OF',
  5: '#BR',
  6: '#UD',
  7: '#NM',
  8: '#DF',
  10: '#TS',
  11: '#NP',
  12: '#SS',
  13: '#GP',
  14: '#PF',
  16: '#MF',
  17: '#AC',
  18: '#MC',
  19: '#XM',
  21: '#CP',
};

export function vectorName(vector: number): string {
  return NAMES[vector] ?? `vector ${vector}`;
}

/** Reflect a CPU exception to the guest kernel through its trap table. */
export function injectException(domain: XenDomain, vcpu: XenVcpu, vector: number, errorCode = 0): void {
  const trap = vcpu.traps[vector];
  const code = (HAS_ERROR_CODE >>> vector) & 1 ? errorCode : undefined;
  bounce(domain, vcpu, {
    address: trap.address,
    cs: trap.cs,
    masksEvents: (trap.flags & TRAP_MASKS_EVENTS) !== 0,
    errorCode: code,
    what: () => unhandled(vcpu, vector, code),
  });
}

function unhandled(vcpu: XenVcpu, vector: number, code: number | undefined): string {
  const detail = code === undefined ? '' : `[${code.toString(16).padStart(4, '0')}]`;
  const cr2 = vector === Vector.PF ? ` at 0x${vcpu.cpu.cr2.toString(16)}` : '';
  return `unhandled ${vectorName(vector)}${detail}${cr2}`;
}

/** vcpu_info.arch.cr2, a word of the guest's. */
export function readGuestCr2(domain: XenDomain, vcpu: XenVcpu): bigint {
  const gpa = vcpu.vcpuInfoGpa + domain.shared.vcpuCr2;
  return domain.shared.wordBytes === 8 ? domain.memory.read64(gpa) : BigInt(domain.memory.read32(gpa));
}
export function writeGuestCr2(domain: XenDomain, vcpu: XenVcpu, gva: bigint): void {
  const gpa = vcpu.vcpuInfoGpa + domain.shared.vcpuCr2;
  if (domain.shared.wordBytes === 8) domain.memory.write64(gpa, gva);
  else domain.memory.write32(gpa, Number(BigInt.asUintN(32, gva)));
}

/** Page fault: the address goes to vcpu_info.arch.cr2, and U/S tells guest user from guest kernel. */
export function injectPageFault(domain: XenDomain, vcpu: XenVcpu, gva: bigint, errorCode: number): void {
  vcpu.cpu.cr2 = gva;
  writeGuestCr2(domain, vcpu, gva);
  const code = vcpu.kernelMode ? errorCode & ~FaultCode.USER : errorCode | FaultCode.USER;
  injectException(domain, vcpu, Vector.PF, code);
}

/** INT n: allowed when the entry's DPL reaches the guest's virtual CPL (kernel 1, user 3), else #GP. RIP is after the instruction. */
export function injectSoftwareInterrupt(domain: XenDomain, vcpu: XenVcpu, vector: number): void {
  const trap = vcpu.traps[vector];
  bounce(domain, vcpu, {
    address: trap.address,
    cs: trap.cs,
    masksEvents: (trap.flags & TRAP_MASKS_EVENTS) !== 0,
    what: `INT 0x${vector.toString(16)}`,
  });
}

export function softwareInterruptAllowed(vcpu: XenVcpu, vector: number): boolean {
  const dpl = vcpu.traps[vector].flags & 3;
  return dpl >= (vcpu.kernelMode ? 1 : 3);
}
