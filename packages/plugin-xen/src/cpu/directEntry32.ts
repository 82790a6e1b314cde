import { type DirectCode, Gpr, SegmentIndex, type Word } from '@polyvisor/plugin-api';
import { SHARED_32, VcpuInfo } from '../abi/sharedPages.ts';
import type { XenDomain, XenVcpu } from '../domain.ts';
import { all, isZero } from '../mm/directL1.ts';
import { RFLAGS_IF, RFLAGS_IOPL, VMASST_ARCHITECTURAL_IOPL } from './bounce.ts';
import { Cell, flatSegment } from './cells.ts';
import { isOutsideHypervisor, isWriteToPresent } from './directConditions.ts';
import { RARE_FLAGS } from './directEntry.ts';
import { codeSegment, stackSegment } from './segments.ts';
import { FLAT_USER_SS_32 } from './syscall.ts';
import { TRAP_MASKS_EVENTS, Vector } from './traps.ts';

const Level = { KERNEL: 1, USER: 3 } as const;
const WORD_BYTES = 4;
const SELECTOR = 0xffff;
const UPPER_HALF = 16;
/** A user's selector of CS and SS that SYSENTER leaves, as {@link onSysenter} has them. */
const SYSENTER_LEAVES = { CS: 3, SS: FLAT_USER_SS_32 } as const;

/** What an entry into the kernel is told, the words of enterKernel32 from the stack's end on. */
interface Entry {
  /** Flags as the guest believes them, and the upcall mask, which is below them in the frame. */
  readonly flags: () => Word;
  readonly masked: () => Word;
  /** Where the kernel's stack begins. */
  readonly stack: () => Word;
  readonly errorCode?: Word;
  readonly eip: Word;
  readonly cs: Word;
  /** ESP and SS, if it is user mode that is left. */
  readonly outer?: readonly [esp: Word, ss: Word];
  /** Cells: the handler's code, where it is, and what masks events if it is not 0. */
  readonly handler: { readonly code: number; readonly address: Word; readonly masks: Word };
  /** What else is to be done once nothing is in the way. */
  readonly effect?: () => void;
}

/** As buildPageFault64, of a PV32 guest with flat segments. */
export function buildPageFault32(code: DirectCode): void {
  whenOrdinary(code, Cell.HANDLER_CODE, ({ flags, masked }) => {
    code.when(isOutsideHypervisor(code), () => {
      const fault = { flags, masked, errorCode: code.errorCode(), eip: code.lowWord(code.faultRip()) };
      const common = () => ({
        ...fault,
        cs: code.selector(SegmentIndex.CS),
        handler: {
          code: Cell.HANDLER_CODE,
          address: code.place(Cell.PAGE_FAULT_ENTRY),
          masks: code.place(Cell.PAGE_FAULT_MASKS),
        },
        effect: () => code.store(code.place(Cell.VCPU_INFO), SHARED_32.vcpuCr2, 4, code.lowWord(code.faultAddress())),
      });
      code.when(code.and(isAt(code, Level.KERNEL), code.not(isWriteToPresent(code))), () => {
        const stack = code.keep(code.lowWord(code.register(Gpr.RSP)));
        enter(code, { ...common(), stack });
      });
      code.when(code.and(isAt(code, Level.USER), code.place(Cell.KERNEL_STACK_SEGMENT)), () => {
        const stack = code.keep(code.place(Cell.KERNEL_STACK));
        enter(code, {
          ...common(),
          stack,
          outer: [code.lowWord(code.register(Gpr.RSP)), code.selector(SegmentIndex.SS)],
        });
      });
    });
  });
}

/** What stands before the exit of SYSENTER: that of a PV32 guest's user mode, as {@link onSysenter}. */
export function buildSysenter32(code: DirectCode): void {
  whenOrdinary(code, Cell.SYSENTER_CODE, ({ flags, masked }) => {
    const isPlain = all(
      code,
      isAt(code, Level.USER),
      code.place(Cell.KERNEL_STACK_SEGMENT),
      code.and(flags(), code.word(RFLAGS_IF)),
    );
    code.when(isPlain, () => {
      const nothing = code.word(0);
      const stack = code.keep(code.place(Cell.KERNEL_STACK));
      const masks = code.lowWord(code.shiftRight(code.cell(Cell.SYSENTER_ENTRY), 32));
      enter(code, {
        ...{ flags, masked, stack, eip: nothing, cs: code.word(SYSENTER_LEAVES.CS) },
        outer: [nothing, code.word(SYSENTER_LEAVES.SS)],
        handler: { code: Cell.SYSENTER_CODE, address: code.place(Cell.SYSENTER_ENTRY), masks },
      });
    });
  });
}

const isAt = (code: DirectCode, level: number): Word => code.equal(code.level(), code.word(level));

