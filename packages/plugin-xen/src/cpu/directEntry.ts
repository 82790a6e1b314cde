import { type DirectCode, Gpr, type Quad, SegmentIndex, type Word } from '@polyvisor/plugin-api';
import { VcpuInfo } from '../abi/sharedPages.ts';
import type { XenDomain, XenVcpu } from '../domain.ts';
import { HYPERCALLS, type HypercallInfo } from '../hypercall/table.ts';
import { FLAT_KERNEL_CS, FLAT_KERNEL_SS } from '../layout.ts';
import {
  buildMmuextOp,
  buildMmuUpdate,
  buildUpdateVaMapping,
  isGuestAddress,
  MMU_UPDATE,
  MMUEXT_OP,
  mayUpdate,
  UPDATE_VA_MAPPING,
} from '../mm/directCalls.ts';
import { all, isZero } from '../mm/directL1.ts';
import { rootAddress } from '../mm/manager.ts';
import { Entry, isHypervisorStackAt, RFLAGS_DF, RFLAGS_IF, RFLAGS_IOPL, VMASST_ARCHITECTURAL_IOPL } from './bounce.ts';
import { Cell, selectorPair } from './cells.ts';
import { Frame, IRET_CALL, RFLAGS_ALL, RFLAGS_ALWAYS_ONE, VGCF_IN_SYSCALL } from './iret.ts';
import { CODE64_RIGHTS, DATA_RIGHTS } from './segments.ts';
import { TRAP_MASKS_EVENTS, Vector } from './traps.ts';

export const Root = { KERNEL: 0, USER: 1 } as const;

/** TF, NT, RF, VM, AC, VIF, VIP: with one of these before or after it, a change of mode is the exit's. */
export const RARE_FLAGS = 0x1f_4100;
const RETURN_COUNTER = (HYPERCALLS[IRET_CALL] as HypercallInfo).counter;
const IRET_FRAME_BYTES = Frame.WORDS * 4;

/**
 * What a PV64 guest executes SYSCALL for most: the entry of its kernel from user mode, and its way back by the iret
 * hypercall. As {@link onSyscall}, for what is ordinary; see {@link DirectCode}.
 */
export function buildSystemCall(code: DirectCode): void {
  const flags = code.keep(code.flags());
  const isPlain = all(
    code,
    code.hasRoots(),
    isZero(code, code.and(flags(), code.word(RARE_FLAGS))),
    code.equal(code.accessRights(SegmentIndex.CS), code.word(CODE64_RIGHTS)),
    code.equal(code.accessRights(SegmentIndex.SS), code.word(DATA_RIGHTS)),
  );
  code.when(isPlain, () => {
    const inKernel = code.keep(code.lowWord(code.cell(Cell.KERNEL_MODE)));
    code.when(code.not(inKernel()), () => enterKernel(code, flags));
    const isReturn = code.equal(code.lowWord(code.register(Gpr.RAX)), code.word(IRET_CALL));
    code.when(all(code, inKernel(), isReturn, code.lowWord(code.cell(Cell.MAY_RETURN))), () => leaveKernel(code));
    const isFlat = isFlatKernel(code, code.selector(SegmentIndex.CS), code.selector(SegmentIndex.SS));
    code.when(all(code, inKernel(), isFlat, mayUpdate(code)), () => updateTables(code, flags));
  });
}

/** Hypercalls of a kernel about one entry of an L1 table or one page; RCX and R11 come back as SYSRET leaves them. */
function updateTables(code: DirectCode, flags: () => Word): void {
  const word = (register: number) => code.lowWord(code.register(register));
  const kept = (register: number) => code.keep(word(register));
  const finish = () => {
    const shown = code.and(flags(), code.word(~RFLAGS_IOPL));
    code.setRegister(Gpr.RAX, code.quad(0n));
    code.setRegister(Gpr.RCX, code.nextRip());
    code.setRegister(Gpr.R11, code.toQuad(code.or(shown, code.word(RFLAGS_IF))));
    code.jump(code.nextRip());
  };
  const number = kept(Gpr.RAX);
  const first = code.keep(code.register(Gpr.RDI));
  const listArguments = () => ({
    list: first,
    ...{ count: word(Gpr.RSI), done: code.register(Gpr.RDX), domid: word(Gpr.R10) },
  });
  code.when(code.equal(number(), code.word(MMU_UPDATE)), () => {
    buildMmuUpdate(code, 4, listArguments(), finish);
  });
  code.when(code.equal(number(), code.word(MMUEXT_OP)), () => buildMmuextOp(code, 4, listArguments(), finish));
  code.when(code.equal(number(), code.word(UPDATE_VA_MAPPING)), () => {
    const hi = code.keep(code.lowWord(code.shiftRight(code.register(Gpr.RSI), 32)));
    const isPlain = code.equal(code.toQuad(word(Gpr.RDX)), code.register(Gpr.RDX));
    code.when(isPlain, () =>
      buildUpdateVaMapping(code, 4, { address: first, lo: kept(Gpr.RSI), hi, flags: kept(Gpr.RDX) }, finish),
    );
  });
}

