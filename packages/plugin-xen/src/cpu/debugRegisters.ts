/** The guest's debug registers, and those of the processor that do its watching (Xen, arch/x86/pv/misc-hypercalls.c). */
import type { DebugRegister } from '@polyvisor/plugin-api';
import { isGuestAddress } from '../access.ts';
import type { XenVcpu } from '../domain.ts';
import { EINVAL, ENODEV, EPERM } from '../errno.ts';

const CR4_DE = 8n;
const DR7_GENERAL_DETECT = 1n << 13n;
const DR6_FIXED = 0xffff_0ff0n;
const DR7_FIXED = 0x400n;
const DR7_RESERVED = 0xd800n;

/** RWn of a breakpoint at an I/O port; there are none without CR4.DE. */
const DR7_PORT = 2n;
const DR7_ACTIVE = 0xffn;
const DR7_SETTINGS = [16n, 20n, 24n, 28n];

/** Set a virtual debug register, and the processor's: 0, -ENODEV (no such register), -EINVAL or -EPERM. */
export function writeDebugRegister(vcpu: XenVcpu, register: number, value: bigint): bigint {
  if (register > 7) return ENODEV;
  if ((register === 4 || register === 5) && (vcpu.cr4 & CR4_DE) !== 0n) return ENODEV;
  if (register <= 3) {
    if (!isGuestAddress(value)) return EPERM;
    vcpu.debugRegisters[register] = value;
    vcpu.cpu.setDebugRegister(register as DebugRegister, value);
    return 0n;
  }
  if (value > 0xffff_ffffn) return EINVAL;
  if (register === 4 || register === 6) {
    vcpu.debugRegisters[6] = value | DR6_FIXED;
    return 0n;
  }
  if ((value & DR7_GENERAL_DETECT) !== 0n) return EPERM;
  const watchesPorts = DR7_SETTINGS.some((shift) => ((value >> shift) & 3n) === DR7_PORT);
  if ((value & DR7_ACTIVE) !== 0n && watchesPorts && (vcpu.cr4 & CR4_DE) === 0n) return EPERM;
  vcpu.debugRegisters[7] = (value & ~DR7_RESERVED) | DR7_FIXED;
  vcpu.cpu.setDebugRegister(7, vcpu.debugRegisters[7]);
  return 0n;
}

/** Give the processor the registers that say what to watch. */
export function loadDebugRegisters({ cpu, debugRegisters }: XenVcpu): void {
  for (const index of [0, 1, 2, 3, 7] as const) cpu.setDebugRegister(index, debugRegisters[index]);
}

const DR6_BREAKPOINTS = 15n;
const DR6_STEP = 1n << 14n;

/** A #DB: what the processor says of it goes into the guest's DR6. True: it is about a breakpoint. */
export function takeDebugStatus({ cpu, debugRegisters }: XenVcpu): boolean {
  const status = cpu.debugRegister(6) & (DR6_BREAKPOINTS | DR6_STEP);
  cpu.setDebugRegister(6, DR6_FIXED);
  if ((status & DR6_BREAKPOINTS) !== 0n) debugRegisters[6] &= ~DR6_BREAKPOINTS;
  debugRegisters[6] |= status;
  return (status & DR6_BREAKPOINTS) !== 0n;
}

/** A virtual debug register, or `undefined` when there is none of that number. */
export function readDebugRegister(vcpu: XenVcpu, register: number): bigint | undefined {
  if (register > 7) return undefined;
  if (register !== 4 && register !== 5) return vcpu.debugRegisters[register];
  return (vcpu.cr4 & CR4_DE) !== 0n ? undefined : vcpu.debugRegisters[register + 2];
}