/** Do `then` where the handler with this code is known, flags are not rare, and no event is let in on the way. */
function whenOrdinary(
  code: DirectCode,
  handlerCode: number,
  then: (state: Pick<Entry, 'flags' | 'masked'>) => void,
): void {
  const isKnown = all(code, code.place(Cell.VCPU_INFO), code.place(handlerCode));
  code.when(isKnown, () => {
    const flags = code.keep(code.flags());
    const masked = code.keep(code.load(code.place(Cell.VCPU_INFO), VcpuInfo.UPCALL_MASK, 1));
    const isOrdinary = all(
      code,
      isZero(code, code.and(flags(), code.word(RARE_FLAGS))),
      code.or(masked(), isZero(code, code.load(code.place(Cell.VCPU_INFO), VcpuInfo.UPCALL_PENDING, 1))),
    );
    code.when(isOrdinary, () => then({ flags, masked }));
  });
}

function enter(code: DirectCode, entry: Entry): void {
  const { flags, masked, stack, errorCode, eip, cs, outer, handler } = entry;
  const shown = code.keep(code.and(flags(), code.word(~(RFLAGS_IF | RFLAGS_IOPL))));
  const image = code.select(masked(), shown(), code.or(shown(), code.word(RFLAGS_IF)));
  const words = [
    ...(errorCode ? [errorCode] : []),
    ...[eip, code.or(cs, code.shiftLeft(masked(), UPPER_HALF)), image],
    ...(outer ?? []),
  ].map((word) => code.keep(word));
  const sizeBytes = words.length * WORD_BYTES;
  const bottom = code.keep(code.toQuad(code.add(stack(), code.word(-sizeBytes))));
  const frame = code.keep(code.reach('supervisor', bottom(), sizeBytes, 'write'));
  const address = code.keep(handler.address);
  const masks = code.keep(handler.masks);
  code.when(frame(), () => {
    for (const [index, word] of words.entries()) code.store(frame(), index * WORD_BYTES, 4, word());
    entry.effect?.();
    code.when(masks(), () => code.store(code.place(Cell.VCPU_INFO), VcpuInfo.UPCALL_MASK, 1, code.word(1)));
    code.setRegister(Gpr.RSP, bottom());
    load(code, SegmentIndex.CS, handler.code);
    if (outer) {
      load(code, SegmentIndex.SS, Cell.KERNEL_STACK_SEGMENT);
      code.enterLevel(Level.KERNEL);
    }
    code.jump(code.toQuad(address()));
  });
}

function load(code: DirectCode, index: 1 | 2, cell: number): void {
  const selector = code.and(code.place(cell), code.word(SELECTOR));
  code.loadFlatSegment(index, selector, code.shiftRight(code.place(cell), UPPER_HALF));
}

/** Keeps a PV32 guest's cells for this in step. */
export class DirectEntry32 {
  #vcpuInfoGpa = -1;
  // What the segments were found for, and the handlers' code.
  #faultCs = -1;
  #sysenterCs = -1;
  #ss = -1;
  #faultCode = 0;
  #sysenterCode = 0;

  /** Before guest code is entered. */
  update(domain: XenDomain, vcpu: XenVcpu): void {
    const { directState } = vcpu.cpu;
    const { cells } = directState;
    if (vcpu.vcpuInfoGpa !== this.#vcpuInfoGpa) {
      this.#vcpuInfoGpa = vcpu.vcpuInfoGpa;
      directState.setPlace(Cell.VCPU_INFO, vcpu.vcpuInfoGpa);
    }
    const fault = vcpu.traps[Vector.PF];
    const { sysenter, sysenterCs, sysenterMasksEvents } = vcpu.callbacks;
    cells[2 * Cell.PAGE_FAULT_ENTRY] = Number(fault.address);
    cells[2 * Cell.PAGE_FAULT_MASKS] = fault.flags & TRAP_MASKS_EVENTS;
    cells[2 * Cell.SYSENTER_ENTRY] = Number(sysenter);
    cells[2 * Cell.SYSENTER_ENTRY + 1] = sysenterMasksEvents ? 1 : 0;
    cells[2 * Cell.KERNEL_STACK] = Number(vcpu.kernelRsp);
    const areKnown =
      cells[2 * Cell.ARE_SEGMENTS_KNOWN] !== 0 && fault.cs === this.#faultCs && sysenterCs === this.#sysenterCs;
    if (!areKnown || vcpu.kernelSs !== this.#ss) {
      cells[2 * Cell.ARE_SEGMENTS_KNOWN] = 1;
      this.#faultCs = fault.cs;
      this.#sysenterCs = sysenterCs;
      this.#ss = vcpu.kernelSs;
      const codeOf = (cs: number) => (isKernels(cs) ? flatSegment(codeSegment(domain, vcpu, cs)) : 0);
      this.#faultCode = codeOf(this.#faultCs);
      this.#sysenterCode = codeOf(this.#sysenterCs);
      cells[2 * Cell.KERNEL_STACK_SEGMENT] = isKernels(this.#ss)
        ? flatSegment(stackSegment(domain, vcpu, this.#ss))
        : 0;
    }
    const hasVirtualIopl = (domain.vmAssist & VMASST_ARCHITECTURAL_IOPL) !== 0;
    cells[2 * Cell.HANDLER_CODE] = hasVirtualIopl || fault.address === 0n ? 0 : this.#faultCode;
    cells[2 * Cell.SYSENTER_CODE] = hasVirtualIopl || sysenter === 0n ? 0 : this.#sysenterCode;
  }
}
const isKernels = (selector: number): boolean => (selector & 3) === Level.KERNEL;
