import { Gpr } from '@polyvisor/plugin-api';
import type { Machine } from '../machine/index.ts';
import { EntryTrap } from './entry-trap.ts';
import type { LinkedObject } from './link/link.ts';
import { type FrameLayout, frameLayout, innermostFrame } from './link/op-thunk.ts';
import type { RunningKernel } from './running-kernel.ts';
import type { TextMemory } from './text-memory.ts';

type MachineVcpu = Machine['vcpus'][number];

/**
 * Linux, arch/x86/mm: what is called with struct pt_regs when there is no other remedy for a fault of the kernel's own code.
 * If the first answers 1, the kernel goes on at what is in there then; and so it does if the second returns, which is where
 * page faults go that the first is not asked about (those that SMAP has stopped).
 */
const LAST_REMEDIES = ['fixup_exception', 'page_fault_oops'];
/** VMCALL, RET; and VMCALL alone. */
const CODE = [0x0f, 0x01, 0xc1, 0xc3, 0x0f, 0x01, 0xc1];
const LANDING = 4;
/** Words of struct pt_regs: RIP or EIP, and what comes after CS and the flags (Linux, arch/x86/include/asm/ptrace.h). */
const PT_REGS = { 8: { ip: 16, after: 19 }, 4: { ip: 12, after: 15 } } as const;
/** Most of a stack that is searched. */
const STACK_BYTES = 16 << 10;
const PAGE = 4096;

/** An operation in guest code: its slot, and where that leads for it. */
interface GuardedOp {
  readonly slot: string;
  readonly gva: bigint;
}
interface Guarded extends GuardedOp {
  readonly linked: LinkedObject;
}

interface FaultGuardHost {
  /** Where to go on in place of an operation. */
  previousOf(slot: string): bigint;
  /** An operation has met a fault: it must not be called again. */
  failed(op: GuardedOp, what: string): void;
}

/**
 * Faults of guest-code operations. The kernel handles its faults as always; only where it has no remedy left it is given one:
 * to go on at what was there before the operation, with registers, flags and stack as at the operation's first instruction, which its
 * thunk has kept on the stack. Memory that the operation has written stays written.
 */
export class FaultGuard {
  readonly #kernel: RunningKernel;
  readonly #host: FaultGuardHost;
  readonly #traps: readonly EntryTrap[];
  readonly #base: bigint;
  readonly #lowBase: number;
  readonly #highBase: number;
  readonly #frame: FrameLayout;
  /** By where their functions return to. They stay: a task may still be within one that is not loaded any more. */
  readonly #ops = new Map<bigint, Guarded>();

