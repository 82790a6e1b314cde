import { EFLAGS_SYSTEM } from '../../cpu/state.ts';
import { Flag } from '../../isa/flags.ts';
import type { MachineVcpu } from '../vcpu.ts';

const CR0_PE = 1n;
const EFER_LMA = 1n << 10n;

/** IA-32e mode: 64-bit mode or compatibility mode. */
export const isLongMode = (vcpu: MachineVcpu): boolean => (vcpu.efer & EFER_LMA) !== 0n;
export const isVirtual8086 = (vcpu: MachineVcpu): boolean => (vcpu.slot32(EFLAGS_SYSTEM) & Flag.VM) !== 0;
/** Selectors name descriptors: neither real-address nor virtual-8086 mode. */
export const hasDescriptors = (vcpu: MachineVcpu): boolean => (vcpu.cr0 & CR0_PE) !== 0n && !isVirtual8086(vcpu);
export const iopl = (vcpu: MachineVcpu): number => (vcpu.slot32(EFLAGS_SYSTEM) >> 12) & 3;