/** The bounce frame of {@link bounce}, on the kernel's stack. */
function enterKernel(code: DirectCode, flags: () => Word): void {
  const isKnown = code.not(isZero(code, code.lowWord(code.cell(Cell.SYSCALL_FRAME))));
  code.when(isKnown, () => {
    const frame = code.keep(code.reach(Root.KERNEL, code.cell(Cell.SYSCALL_FRAME), Entry.SIZE_BYTES, 'write'));
    code.when(code.not(isZero(code, frame())), () => {
      const masked = code.keep(code.load(code.place(Cell.VCPU_INFO), VcpuInfo.UPCALL_MASK, 1));
      const put = (at: number, value: Quad) => code.store(frame(), at, 8, value);
      put(Entry.RCX, code.nextRip());
      put(Entry.R11, code.toQuad(flags()));
      put(Entry.RIP, code.nextRip());
      code.store(frame(), Entry.CS, 4, code.word(FLAT_KERNEL_CS));
      code.store(frame(), Entry.CS + 4, 4, masked());
      const shown = code.and(flags(), code.word(~(RFLAGS_IF | RFLAGS_IOPL)));
      const isUnmasked = isZero(code, masked());
      put(Entry.RFLAGS, code.toQuad(code.select(isUnmasked, code.or(shown, code.word(RFLAGS_IF)), shown)));
      put(Entry.RSP, code.register(Gpr.RSP));
      put(Entry.SS, code.quad(BigInt(FLAT_KERNEL_SS)));
      code.when(code.lowWord(code.cell(Cell.SYSCALL_MASKS)), () =>
        code.store(code.place(Cell.VCPU_INFO), VcpuInfo.UPCALL_MASK, 1, code.word(1)),
      );
      code.setRegister(Gpr.RCX, code.nextRip());
      code.setRegister(Gpr.R11, code.toQuad(flags()));
      code.setRegister(Gpr.RSP, code.cell(Cell.SYSCALL_FRAME));
      code.setSelector(SegmentIndex.CS, code.word(FLAT_KERNEL_CS));
      code.setSelector(SegmentIndex.SS, code.word(FLAT_KERNEL_SS));
      code.setFlags(code.and(flags(), code.word(~RFLAGS_DF)));
      code.setCell(Cell.KERNEL_MODE, code.quad(1n));
      code.swapGs();
      code.switchRoot(Root.KERNEL);
      code.jump(code.cell(Cell.SYSCALL_ENTRY));
    });
  });
}

/** As {@link iret}: to user mode or to the kernel itself, with its flat segments, while no event waits to be let in. */
function leaveKernel(code: DirectCode): void {
  code.when(
    isGuestAddress(code, () => code.register(Gpr.RSP)),
    () => {
      const frame = code.keep(code.reach(Root.KERNEL, code.register(Gpr.RSP), IRET_FRAME_BYTES, 'read'));
      code.when(code.not(isZero(code, frame())), () => leaveByFrame(code, frame));
    },
  );
}

