import type { ElfImage, Vcpu } from '@polyvisor/plugin-api';
import { preemptsAnywhere, typesOf } from './kernel-state.ts';
import type { RunningKernel } from './running-kernel.ts';
import { offsetOf } from './struct-layout.ts';

const MOST_TASKS = 65536;
const FIRST_TASK = 'init_task';

/** Offsets in bytes, as the kernel's types give them. */
interface TaskLayout {
  readonly tasks: number;
  readonly signal: number;
  readonly threadNode: number;
  readonly threadHead: number;
  readonly stackPointer: number;
}

const layouts = new WeakMap<ElfImage, TaskLayout | undefined>();

/** What is asked of an address, of which these are the halves, with a sign or without. */
export type IsWithin = (low: number, high: number) => boolean;

/**
 * Whether no task that waits for its turn was preempted where `isWithin` says. The part of each
 * task's stack that is in use is searched word by word, and any number that looks like such an address counts. Without types
 * (BTF) tasks cannot be found; then a kernel that preempts its own code anywhere is never at a safe point.
 */
export function sleepersAreClear(kernel: RunningKernel, isWithin: IsWithin): boolean {
  const { elf } = kernel;
  if (!layouts.has(elf)) layouts.set(elf, taskLayout(elf));
  const layout = layouts.get(elf);
  if (!layout) return !preemptsAnywhere(kernel);
  for (const task of tasks(kernel, layout)) {
    if (task === undefined) return false;
    if (!taskIsClear(kernel, isWithin, task, layout)) return false;
  }
  return true;
}

function taskLayout(elf: ElfImage): TaskLayout | undefined {
  const btf = typesOf(elf);
  if (!btf) return undefined;
  const task = 'task_struct';
  return {
    tasks: offsetOf(btf, task, ['tasks']),
    signal: offsetOf(btf, task, ['signal']),
    threadNode: offsetOf(btf, task, ['thread_node']),
    threadHead: offsetOf(btf, 'signal_struct', ['thread_head']),
    stackPointer: offsetOf(btf, task, ['thread', 'sp']),
  };
}

/** Every thread of every process; `undefined`: the lists lead nowhere. */
function* tasks(kernel: RunningKernel, layout: TaskLayout): Generator<bigint | undefined> {
  const first = kernel.symbol(FIRST_TASK);
  if (first === undefined) {
    yield undefined;
    return;
  }
  let count = 0;
  for (const node of list(kernel, first + BigInt(layout.tasks))) {
    const process = node && node - BigInt(layout.tasks);
    const signal = process && word(kernel, process + BigInt(layout.signal));
    if (!signal) {
      yield undefined;
      return;
    }
    for (const thread of list(kernel, signal + BigInt(layout.threadHead))) {
      if (++count > MOST_TASKS) yield undefined;
      if (thread !== signal + BigInt(layout.threadHead)) yield thread && thread - BigInt(layout.threadNode);
    }
  }
}

/** The nodes of a list_head's ring, this one first. */
function* list(kernel: RunningKernel, head: bigint): Generator<bigint | undefined> {
  let node: bigint | undefined = head;
  let count = 0;
  do {
    yield node;
    node = word(kernel, node);
    if (node === undefined || ++count > MOST_TASKS) {
      yield undefined;
      return;
    }
  } while (node !== head);
}

/** From where the task went to sleep. */
function taskIsClear(kernel: RunningKernel, isWithin: IsWithin, task: bigint, layout: TaskLayout): boolean {
  const pointer = word(kernel, task + BigInt(layout.stackPointer));
  return pointer !== undefined && stackIsClear(kernel, isWithin, pointer);
}

/**
 * Whether no word of a stack in the kernel, from `pointer` to its end, is an address that `isWithin` says. A stack is aligned to its size, or,
 * at worst, the next one is searched, too.
 */
export function stackIsClear(
  kernel: RunningKernel,
  isWithin: IsWithin,
  pointer: bigint,
  vcpu: Pick<Vcpu, 'translate'> = kernel.machine.running,
): boolean {
  const { words } = kernel.machine.memory;
  const step = kernel.wordBytes;
  const first = pointer & -BigInt(step);
  const sizeBytes = Number((first / SMALLEST_STACK_BYTES + 1n) * SMALLEST_STACK_BYTES - first);
  for (let done = 0; done < sizeBytes; ) {
    const chunk = Math.min(sizeBytes - done, PAGE - Number((first + BigInt(done)) & 0xfffn));
    const gpa = gpaOf(kernel, first + BigInt(done), chunk, vcpu);
    // A guard page, or a stack that is smaller than that.
    if (gpa === undefined) break;
    for (let at = gpa >>> 2; at < (gpa + chunk) >>> 2; at += step >>> 2) {
      if (isWithin(words[at], step === 8 ? words[at + 1] : 0)) return false;
    }
    done += chunk;
  }
  return true;
}

const PAGE = 4096;
/** Stacks are as large, and aligned to it (THREAD_SIZE; 8 KiB on i386). */
const SMALLEST_STACK_BYTES = 1n << 14n;

/** Where any memory of the kernel's is, as it is mapped at this moment. */
function gpaOf(
  { machine: { memory, running } }: RunningKernel,
  gva: bigint,
  sizeBytes: number,
  vcpu: Pick<Vcpu, 'translate'> = running,
): number | undefined {
  const found = vcpu.translate(gva, 'read', { as: 'supervisor' });
  return found.ok && found.gpa + sizeBytes <= memory.sizeBytes ? found.gpa : undefined;
}
function word(kernel: RunningKernel, gva: bigint): bigint | undefined {
  const { memory } = kernel.machine;
  const gpa = gpaOf(kernel, gva, kernel.wordBytes);
  if (gpa === undefined) return undefined;
  return kernel.wordBytes === 8 ? memory.read64(gpa) : BigInt(memory.read32(gpa));
}
