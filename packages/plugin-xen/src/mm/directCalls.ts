/** mmu_update of one L1 entry, update_va_mapping, and mmuext_op of one INVLPG, without an exit (docs/decisions/0042). */
import { type DirectCode, Gpr, type PluginHost, type Quad, type Word } from '@polyvisor/plugin-api';
import { HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START } from '../access.ts';
import { Cell } from '../cpu/cells.ts';
import type { XenVcpu } from '../domain.ts';
import { Domid } from '../hypercall/domid.ts';
import { HYPERCALLS, type HypercallInfo } from '../hypercall/table.ts';
import { all, isZero, updateAtMachineAddress, updateAtSlots } from './directL1.ts';
import type { FrameTable } from './frames.ts';

export const MMU_UPDATE = 1;
export const UPDATE_VA_MAPPING = 14;
export const MMUEXT_OP = 26;
const MMUEXT_INVLPG_LOCAL = 7;
const MmuCommand = { MASK: 7, NORMAL: 0, PRESERVE_AD: 2 } as const;
const REQUEST_BYTES = 16;
/** UVMF_*: no flush, and the page on this vCPU alone. */
const Flush = { NONE: 0, LOCAL_PAGE: 2 } as const;

const counterOf = (number: number) => (HYPERCALLS[number] as HypercallInfo).counter;
/** By the halves of the cells that count them. */
const COUNTERS = [MMU_UPDATE, UPDATE_VA_MAPPING, MMUEXT_OP].map(counterOf);
type Counted = { readonly cell: number; readonly one: bigint };
const Count = {
  MMU_UPDATE: { cell: Cell.UPDATES, one: 1n },
  UPDATE_VA_MAPPING: { cell: Cell.UPDATES, one: 1n << 32n },
  MMUEXT_OP: { cell: Cell.MMUEXT_OPS, one: 1n },
} as const;

/** What is built where a call is done: it answers 0 and goes on. */
type Finish = () => void;

/** Changes of page tables are allowed, and there are frames. */
export const mayUpdate = (code: DirectCode): Word => code.place(Cell.RAM);

/** Count a call that has been made. */
function count(code: DirectCode, { cell, one }: Counted): void {
  code.setCell(cell, code.add(code.cell(cell), code.quad(one)));
}

/** Of the arguments that mmu_update and mmuext_op have. */
export interface ListArguments {
  readonly list: () => Quad;
  readonly count: Word;
  readonly done: Quad;
  readonly domid: Word;
}
/** A list of one, by the guest for itself; `then` gets its place. */
function withOnlyOne(code: DirectCode, args: ListArguments, sizeBytes: number, then: (at: () => Word) => void): void {
  const isOne = all(
    code,
    code.equal(args.count, code.word(1)),
    code.equal(args.done, code.quad(0n)),
    code.equal(args.domid, code.word(Domid.SELF)),
    isGuestAddress(code, args.list),
  );
  code.when(isOne, () => {
    const place = code.keep(code.reach('present', args.list(), sizeBytes, 'read'));
    code.when(place(), () => then(place));
  });
}

/** mmu_update of an L1 entry. */
export function buildMmuUpdate(code: DirectCode, levels: 3 | 4, args: ListArguments, finish: Finish): void {
  withOnlyOne(code, args, REQUEST_BYTES, (request) => {
    const [pointer, lo, hi] = [0, 8, 12].map((at) => code.keep(code.load(request(), at, 4)));
    const command = code.keep(code.and(pointer(), code.word(MmuCommand.MASK)));
    const preservesAd = code.keep(code.equal(command(), code.word(MmuCommand.PRESERVE_AD)));
    const isKnown = code.or(preservesAd(), code.equal(command(), code.word(MmuCommand.NORMAL)));
    const isLow = isZero(code, code.load(request(), 4, 4));
    code.when(all(code, isKnown, isLow), () =>
      updateAtMachineAddress(code, levels, pointer, { lo, hi, preservesAd }, () => {
        count(code, Count.MMU_UPDATE);
        finish();
      }),
    );
  });
}

/** mmuext_op of INVLPG on this vCPU. */
export function buildMmuextOp(code: DirectCode, levels: 3 | 4, args: ListArguments, finish: Finish): void {
  const wordBytes = levels === 4 ? 8 : 4;
  withOnlyOne(code, args, 3 * wordBytes, (op) => {
    code.when(code.equal(code.load(op(), 0, 4), code.word(MMUEXT_INVLPG_LOCAL)), () => {
      const address = levels === 4 ? code.load(op(), 8, 8) : code.toQuad(code.load(op(), 4, 4));
      count(code, Count.MMUEXT_OP);
      code.invalidatePage(address);
      finish();
    });
  });
}