function leaveByFrame(code: DirectCode, frame: () => Word): void {
  const word = (at: number) => code.load(frame(), at * 4, 4);
  const quad = (at: number) => code.load(frame(), at * 4, 8);
  const selector = code.keep(code.and(word(Frame.CS), code.word(0xffff)));
  const pair = code.keep(
    code.or(code.or(selector(), code.word(3)), code.shiftLeft(code.or(word(Frame.SS), code.word(3)), 16)),
  );
  const flags = code.keep(code.and(word(Frame.RFLAGS), code.word(RFLAGS_ALL & ~RFLAGS_IOPL)));
  const opens = code.and(flags(), code.word(RFLAGS_IF));
  const pending = code.load(code.place(Cell.VCPU_INFO), VcpuInfo.UPCALL_PENDING, 1);
  const isPlain = all(
    code,
    code.or(
      code.equal(pair(), code.word(selectorPair(FLAT_KERNEL_CS, FLAT_KERNEL_SS))),
      code.equal(pair(), code.lowWord(code.cell(Cell.USER_SELECTORS))),
    ),
    isZero(code, code.and(flags(), code.word(RARE_FLAGS))),
    code.equal(code.canonical(quad(Frame.RIP)), quad(Frame.RIP)),
    code.or(isZero(code, opens), isZero(code, pending)),
  );
  code.when(isPlain, () => {
    const target = code.keep(quad(Frame.RIP));
    const image = code.keep(code.or(flags(), code.word(RFLAGS_IF | RFLAGS_ALWAYS_ONE)));
    const bySysret = code.keep(code.and(word(Frame.FLAGS), code.word(VGCF_IN_SYSCALL)));
    const masked = isZero(code, code.and(flags(), code.word(RFLAGS_IF)));
    code.store(code.place(Cell.VCPU_INFO), VcpuInfo.UPCALL_MASK, 1, masked);
    code.setRegister(Gpr.RAX, quad(Frame.RAX));
    code.setRegister(Gpr.RCX, code.select(bySysret(), target(), quad(Frame.RCX)));
    code.setRegister(Gpr.R11, code.select(bySysret(), code.toQuad(image()), quad(Frame.R11)));
    code.setRegister(Gpr.RSP, quad(Frame.RSP));
    const [cs, ss] = [
      code.or(selector(), code.word(3)),
      code.or(code.and(word(Frame.SS), code.word(0xffff)), code.word(3)),
    ];
    code.setSelector(SegmentIndex.CS, code.select(bySysret(), code.word(FLAT_KERNEL_CS), cs));
    code.setSelector(SegmentIndex.SS, code.select(bySysret(), code.word(FLAT_KERNEL_SS), ss));
    code.setFlags(image());
    code.setCell(Cell.RETURNS, code.add(code.cell(Cell.RETURNS), code.quad(1n)));
    const toUser = code.equal(code.and(selector(), code.word(3)), code.word(3));
    code.when(toUser, () => {
      code.setCell(Cell.KERNEL_MODE, code.quad(0n));
      code.swapGs();
      code.switchRoot(Root.USER);
    });
    code.jump(target());
  });
}

/** Frame of IRETQ: offsets in bytes. */
const InterruptFrame = { RIP: 0, CS: 8, RFLAGS: 16, RSP: 24, SS: 32, SIZE_BYTES: 40 } as const;
/** Flags that IRET changes at CPL 3 with IOPL 0, less {@link RARE_FLAGS}: status flags, DF and ID. */
const CHANGED_BY_IRET = 0x20_0cd5;

/** IRETQ of a PV64 kernel to itself, by which Linux makes a processor fetch patched code anew. */
export function buildInterruptReturn(code: DirectCode): void {
  const flags = code.keep(code.flags());
  const isPlain = all(
    code,
    code.hasRoots(),
    code.lowWord(code.cell(Cell.KERNEL_MODE)),
    isZero(code, code.and(flags(), code.word(RARE_FLAGS | RFLAGS_IOPL))),
    isFlatKernel(code, code.selector(SegmentIndex.CS), code.selector(SegmentIndex.SS)),
    isGuestAddress(code, () => code.register(Gpr.RSP)),
  );
  code.when(isPlain, () => {
    const frame = code.keep(code.reach(Root.KERNEL, code.register(Gpr.RSP), InterruptFrame.SIZE_BYTES, 'read'));
    code.when(code.not(isZero(code, frame())), () => {
      const selector = (at: number) => code.and(code.load(frame(), at, 4), code.word(0xffff));
      const image = code.keep(code.load(frame(), InterruptFrame.RFLAGS, 4));
      const target = code.keep(code.load(frame(), InterruptFrame.RIP, 8));
      const isSame = all(
        code,
        isFlatKernel(code, selector(InterruptFrame.CS), selector(InterruptFrame.SS)),
        isZero(code, code.and(image(), code.word(RARE_FLAGS))),
        code.equal(code.canonical(target()), target()),
      );
      code.when(isSame, () => {
        const changed = code.and(image(), code.word(CHANGED_BY_IRET));
        code.setFlags(code.or(changed, code.and(flags(), code.word(~CHANGED_BY_IRET))));
        code.setRegister(Gpr.RSP, code.load(frame(), InterruptFrame.RSP, 8));
        code.jump(target());
      });
    });
  });
}
const isFlatKernel = (code: DirectCode, cs: Word, ss: Word): Word =>
  code.and(code.equal(cs, code.word(FLAT_KERNEL_CS)), code.equal(ss, code.word(FLAT_KERNEL_SS)));

