import type { RunningKernel } from './running-kernel.ts';
import { type IsWithin, sleepersAreClear, stackIsClear } from './task-stacks.ts';

const INTERRUPT_FLAG = 0x200;

/**
 * Whether nobody is, or will go on, where `isWithin` says: in the midst of instructions that a first patch of the sites would
 * remove, say. Every vCPU must be in user
 * space, or halted with interrupts on: then no interrupt or exception is being handled on it, and the kernel's stacks hold
 * nothing but calls, which return to where a site ends. One that is halted with interrupts off, as a processor is that has been taken
 * offline, could have been interrupted before: its own stack is searched. What else could go on within a site is a task that was preempted
 * in the kernel; their stacks are searched, too.
 */
export function isSafePoint(kernel: RunningKernel, isWithin: IsWithin): boolean {
  const quiet = kernel.machine.vcpus.every((vcpu) => {
    if (vcpu.offline) return true;
    const [low, high] = vcpu.ripHalves;
    // In a world of another plug-in's its memory and registers are not the kernel's.
    if (vcpu.pending || vcpu.assist || isWithin(low, high)) return false;
    if (vcpu.cpl === 3) return true;
    if (!vcpu.blocked) return false;
    return (vcpu.eflags & INTERRUPT_FLAG) !== 0 || stackIsClear(kernel, isWithin, vcpu);
  });
  return quiet && sleepersAreClear(kernel, isWithin);
}
