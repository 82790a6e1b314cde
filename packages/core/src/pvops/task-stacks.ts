import { type ElfImage, Gpr, type Vcpu } from '@polyvisor/plugin-api';
import { preemptsAnywhere } from './kernel-state.ts';
import { typesOf } from './kernel-types.ts';
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
  const memory = new KernelMemory(kernel);
  for (const task of tasks(memory, layout)) {
    if (task === undefined) return false;
    const pointer = memory.word(task + BigInt(layout.stackPointer));
    if (pointer === undefined || !memory.stackIsClear(isWithin, pointer)) return false;
  }
  return true;
}

/** The same of the stack of a processor. */
export function stackIsClear(
  kernel: RunningKernel,
  isWithin: IsWithin,
  vcpu: Pick<Vcpu, 'translate' | 'gpr'>,
): boolean {
  return new KernelMemory(kernel, vcpu).stackIsClear(isWithin, vcpu.gpr[Gpr.RSP]);
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
function* tasks(memory: KernelMemory, layout: TaskLayout): Generator<bigint | undefined> {
  const first = memory.kernel.symbol(FIRST_TASK);
  if (first === undefined) {
    yield undefined;
    return;
  }
  let count = 0;
  for (const node of list(memory, first + BigInt(layout.tasks))) {
    const process = node && node - BigInt(layout.tasks);
    const signal = process && memory.word(process + BigInt(layout.signal));
    if (!signal) {
      yield undefined;
      return;
    }
    for (const thread of list(memory, signal + BigInt(layout.threadHead))) {
      if (++count > MOST_TASKS) yield undefined;
      if (thread !== signal + BigInt(layout.threadHead)) yield thread && thread - BigInt(layout.threadNode);
    }
  }
}

/** The nodes of a list_head's ring, this one first. */
function* list(memory: KernelMemory, head: bigint): Generator<bigint | undefined> {
  let node: bigint | undefined = head;
  let count = 0;
  do {
    yield node;
    node = memory.word(node);
    if (node === undefined || ++count > MOST_TASKS) {
      yield undefined;
      return;
    }
  } while (node !== head);
}

const PAGE = 4096;
/** Stacks are as large, and aligned to it (THREAD_SIZE; 8 KiB on i386). */
const SMALLEST_STACK_BYTES = 1n << 14n;

/** Any memory of the kernel's, as it is mapped at this moment: where pages are is looked up once, since the guest waits. */
class KernelMemory {
  readonly kernel: RunningKernel;
  readonly #vcpu: Pick<Vcpu, 'translate'>;
  readonly #pages = new Map<bigint, number | undefined>();

  constructor(kernel: RunningKernel, vcpu: Pick<Vcpu, 'translate'> = kernel.machine.running) {
    this.kernel = kernel;
    this.#vcpu = vcpu;
  }

  /** `undefined`: not in RAM. Of an aligned word, which is within a page. */
  word(gva: bigint): bigint | undefined {
    const { wordBytes, machine } = this.kernel;
    const gpa = this.#gpaOf(gva);
    if (gpa === undefined || gpa + wordBytes > machine.memory.sizeBytes) return undefined;
    return wordBytes === 8 ? machine.memory.read64(gpa) : BigInt(machine.memory.read32(gpa));
  }

  #gpaOf(gva: bigint): number | undefined {
    const page = gva >> 12n;
    let gpa = this.#pages.get(page);
    if (gpa === undefined && !this.#pages.has(page)) {
      const found = this.#vcpu.translate(page << 12n, 'read', { as: 'supervisor' });
      gpa = found.ok && found.gpa + PAGE <= this.kernel.machine.memory.sizeBytes ? found.gpa : undefined;
      this.#pages.set(page, gpa);
    }
    return gpa === undefined ? undefined : gpa + Number(gva & 0xfffn);
  }

  /**
   * Whether no word of a stack in the kernel, from `pointer` to its end, is an address that `isWithin` says. A stack is aligned to its size, or,
   * at worst, the next one is searched, too.
   */
  stackIsClear(isWithin: IsWithin, pointer: bigint): boolean {
    const { words } = this.kernel.machine.memory;
    const step = this.kernel.wordBytes;
    const first = pointer & -BigInt(step);
    const sizeBytes = Number((first / SMALLEST_STACK_BYTES + 1n) * SMALLEST_STACK_BYTES - first);
    for (let done = 0; done < sizeBytes; ) {
      const chunk = Math.min(sizeBytes - done, PAGE - Number((first + BigInt(done)) & 0xfffn));
      const gpa = this.#gpaOf(first + BigInt(done));
      // A guard page, or a stack that is smaller than that.
      if (gpa === undefined) break;
      for (let at = gpa >>> 2; at < (gpa + chunk) >>> 2; at += step >>> 2) {
        if (isWithin(words[at], step === 8 ? words[at + 1] : 0)) return false;
      }
      done += chunk;
    }
    return true;
  }
}