/** Keeps a vCPU's cells in step with what the guest has asked for. */
export class DirectEntry {
  // What the cells were made of.
  #kernelRoot = -1;
  #userRoot = -1;
  #vcpuInfoGpa = -1;
  #stack = -1n;
  #entry = -1n;
  #faultEntry = -1n;
  #isAllowed = false;

  /** Before guest code is entered. */
  update(domain: XenDomain, vcpu: XenVcpu): void {
    const { cells } = vcpu.cpu.directState;
    const returns = cells[2 * Cell.RETURNS];
    if (returns !== 0) {
      domain.host.count(RETURN_COUNTER, returns);
      cells[2 * Cell.RETURNS] = 0;
    }
    this.#updatePlaces(vcpu);
    const isAllowed =
      vcpu.userRootMfn !== 0 &&
      (domain.vmAssist & VMASST_ARCHITECTURAL_IOPL) === 0 &&
      !domain.host.isTraced('hypercalls');
    this.#updateEntry(vcpu, isAllowed);
    const mayReturn = isAllowed && !vcpu.userRootStale && !vcpu.nmiMasked && !vcpu.nmiPending;
    cells[2 * Cell.MAY_RETURN] = mayReturn ? 1 : 0;
    cells[2 * Cell.SYSCALL_MASKS] = vcpu.callbacks.syscallMasksEvents ? 1 : 0;
    cells[2 * Cell.PAGE_FAULT_MASKS] = vcpu.traps[Vector.PF].flags & TRAP_MASKS_EVENTS;
  }

  #updatePlaces(vcpu: XenVcpu): void {
    const { directState } = vcpu.cpu;
    if (vcpu.kernelRootMfn !== this.#kernelRoot || vcpu.userRootMfn !== this.#userRoot) {
      this.#kernelRoot = vcpu.kernelRootMfn;
      this.#userRoot = vcpu.userRootMfn;
      // Without a user root nothing goes there.
      directState.setRoots([rootAddress(this.#kernelRoot), rootAddress(this.#userRoot || this.#kernelRoot)]);
    }
    if (vcpu.vcpuInfoGpa !== this.#vcpuInfoGpa) {
      this.#vcpuInfoGpa = vcpu.vcpuInfoGpa;
      directState.setPlace(Cell.VCPU_INFO, vcpu.vcpuInfoGpa);
    }
  }

  #updateEntry(vcpu: XenVcpu, isAllowed: boolean): void {
    const { syscall } = vcpu.callbacks;
    const pageFault = vcpu.traps[Vector.PF].address;
    const isSame = isAllowed === this.#isAllowed && vcpu.kernelRsp === this.#stack;
    if (isSame && syscall === this.#entry && pageFault === this.#faultEntry) return;
    this.#isAllowed = isAllowed;
    this.#stack = vcpu.kernelRsp;
    this.#entry = syscall;
    this.#faultEntry = pageFault;
    const top = vcpu.kernelRsp & ~0xfn;
    const hasStack = isAllowed && !isHypervisorStackAt(top);
    const isUsable = hasStack && syscall !== 0n;
    const { cells } = vcpu.cpu.directState;
    setCell(cells, Cell.KERNEL_STACK, hasStack ? top : 0n);
    setCell(cells, Cell.PAGE_FAULT_ENTRY, isAllowed ? pageFault : 0n);
    setCell(cells, Cell.SYSCALL_FRAME, isUsable ? top - BigInt(Entry.SIZE_BYTES) : 0n);
    setCell(cells, Cell.SYSCALL_ENTRY, syscall);
  }
}

function setCell(cells: Int32Array, cell: number, value: bigint): void {
  cells[2 * cell] = Number(BigInt.asIntN(32, value));
  cells[2 * cell + 1] = Number(BigInt.asIntN(32, value >> 32n));
}