/** Of an address, an entry in halves, and flags. */
export function buildUpdateVaMapping(
  code: DirectCode,
  levels: 3 | 4,
  args: { readonly address: () => Quad; readonly lo: () => Word; readonly hi: () => Word; readonly flags: () => Word },
  finish: Finish,
): void {
  const { address, lo, hi, flags } = args;
  const flushesPage = code.keep(code.equal(flags(), code.word(Flush.LOCAL_PAGE)));
  const isKnown = code.or(flushesPage(), code.equal(flags(), code.word(Flush.NONE)));
  const isCanonical = code.equal(code.canonical(address()), address());
  code.when(all(code, isKnown, isCanonical, isGuestAddress(code, address)), () => {
    const slots = [39, 30, 21, 12].slice(4 - levels).map((bit) => code.lowWord(code.shiftRight(address(), bit)));
    const preservesAd = code.keep(code.word(0));
    updateAtSlots(code, levels, slots, { lo, hi, preservesAd }, () => {
      count(code, Count.UPDATE_VA_MAPPING);
      code.when(flushesPage(), () => code.invalidatePage(address()));
      finish();
    });
  });
}

const HYPERCALL_VECTOR = 0x82;
const PV32_KERNEL_LEVEL = 1;

/** What stands before the exit of INT n: INT 0x82 of a PV32 kernel, which has its arguments in EBX ECX EDX ESI. */
export function buildHypercall32(code: DirectCode): void {
  const isCall = all(
    code,
    code.equal(code.vector(), code.word(HYPERCALL_VECTOR)),
    code.equal(code.level(), code.word(PV32_KERNEL_LEVEL)),
    mayUpdate(code),
  );
  code.when(isCall, () => {
    const word = (register: number) => code.lowWord(code.register(register));
    const kept = (register: number) => code.keep(word(register));
    const finish = () => {
      code.setRegister(Gpr.RAX, code.quad(0n));
      code.jump(code.nextRip());
    };
    const number = code.keep(word(Gpr.RAX));
    const first = code.keep(code.toQuad(word(Gpr.RBX)));
    const listArguments = () => ({
      list: first,
      ...{ count: word(Gpr.RCX), done: code.toQuad(word(Gpr.RDX)), domid: word(Gpr.RSI) },
    });
    code.when(code.equal(number(), code.word(MMU_UPDATE)), () => {
      buildMmuUpdate(code, 3, listArguments(), finish);
    });
    code.when(code.equal(number(), code.word(MMUEXT_OP)), () => buildMmuextOp(code, 3, listArguments(), finish));
    code.when(code.equal(number(), code.word(UPDATE_VA_MAPPING)), () =>
      buildUpdateVaMapping(
        code,
        3,
        { address: first, lo: kept(Gpr.RCX), hi: kept(Gpr.RDX), flags: kept(Gpr.RSI) },
        finish,
      ),
    );
  });
}

/** 0 or 1: below or above the hypervisor's area; what is not canonical is not mapped anyway. */
export function isGuestAddress(code: DirectCode, address: () => Quad): Word {
  const isBelow = code.below(address(), code.quad(HYPERVISOR_VIRT_START));
  return code.or(isBelow, code.not(code.below(address(), code.quad(HYPERVISOR_VIRT_END))));
}

/** Keeps a vCPU's cells for this in step, and counts what was done. */
export class DirectCalls {
  #isAllowed: boolean | undefined;

  /** Before guest code is entered. */
  update(host: PluginHost, frames: FrameTable, vcpu: XenVcpu): void {
    const { directState } = vcpu.cpu;
    const { cells } = directState;
    for (let half = 0; half < COUNTERS.length; half++) {
      const made = cells[2 * Cell.UPDATES + half];
      if (made === 0) continue;
      host.count(COUNTERS[half], made);
      cells[2 * Cell.UPDATES + half] = 0;
    }
    cells[2 * Cell.KERNEL_ROOT] = vcpu.kernelRootMfn;
    const isAllowed = !host.isTraced('hypercalls');
    if (isAllowed === this.#isAllowed) return;
    this.#isAllowed = isAllowed;
    const { places, count } = frames;
    directState.setPlace(Cell.RAM, isAllowed ? 0 : undefined);
    directState.setPlace(Cell.FRAME_REFS, places.refs);
    directState.setPlace(Cell.FRAME_TYPES, places.typeInfo);
    directState.setPlace(Cell.FRAME_OWNERS, places.owner);
    cells[2 * Cell.FRAME_COUNT] = count;
  }
}
