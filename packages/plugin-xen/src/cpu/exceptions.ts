import type { ExitAnswer, ExitOf } from '@polyvisor/plugin-api';
import { HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START } from '../access.ts';
import type { XenVcpu } from '../domain.ts';
import { LDT_FIRST_PAGE, PAGE_BYTES } from '../layout.ts';
import { emulateTableWrite } from '../mm/writableTables.ts';
import type { PvDomain } from '../pvDomain.ts';
import { setTaskSwitched } from './calls.ts';
import { takeDebugStatus } from './debugRegisters.ts';
import { ldtAddress, ldtFrame } from './descriptors.ts';
import { executeCpuid } from './privileged.ts';
import { instructionAddress } from './segments.ts';
import { type Dispatch, onHypercall32 } from './syscall.ts';
import {
  FaultCode,
  injectException,
  injectPageFault,
  injectSoftwareInterrupt,
  softwareInterruptAllowed,
  Vector,
} from './traps.ts';
import { growSegment } from './truncatedSegments.ts';

const { PRESENT, WRITE, RESERVED, FETCH } = FaultCode;
const DR6_STEP = 1n << 14n;
const RFLAGS_TF = 1n << 8n;
/** PV32: only its kernel's level may use it; from user mode it is like any other vector. */
const HYPERCALL_VECTOR = 0x82;
const LDT_BYTES = BigInt(LDT_FIRST_PAGE * PAGE_BYTES);

/** UD2A, "xen", CPUID: the way a PV kernel asks for Xen's view of CPUID (public/arch-x86/xen.h, XEN_EMULATE_PREFIX). */
const FORCED_CPUID = [0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2];

/** An exception of the CPU under a PV guest: fixed up here, or reflected through the trap table. */
export function onException(domain: PvDomain, vcpu: XenVcpu, exit: ExitOf<'exception'>): ExitAnswer {
  switch (exit.vector) {
    case Vector.PF:
      onPageFault(domain, vcpu, exit.cr2 ?? 0n, exit.errorCode ?? 0);
      return 'handled';
    case Vector.UD:
      if (forcedCpuid(domain, vcpu)) return 'handled';
      break;
    case Vector.GP:
      if (exit.errorCode === 0 && growSegment(domain, vcpu)) return 'handled';
      break;
    case Vector.NM:
      // Xen clears TS itself when it reflects #NM; guests rely on it.
      setTaskSwitched(vcpu, false);
      break;
    case Vector.DB:
      if ((vcpu.cpu.rflags & RFLAGS_TF) !== 0n) vcpu.debugRegisters[6] |= DR6_STEP;
      // Of an instruction that led into Xen the trap is Xen's, which notes it and goes on (xen/arch/x86/traps.c, do_debug).
      if (takeDebugStatus(vcpu) && vcpu.inXen) return 'handled';
      break;
  }
  injectException(domain, vcpu, exit.vector, exit.errorCode ?? 0);
  return 'handled';
}

function onPageFault(domain: PvDomain, vcpu: XenVcpu, gva: bigint, errorCode: number): void {
  if (gva >= HYPERVISOR_VIRT_START && gva < HYPERVISOR_VIRT_END) {
    const offset = gva - ldtAddress(vcpu);
    if (offset >= 0n && offset < LDT_BYTES) onLdtFault(domain, vcpu, offset, errorCode);
    else injectPageFault(domain, vcpu, gva, errorCode);
    return;
  }
  const isTableWrite = (errorCode & (PRESENT | WRITE | RESERVED | FETCH)) === (PRESENT | WRITE);
  if (isTableWrite && vcpu.kernelMode && emulateTableWrite(domain, vcpu, gva)) return;
  injectPageFault(domain, vcpu, gva, errorCode);
}

/** The CPU read an LDT descriptor: map the page if the guest's LDT has it, else the fault is the guest's. */
function onLdtFault(domain: PvDomain, vcpu: XenVcpu, offset: bigint, errorCode: number): void {
  const address = vcpu.ldtBase + offset;
  const page = Number(offset >> 12n);
  const isNew = BigInt(vcpu.ldtEntries * 8) > offset && !vcpu.ldtFrames.has(page);
  if (isNew && ldtFrame(domain, vcpu, page) !== undefined) return;
  injectPageFault(domain, vcpu, BigInt.asUintN(64, address), errorCode);
}

function forcedCpuid(domain: PvDomain, vcpu: XenVcpu): boolean {
  const { cpu } = vcpu;
  const code = cpu.read(instructionAddress(vcpu), FORCED_CPUID.length);
  if (!code.ok || !FORCED_CPUID.every((byte, index) => code.bytes[index] === byte)) return false;
  executeCpuid(domain, vcpu);
  cpu.rip = BigInt.asUintN(64, cpu.rip + BigInt(FORCED_CPUID.length));
  return true;
}

/** INT n through the virtual IDT; without the privilege #GP with the vector's error code (SDM vol. 3A, 6.12.1.1). */
export function onSoftwareInterrupt(
  domain: PvDomain,
  vcpu: XenVcpu,
  exit: ExitOf<'softwareInterrupt'>,
  dispatch: Dispatch,
): ExitAnswer {
  if (vcpu.ring1 && exit.vector === HYPERCALL_VECTOR && vcpu.kernelMode) {
    vcpu.cpu.rip = BigInt.asUintN(32, vcpu.cpu.rip + BigInt(exit.instructionLength));
    onHypercall32(domain, vcpu, dispatch);
    return 'handled';
  }
  if (!softwareInterruptAllowed(vcpu, exit.vector)) {
    return { fault: Vector.GP, errorCode: (exit.vector << 3) | 2 };
  }
  vcpu.cpu.rip = BigInt.asUintN(64, vcpu.cpu.rip + BigInt(exit.instructionLength));
  injectSoftwareInterrupt(domain, vcpu, exit.vector);
  return 'handled';
}
