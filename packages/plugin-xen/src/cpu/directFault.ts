import { type DirectCode, Gpr, SegmentIndex, type Word } from '@polyvisor/plugin-api';
import { SHARED_64, VcpuInfo } from '../abi/sharedPages.ts';
import { FLAT_KERNEL_CS, FLAT_KERNEL_SS } from '../layout.ts';
import { isGuestAddress } from '../mm/directCalls.ts';
import { all, isZero } from '../mm/directL1.ts';
import { Entry, RFLAGS_IF, RFLAGS_IOPL } from './bounce.ts';
import { Cell } from './cells.ts';
import { isOutsideHypervisor, isWriteToPresent } from './directConditions.ts';
import { RARE_FLAGS, Root } from './directEntry.ts';
import { buildPageFault32 } from './directEntry32.ts';
import { CODE64_RIGHTS, DATA_RIGHTS } from './segments.ts';
import { FaultCode } from './traps.ts';

/** The frame of {@link bounce} with an error code: the code stands before RIP. */
const Frame = {
  RCX: Entry.RCX,
  R11: Entry.R11,
  ERROR_CODE: Entry.RIP,
  RIP: Entry.RIP + 8,
  CS: Entry.CS + 8,
  RFLAGS: Entry.RFLAGS + 8,
  RSP: Entry.RSP + 8,
  SS: Entry.SS + 8,
  SIZE_BYTES: Entry.SIZE_BYTES + 8,
} as const;

/** What stands before the exit of a page fault. */
export function buildPageFault(code: DirectCode): void {
  buildPageFault64(code);
  buildPageFault32(code);
}

/**
 * A page fault of a PV64 guest that is its kernel's to see to: as onPageFault and {@link bounce}, for what is ordinary. What might be a
 * write to a page table is the exit's, and so are addresses of the hypervisor's and stacks that are not at hand.
 */
function buildPageFault64(code: DirectCode): void {
  const flags = code.keep(code.flags());
  const inKernel = code.keep(code.lowWord(code.cell(Cell.KERNEL_MODE)));
  const isKnown = all(code, code.hasRoots(), code.place(Cell.VCPU_INFO), isSet(code, Cell.PAGE_FAULT_ENTRY));
  code.when(isKnown, () => {
    const masked = code.keep(code.load(code.place(Cell.VCPU_INFO), VcpuInfo.UPCALL_MASK, 1));
    const isPlain = all(
      code,
      isZero(code, code.and(flags(), code.word(RARE_FLAGS))),
      code.equal(code.accessRights(SegmentIndex.CS), code.word(CODE64_RIGHTS)),
      code.equal(code.accessRights(SegmentIndex.SS), code.word(DATA_RIGHTS)),
      isOutsideHypervisor(code),
      code.not(code.and(inKernel(), isWriteToPresent(code))),
      // No event is let in on the way.
      code.or(masked(), isZero(code, code.load(code.place(Cell.VCPU_INFO), VcpuInfo.UPCALL_PENDING, 1))),
    );
    code.when(isPlain, () => enter(code, { flags, inKernel, masked }));
  });
}

const isSet = (code: DirectCode, cell: number): Word => code.not(code.equal(code.cell(cell), code.quad(0n)));

interface Interrupted {
  readonly flags: () => Word;
  /** 1: the guest's kernel. */
  readonly inKernel: () => Word;
  /** The upcall mask. */
  readonly masked: () => Word;
}

function enter(code: DirectCode, interrupted: Interrupted): void {
  const own = code.and(code.register(Gpr.RSP), code.quad(-16n));
  const top = code.keep(code.select(interrupted.inKernel(), own, code.cell(Cell.KERNEL_STACK)));
  code.when(code.and(isSet(code, Cell.KERNEL_STACK), isGuestAddress(code, top)), () => {
    const bottom = code.keep(code.add(top(), code.quad(BigInt(-Frame.SIZE_BYTES))));
    const frame = code.keep(code.reach(Root.KERNEL, bottom(), Frame.SIZE_BYTES, 'write'));
    code.when(code.not(isZero(code, frame())), () => {
      writeFrame(code, frame, interrupted);
      code.store(code.place(Cell.VCPU_INFO), SHARED_64.vcpuCr2, 8, code.faultAddress());
      code.when(code.lowWord(code.cell(Cell.PAGE_FAULT_MASKS)), () =>
        code.store(code.place(Cell.VCPU_INFO), VcpuInfo.UPCALL_MASK, 1, code.word(1)),
      );
      code.setRegister(Gpr.RSP, bottom());
      code.setSelector(SegmentIndex.CS, code.word(FLAT_KERNEL_CS));
      code.setSelector(SegmentIndex.SS, code.word(FLAT_KERNEL_SS));
      code.when(code.not(interrupted.inKernel()), () => {
        code.setCell(Cell.KERNEL_MODE, code.quad(1n));
        code.swapGs();
        code.switchRoot(Root.KERNEL);
      });
      code.jump(code.cell(Cell.PAGE_FAULT_ENTRY));
    });
  });
}

function writeFrame(code: DirectCode, frame: () => Word, { flags, inKernel, masked }: Interrupted): void {
  const user = code.word(FaultCode.USER);
  const error = code.select(
    inKernel(),
    code.and(code.errorCode(), code.word(~FaultCode.USER)),
    code.or(code.errorCode(), user),
  );
  const selector = code.keep(code.selector(SegmentIndex.CS));
  const shown = code.keep(code.and(flags(), code.word(~(RFLAGS_IF | RFLAGS_IOPL))));
  code.store(frame(), Frame.RCX, 8, code.register(Gpr.RCX));
  code.store(frame(), Frame.R11, 8, code.register(Gpr.R11));
  code.store(frame(), Frame.ERROR_CODE, 8, code.toQuad(error));
  code.store(frame(), Frame.RIP, 8, code.faultRip());
  code.store(frame(), Frame.CS, 4, code.select(inKernel(), code.and(selector(), code.word(~3)), selector()));
  code.store(frame(), Frame.CS + 4, 4, masked());
  const isUnmasked = isZero(code, masked());
  const image = code.select(isUnmasked, code.or(shown(), code.word(RFLAGS_IF)), shown());
  code.store(frame(), Frame.RFLAGS, 8, code.toQuad(image));
  code.store(frame(), Frame.RSP, 8, code.register(Gpr.RSP));
  code.store(frame(), Frame.SS, 8, code.toQuad(code.selector(SegmentIndex.SS)));
}
