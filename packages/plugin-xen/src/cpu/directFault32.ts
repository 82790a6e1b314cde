import { type DirectCode, Gpr, SegmentIndex, type Word } from '@polyvisor/plugin-api';
import { SHARED_32, VcpuInfo } from '../abi/sharedPages.ts';
import type { XenDomain, XenVcpu } from '../domain.ts';
import { all, isZero } from '../mm/directL1.ts';
import { RFLAGS_IF, RFLAGS_IOPL, VMASST_ARCHITECTURAL_IOPL } from './bounce.ts';
import { Cell, flatSegment } from './cells.ts';
import { isOutsideHypervisor, isWriteToPresent } from './directConditions.ts';
import { RARE_FLAGS } from './directEntry.ts';
import { codeSegment, stackSegment } from './segments.ts';
import { TRAP_MASKS_EVENTS, Vector } from './traps.ts';

const Level = { KERNEL: 1, USER: 3 } as const;
/** The frame of enterKernel32 with an error code; ESP and SS are there if it comes from user mode. */
const Frame = { ERROR_CODE: 0, EIP: 4, CS: 8, EFLAGS: 12, KERNEL_BYTES: 16, ESP: 16, SS: 20, USER_BYTES: 24 } as const;
const SELECTOR = 0xffff;
const RIGHTS_SHIFT = 16;

/** As buildPageFault64, of a PV32 guest with flat segments. */
export function buildPageFault32(code: DirectCode): void {
  const isKnown = all(code, code.place(Cell.VCPU_INFO), code.place(Cell.HANDLER_CODE));
  code.when(isKnown, () => {
    const flags = code.keep(code.flags());
    const masked = code.keep(code.load(code.place(Cell.VCPU_INFO), VcpuInfo.UPCALL_MASK, 1));
    const isPlain = all(
      code,
      isZero(code, code.and(flags(), code.word(RARE_FLAGS))),
      isOutsideHypervisor(code),
      // No event is let in on the way.
      code.or(masked(), isZero(code, code.load(code.place(Cell.VCPU_INFO), VcpuInfo.UPCALL_PENDING, 1))),
    );
    code.when(isPlain, () => {
      const isAt = (level: number) => code.equal(code.level(), code.word(level));
      code.when(code.and(isAt(Level.KERNEL), code.not(isWriteToPresent(code))), () => {
        const stack = code.keep(code.lowWord(code.register(Gpr.RSP)));
        enter(code, { flags, masked, stack, sizeBytes: Frame.KERNEL_BYTES });
      });
      code.when(code.and(isAt(Level.USER), code.place(Cell.KERNEL_STACK_SEGMENT)), () => {
        const stack = code.keep(code.place(Cell.KERNEL_STACK));
        enter(code, { flags, masked, stack, sizeBytes: Frame.USER_BYTES });
      });
    });
  });
}

interface Entry {
  readonly flags: () => Word;
  /** The upcall mask. */
  readonly masked: () => Word;
  /** Where the kernel's stack begins. */
  readonly stack: () => Word;
  readonly sizeBytes: number;
}

function enter(code: DirectCode, { flags, masked, stack, sizeBytes }: Entry): void {
  const fromUser = sizeBytes === Frame.USER_BYTES;
  const bottom = code.keep(code.toQuad(code.add(stack(), code.word(-sizeBytes))));
  const frame = code.keep(code.reach('supervisor', bottom(), sizeBytes, 'write'));
  code.when(frame(), () => {
    const put = (at: number, value: Word) => code.store(frame(), at, 4, value);
    const shown = code.keep(code.and(flags(), code.word(~(RFLAGS_IF | RFLAGS_IOPL))));
    put(Frame.ERROR_CODE, code.errorCode());
    put(Frame.EIP, code.lowWord(code.faultRip()));
    put(Frame.CS, code.or(code.selector(SegmentIndex.CS), code.shiftLeft(masked(), RIGHTS_SHIFT)));
    put(Frame.EFLAGS, code.select(masked(), shown(), code.or(shown(), code.word(RFLAGS_IF))));
    if (fromUser) {
      put(Frame.ESP, code.lowWord(code.register(Gpr.RSP)));
      put(Frame.SS, code.selector(SegmentIndex.SS));
    }
    code.store(code.place(Cell.VCPU_INFO), SHARED_32.vcpuCr2, 4, code.lowWord(code.faultAddress()));
    code.when(code.place(Cell.PAGE_FAULT_MASKS), () =>
      code.store(code.place(Cell.VCPU_INFO), VcpuInfo.UPCALL_MASK, 1, code.word(1)),
    );
    code.setRegister(Gpr.RSP, bottom());
    load(code, SegmentIndex.CS, Cell.HANDLER_CODE);
    if (fromUser) {
      load(code, SegmentIndex.SS, Cell.KERNEL_STACK_SEGMENT);
      code.enterLevel(Level.KERNEL);
    }
    code.jump(code.cell(Cell.PAGE_FAULT_ENTRY));
  });
}

function load(code: DirectCode, index: 1 | 2, cell: number): void {
  const selector = code.and(code.place(cell), code.word(SELECTOR));
  code.loadFlatSegment(index, selector, code.shiftRight(code.place(cell), RIGHTS_SHIFT));
}

/** Keeps a PV32 guest's cells for this in step. */
export class DirectFault32 {
  #vcpuInfoGpa = -1;
  // What the segments were found for, and the handler's.
  #cs = -1;
  #ss = -1;
  #code = 0;

  /** Before guest code is entered. */
  update(domain: XenDomain, vcpu: XenVcpu): void {
    const { directState } = vcpu.cpu;
    const { cells } = directState;
    if (vcpu.vcpuInfoGpa !== this.#vcpuInfoGpa) {
      this.#vcpuInfoGpa = vcpu.vcpuInfoGpa;
      directState.setPlace(Cell.VCPU_INFO, vcpu.vcpuInfoGpa);
    }
    const handler = vcpu.traps[Vector.PF];
    cells[2 * Cell.PAGE_FAULT_ENTRY] = Number(handler.address);
    cells[2 * Cell.PAGE_FAULT_MASKS] = handler.flags & TRAP_MASKS_EVENTS;
    cells[2 * Cell.KERNEL_STACK] = Number(vcpu.kernelRsp);
    if (cells[2 * Cell.ARE_SEGMENTS_KNOWN] === 0 || handler.cs !== this.#cs || vcpu.kernelSs !== this.#ss) {
      cells[2 * Cell.ARE_SEGMENTS_KNOWN] = 1;
      this.#cs = handler.cs;
      this.#ss = vcpu.kernelSs;
      this.#code = isKernels(this.#cs) ? flatSegment(codeSegment(domain, vcpu, this.#cs)) : 0;
      cells[2 * Cell.KERNEL_STACK_SEGMENT] = isKernels(this.#ss)
        ? flatSegment(stackSegment(domain, vcpu, this.#ss))
        : 0;
    }
    const isPlain = handler.address !== 0n && (domain.vmAssist & VMASST_ARCHITECTURAL_IOPL) === 0;
    cells[2 * Cell.HANDLER_CODE] = isPlain ? this.#code : 0;
  }
}
const isKernels = (selector: number): boolean => (selector & 3) === Level.KERNEL;
