import { type ExitAnswer, type ExitOf, Gpr, type PageFault, SegmentIndex } from '@polyvisor/plugin-api';
import { isGuestAddress } from '../access.ts';
import type { XenDomain, XenVcpu } from '../domain.ts';
import { VMASST_ARCHITECTURAL_IOPL } from './bounce.ts';
import { baseOf } from './segments.ts';

/** A REP INS longer than this is refused, so that a guest cannot keep the machine busy. */
const MAX_STRING_ELEMENTS = 1 << 22;
const GENERAL_PROTECTION = { fault: 13, errorCode: 0 } as const;
const AS_SUPERVISOR = { as: 'supervisor' } as const;
const RFLAGS_DF = 1n << 10n;

/** Virtual CPL: guest user 3, guest kernel 1, or 0 where the guest asked for an architectural IOPL. */
export function ioplOk(domain: XenDomain, vcpu: XenVcpu): boolean {
  return vcpu.kernelMode ? kernelIoplOk(domain, vcpu) : vcpu.iopl === 3;
}
/** Likewise for the kernel, whichever of them runs. */
export function kernelIoplOk(domain: XenDomain, vcpu: XenVcpu): boolean {
  return vcpu.iopl >= ((domain.vmAssist & VMASST_ARCHITECTURAL_IOPL) !== 0 ? 0 : 1);
}

function bitmapAllows(vcpu: XenVcpu, port: number, sizeBytes: number): boolean {
  if (port + sizeBytes > vcpu.ioBitmapPorts) return false;
  const { cpu } = vcpu;
  const isOtherRoot = !vcpu.kernelMode && !vcpu.ring1;
  if (isOtherRoot) cpu.switchRoot(BigInt(vcpu.kernelRootMfn) << 12n);
  const read = cpu.read(vcpu.ioBitmapGva + BigInt(port >> 3), 2, AS_SUPERVISOR);
  if (isOtherRoot) cpu.switchRoot(BigInt(vcpu.userRootMfn) << 12n);
  if (!read.ok) return false;
  const bits = read.bytes[0] | (read.bytes[1] << 8);
  return (bits & (((1 << sizeBytes) - 1) << (port & 7))) === 0;
}

/**
 * A guest without hardware: reads give all ones, writes vanish; without permission it is #GP. That goes for
 * the interval timer at 0x40–0x43 and 0x61 too: Xen emulates it for the hardware domain alone (xen/arch/x86,
 * emul-i8254.c, pv_pit_handler: all ones without X86_EMU_PIT; domain.c, arch_domain_create, gives a PV domain that
 * emulator if it is the hardware domain, and the toolstack's libxl_x86.c asks for no emulator for a PV domain).
 */
export function onIo(domain: XenDomain, vcpu: XenVcpu, exit: ExitOf<'io'>): ExitAnswer {
  // The processor would look into a task state segment, which is the hypervisor's and allows nothing.
  if (!ioplOk(domain, vcpu) && !bitmapAllows(vcpu, exit.port, exit.sizeBytes)) return GENERAL_PROTECTION;
  if (exit.string) return stringIo(vcpu, exit);
  if (exit.direction === 'in') {
    const { gprHalves } = vcpu.cpu;
    // EAX clears the upper half; AX and AL leave the rest as it is.
    gprHalves[2 * Gpr.RAX] |= exit.sizeBytes === 4 ? -1 : (1 << (exit.sizeBytes * 8)) - 1;
    if (exit.sizeBytes === 4) gprHalves[2 * Gpr.RAX + 1] = 0;
  }
  return 'handled';
}

/** INS stores ones, OUTS goes nowhere; a page fault stops the repetition where it happened, as on hardware. */
function stringIo(vcpu: XenVcpu, exit: ExitOf<'io'>): ExitAnswer {
  const { cpu } = vcpu;
  const { gpr } = cpu;
  const mask = (1n << BigInt(exit.addressSize)) - 1n;
  const step = BigInt((cpu.rflags & RFLAGS_DF) === 0n ? exit.sizeBytes : -exit.sizeBytes);
  let left = exit.rep ? gpr[Gpr.RCX] & mask : 1n;
  const index = exit.direction === 'in' ? Gpr.RDI : Gpr.RSI;
  let at = gpr[index] & mask;
  let answer: ExitAnswer = 'handled';
  if (exit.direction === 'out') {
    at += step * left;
    left = 0n;
  } else {
    const ones = new Uint8Array(exit.sizeBytes).fill(0xff);
    const base = exit.addressSize === 64 ? 0n : baseOf(vcpu, SegmentIndex.ES);
    for (let done = 0; left > 0n; done++) {
      const gva = BigInt.asUintN(64, base + (at & mask));
      const result = done < MAX_STRING_ELEMENTS && isGuestAddress(gva) ? cpu.write(gva, ones) : undefined;
      if (result?.ok !== true) {
        answer = result === undefined ? GENERAL_PROTECTION : pageFault(result.fault);
        break;
      }
      at += step;
      left--;
    }
  }
  gpr[index] = merge(gpr[index], at, mask);
  if (exit.rep) gpr[Gpr.RCX] = merge(gpr[Gpr.RCX], left, mask);
  return answer;
}

function pageFault(fault: PageFault): ExitAnswer {
  return { fault: 14, errorCode: fault.errorCode, cr2: fault.gva };
}

/** A 32-bit address register clears the upper half; a 16-bit one keeps it. */
function merge(old: bigint, value: bigint, mask: bigint): bigint {
  return mask === 0xffffn ? (old & ~mask) | (value & mask) : value & mask;
}
