import { BtfKind } from '../loader/image/btf.ts';
import { typesOf } from './kernel-types.ts';
import type { RunningKernel } from './running-kernel.ts';

const STATE = 'system_state';
const TEXT = '_stext';

/**
 * Whether the kernel is done with changing its own code and page tables for the processor that it has found, and has freed
 * what it only needed for that: its variable `system_state` says so, by the value that its types give SYSTEM_RUNNING. Where
 * there are no types, once it cannot write its own code any more, the last thing before that (Linux, init/main.c,
 * kernel_init), or runs a program.
 */
export function hasBooted(kernel: RunningKernel): boolean {
  const btf = typesOf(kernel.elf);
  const state = kernel.symbol(STATE);
  if (!btf || state === undefined) return textIsReadOnly(kernel) || kernel.machine.vcpus.some(({ cpl }) => cpl === 3);
  const states = btf.find(BtfKind.ENUM, 'system_states');
  const running = states === undefined ? undefined : btf.enumerator(states, 'SYSTEM_RUNNING');
  const value = kernel.read(state, 4);
  return running !== undefined && value !== undefined && new DataView(value.buffer).getInt32(0, true) === running;
}

function textIsReadOnly(kernel: RunningKernel): boolean {
  const text = kernel.symbol(TEXT);
  const [vcpu] = kernel.machine.vcpus;
  const may = (access: 'read' | 'write') => text !== undefined && vcpu.translate(text, access, { as: 'supervisor' }).ok;
  return may('read') && !may('write');
}

/** What an interrupt calls before it returns to the kernel's own code; absent where that is never preempted. */
const PREEMPT_IRQ = 'preempt_schedule_irq';
/** Jumps there, or returns, as the kernel has been told (CONFIG_PREEMPT_DYNAMIC, static_call.h). */
const TRAMPOLINE = '__SCT__irqentry_exit_cond_resched';
const RETURN_THUNK = '__x86_return_thunk';
/** Linux, kernel/sched/core.c: the kernel is preempted where it says so itself, or not at all; 2 is anywhere. */
const MODE = 'preempt_dynamic_mode';
const MODE_ANYWHERE = 2;
const JMP = 0xe9;
const RET = 0xc3;

/** Whether an interrupt may leave a task anywhere in the kernel's code and go on with another one. */
export function preemptsAnywhere(kernel: RunningKernel): boolean {
  const { size } = kernel.ops.symbols;
  const mode = kernel.symbol(MODE);
  if (mode !== undefined) return (kernel.read(mode, 1)?.[0] ?? MODE_ANYWHERE) >= MODE_ANYWHERE;
  const trampoline = kernel.symbol(TRAMPOLINE);
  const code = trampoline === undefined ? undefined : kernel.read(trampoline, 5);
  if (trampoline === undefined || !code) return size === 0 || kernel.symbol(PREEMPT_IRQ) !== undefined;
  if (code[0] === RET) return false;
  const distance = new DataView(code.buffer).getInt32(1, true);
  const returns = kernel.wrap(trampoline + BigInt(5 + distance)) === kernel.symbol(RETURN_THUNK);
  return code[0] !== JMP || !returns;
}