  /** Throws PV5013. */
  constructor(kernel: RunningKernel, text: TextMemory, host: FaultGuardHost) {
    this.#kernel = kernel;
    this.#host = host;
    const { gva, gpa } = text.allocateText(CODE.length);
    this.#base = gva;
    this.#lowBase = Number(gva & 0xffffffffn);
    this.#highBase = Number(gva >> 32n) | 0;
    this.#traps = LAST_REMEDIES.map((symbol) => new EntryTrap(kernel, symbol, gva));
    this.#frame = frameLayout(kernel.wordBytes === 8 ? 64 : 32);
    kernel.machine.memory.writeBytes(gpa, Uint8Array.from(CODE));
    kernel.machine.kernelCalls.add((vcpu) => this.#take(vcpu));
  }

  arm(on: boolean): void {
    for (const trap of this.#traps) trap.arm(on);
  }
  add(linked: LinkedObject): void {
    for (const { slot, gva, returnTo } of linked.ops) this.#ops.set(returnTo, { slot, gva, linked });
  }

  #take(vcpu: MachineVcpu): boolean {
    const [low, high] = vcpu.ripHalves;
    const offset = (low >>> 0) - this.#lowBase;
    if (high !== this.#highBase || (offset !== 0 && offset !== LANDING)) return false;
    if (offset === LANDING) return this.#land(vcpu);
    if (!this.#remedy(vcpu)) vcpu.rip = this.#base + 3n;
    return true;
  }

  /** The kernel asks for a remedy. False: none is known here. */
  #remedy(vcpu: MachineVcpu): boolean {
    const { wordBytes } = this.#kernel;
    const regs = vcpu.gpr[wordBytes === 8 ? Gpr.RDI : Gpr.RAX];
    const { ip, after } = PT_REGS[wordBytes];
    const word = (index: number) => this.#kernel.readWordNow(regs + BigInt(index * wordBytes));
    const at = word(ip);
    const faulty = at === undefined ? undefined : placeIn(at, this.#ops.values());
    // Where a fault within the kernel does not change the stack's pointer, that is not saved by i386.
    const sp = wordBytes === 8 ? word(after) : regs + BigInt(after * wordBytes);
    const found = faulty === undefined || sp === undefined ? undefined : this.#findFrame(vcpu, sp);
    const caller = this.#kernel.readWordNow(vcpu.gpr[Gpr.RSP] + BigInt(wordBytes));
    if (!found || caller === undefined) return false;
    if (!this.#write(vcpu, regs + BigInt(ip * wordBytes), this.#base + BigInt(LANDING))) return false;
    this.#host.failed(found.op, `a fault at ${faulty}`);
    // As if the function had answered: it has called the trap with its first instruction.
    vcpu.gpr[Gpr.RAX] = 1n;
    vcpu.gpr[Gpr.RSP] += BigInt(2 * wordBytes);
    vcpu.rip = caller;
    return true;
  }

  /** The kernel has gone on behind the fault. */
  #land(vcpu: MachineVcpu): boolean {
    const found = this.#findFrame(vcpu, vcpu.gpr[Gpr.RSP]);
    if (!found) return false;
    const { registers, wordBytes, flagsAt, entryAt } = this.#frame;
    const word = (offset: number) => this.#kernel.readWordNow(found.at + BigInt(offset)) ?? 0n;
    for (const [i, register] of registers.entries()) vcpu.gpr[register] = word((i + 1) * wordBytes);
    const flags = word(flagsAt);
    this.#write(vcpu, found.at, 0n);
    vcpu.gpr[Gpr.RSP] = found.at + BigInt(entryAt);
    vcpu.eflags = Number(flags);
    vcpu.rip = this.#host.previousOf(found.op.slot);
    return true;
  }

  #findFrame(vcpu: MachineVcpu, sp: bigint): { readonly at: bigint; readonly op: Guarded } | undefined {
    return innermostFrame(this.#frame, this.#stack(vcpu, sp), sp, {
      opOf: (returnTo) => this.#ops.get(returnTo),
      returnsToKernel: (value) => this.#returnsToKernel(value),
    });
  }

  #stack(vcpu: MachineVcpu, sp: bigint): Uint8Array {
    const parts: Uint8Array[] = [];
    for (let offset = 0; offset < STACK_BYTES; ) {
      const gva = sp + BigInt(offset);
      const sizeBytes = PAGE - Number(gva & BigInt(PAGE - 1));
      const found = vcpu.read(this.#kernel.wrap(gva), sizeBytes, { as: 'supervisor' });
      if (!found.ok) break;
      parts.push(found.bytes);
      offset += sizeBytes;
    }
    return Uint8Array.from(Buffer.concat(parts));
  }

  /** Whether it is the address of what follows a CALL in the kernel's code: rel32, or of one of two to seven bytes with FF /2. */
  #returnsToKernel(value: bigint): boolean {
    const first = this.#kernel.symbol('_stext');
    const end = this.#kernel.symbol('_etext');
    if (first === undefined || end === undefined || value < first + 7n || value > end) return false;
    const before = this.#kernel.read(value - 7n, 7);
    if (!before) return false;
    return before[2] === 0xe8 || [0, 1, 3, 4, 5].some((i) => before[i] === 0xff && ((before[i + 1] >> 3) & 7) === 2);
  }

  #write(vcpu: MachineVcpu, gva: bigint, value: bigint): boolean {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, value, true);
    return vcpu.write(gva, bytes.subarray(0, this.#kernel.wordBytes), { as: 'supervisor' }).ok;
  }
}

/** In words, where in a module's code an address is; `undefined`: in none. */
function placeIn(gva: bigint, ops: Iterable<Guarded>): string | undefined {
  for (const { linked } of ops) {
    const { base, bytes } = linked.regions.text;
    if (gva < base || gva >= base + BigInt(bytes.length)) continue;
    const own = linked.functions.find((each) => gva >= each.gva && gva < each.gva + BigInt(each.sizeBytes));
    return own ? `${own.name}+0x${(gva - own.gva).toString(16)}` : `0x${gva.toString(16)}`;
  }
  return undefined;
}
