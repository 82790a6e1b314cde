import { CR0, EFER, EFLAGS_SYSTEM } from '../../cpu/state.ts';
import { Flag } from '../../isa/flags.ts';
import type { MachineVcpu } from '../vcpu.ts';

const CR0_PE = 1;
const EFER_LMA = 1 << 10;

/** IA-32e mode: 64-bit mode or compatibility mode. */
export const isLongMode = (vcpu: MachineVcpu): boolean => (vcpu.slotHalf(EFER, 0) & EFER_LMA) !== 0;
export const isVirtual8086 = (vcpu: MachineVcpu): boolean => (vcpu.slot32(EFLAGS_SYSTEM) & Flag.VM) !== 0;
/** Selectors name descriptors: neither real-address nor virtual-8086 mode. */
export const hasDescriptors = (vcpu: MachineVcpu): boolean =>
  (vcpu.slotHalf(CR0, 0) & CR0_PE) !== 0 && !isVirtual8086(vcpu);
export const iopl = (vcpu: MachineVcpu): number => (vcpu.slot32(EFLAGS_SYSTEM) >> 12) & 3;
