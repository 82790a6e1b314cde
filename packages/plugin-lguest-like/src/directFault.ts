/** Page faults that are the guest's own, without an exit (docs/decisions/0031): as onException, for what is ordinary. */
import { type DirectCode, Gpr, SegmentIndex, type Vcpu, type Word } from '@polyvisor/plugin-api';
import type { LguestGuest, Registered } from './guest.ts';
import { Forbidden, HIGH_ADDRESS, Pte, reservedBytes } from './paging.ts';
import { GUEST_PL, KERNEL_CS } from './segments.ts';
import { isInterruptGate, isPresentGate } from './traps.ts';

/** Cells of the vCPU for this, behind those of direct.ts. */
const Cell = {
  /** Not 0: faults may be carried out so. */
  ARMED: 8,
  /** Places of the first byte of memory, and of what lguest_data has of interrupts and faults. */
  ...{ RAM: 9, IRQ_ENABLED: 10, CR2: 11 },
  /** Physical addresses: the root in use, and where memory ends; where the switcher's addresses begin. */
  ...{ ROOT: 12, MEMORY_END: 13, SWITCHER: 14 },
  /** Of page tables. */
  LEVELS: 15,
  /** The handler, and whether its gate masks interrupts. */
  ...{ HANDLER: 16, MASKS: 17 },
  /** Of the guest's kernel: selector and access rights of its code and its stack, from bit 16 on; 0: not flat;, and where that begins. */
  ...{ CODE: 18, STACK_SEGMENT: 19, STACK: 20 },
} as const;
const PAGE_FAULT = 14;
const USER_PL = 3;
const Flag = { IF: 0x200, RARE: 0x1f_4100 } as const;
const FLAGS = 0xfff;
/** Of CR3: below an address of 32 bytes. */
const ROOT_FLAGS = 0x1f;
const SELECTOR = 0xffff;
const RIGHTS_SHIFT = 16;
/** Error code, EIP, CS, EFLAGS; ESP and SS where user mode is left. */
const Frame = { ERROR_CODE: 0, EIP: 4, CS: 8, EFLAGS: 12, KERNEL_BYTES: 16, ESP: 16, SS: 20, USER_BYTES: 24 } as const;

const isNone = (code: DirectCode, value: Word): Word => code.not(value);
const all = (code: DirectCode, ...conditions: readonly Word[]): Word =>
  conditions.map((each) => code.not(code.not(each))).reduce((sum, each) => code.and(sum, each));

/** What stands before the exit of a page fault. */
export function buildPageFault(code: DirectCode): void {
  code.when(code.place(Cell.ARMED), () => {
    const flags = code.keep(code.flags());
    const address = code.keep(code.lowWord(code.faultAddress()));
    const isPlain = all(
      code,
      isNone(code, code.and(flags(), code.word(Flag.RARE))),
      code.below(address(), code.place(Cell.SWITCHER)),
    );
    code.when(isPlain, () => {
      for (const levels of [WITH_PAE, WITHOUT_PAE]) {
        code.when(code.equal(code.place(Cell.LEVELS), code.word(levels.length)), () => {
          code.when(isGuestsOwn(code, levels, address), () => enter(code, { flags, address }));
        });
      }
    });
  });
}

/** A level of page tables, from the root's on. */
interface TableLevel {
  /** Lowest bit of the address that chooses the entry, and how many there are. */
  readonly bit: number;
  readonly bits: number;
  readonly entryBytes: 4 | 8;
  /** What an entry may not have set. */
  readonly forbidden: number;
}
const WITHOUT_PAE: readonly TableLevel[] = [
  { bit: 22, bits: 10, entryBytes: 4, forbidden: Forbidden.TABLE },
  { bit: 12, bits: 10, entryBytes: 4, forbidden: Forbidden.LEAF },
];
const WITH_PAE: readonly TableLevel[] = [
  { bit: 30, bits: 2, entryBytes: 8, forbidden: Forbidden.PDPTE },
  { bit: 21, bits: 9, entryBytes: 8, forbidden: Forbidden.TABLE },
  { bit: 12, bits: 9, entryBytes: 8, forbidden: Forbidden.LEAF },
];

/** i32 0 or 1: the entries on the way to an address are such as the guest may have, up to one that is not present ({@link checkFault}). */
function isGuestsOwn(code: DirectCode, levels: readonly TableLevel[], address: () => Word): Word {
  const entries: { readonly isAbsent: () => Word; readonly isAllowed: () => Word }[] = [];
  let table = code.keep(code.place(Cell.ROOT));
  for (const { bit, bits, entryBytes, forbidden } of levels) {
    const slot = code.and(code.shiftRight(address(), bit), code.word((1 << bits) - 1));
    const place = code.keep(
      code.add(code.add(code.place(Cell.RAM), table()), code.shiftLeft(slot, entryBytes / 4 + 1)),
    );
    const low = code.keep(code.load(place(), 0, 4));
    const high = entryBytes === 8 ? code.and(code.load(place(), 4, 4), code.word(HIGH_ADDRESS)) : code.word(0);
    const frame = code.keep(code.and(low(), code.word(~FLAGS)));
    const isMemory = code.below(frame(), code.place(Cell.MEMORY_END));
    const isAllowed = code.keep(
      all(code, isMemory, isNone(code, high), isNone(code, code.and(low(), code.word(forbidden)))),
    );
    const isAbsent = code.keep(isNone(code, code.and(low(), code.word(Pte.P))));
    entries.push({ isAbsent, isAllowed });
    // Where that is none, any table will do: nothing depends on what is found there.
    table = code.keep(code.select(isAllowed(), frame(), code.word(0)));
  }
  return entries.reduceRight(
    (rest, { isAbsent, isAllowed }) => code.or(isAbsent(), code.and(isAllowed(), rest)),
    code.word(1),
  );
}

interface Fault {
  readonly flags: () => Word;
  readonly address: () => Word;
}

/** Enter the handler on the kernel's stack: the present one, or the one for traps from user mode. */
function enter(code: DirectCode, fault: Fault): void {
  const isAt = (level: number) => code.equal(code.level(), code.word(level));
  code.when(isAt(GUEST_PL), () => {
    const stack = code.keep(code.lowWord(code.register(Gpr.RSP)));
    enterOn(code, fault, stack, Frame.KERNEL_BYTES);
  });
  code.when(code.and(isAt(USER_PL), code.place(Cell.STACK_SEGMENT)), () => {
    const stack = code.keep(code.place(Cell.STACK));
    enterOn(code, fault, stack, Frame.USER_BYTES);
  });
}

function enterOn(code: DirectCode, { flags, address }: Fault, stack: () => Word, sizeBytes: number): void {
  const fromUser = sizeBytes === Frame.USER_BYTES;
  const bottom = code.keep(code.toQuad(code.add(stack(), code.word(-sizeBytes))));
  const frame = code.keep(code.reach('supervisor', bottom(), sizeBytes, 'write'));
  code.when(frame(), () => {
    const put = (at: number, value: Word) => code.store(frame(), at, 4, value);
    const enabled = code.and(code.load(code.place(Cell.IRQ_ENABLED), 0, 4), code.word(Flag.IF));
    put(Frame.ERROR_CODE, code.errorCode());
    put(Frame.EIP, code.lowWord(code.faultRip()));
    put(Frame.CS, code.selector(SegmentIndex.CS));
    put(Frame.EFLAGS, code.or(code.and(flags(), code.word(~Flag.IF)), enabled));
    if (fromUser) {
      put(Frame.ESP, code.lowWord(code.register(Gpr.RSP)));
      put(Frame.SS, code.selector(SegmentIndex.SS));
    }
    code.store(code.place(Cell.CR2), 0, 4, address());
    code.when(code.place(Cell.MASKS), () => code.store(code.place(Cell.IRQ_ENABLED), 0, 4, code.word(0)));
    code.setRegister(Gpr.RSP, bottom());
    load(code, SegmentIndex.CS, Cell.CODE);
    if (fromUser) {
      load(code, SegmentIndex.SS, Cell.STACK_SEGMENT);
      code.enterLevel(GUEST_PL);
    }
    code.jump(code.cell(Cell.HANDLER));
  });
}

function load(code: DirectCode, index: 1 | 2, cell: number): void {
  const selector = code.and(code.place(cell), code.word(SELECTOR));
  code.loadFlatSegment(index, selector, code.shiftRight(code.place(cell), RIGHTS_SHIFT));
}

/** Keeps a guest's cells for this in step. */
export class DirectFault {
  /** Address of the lguest_data that the places were made for. */
  #data = -1;

  /** Before guest code is entered. */
  update({ cpu, registered, irqsPending, idt, gdt, stack, memory, paging }: LguestGuest): void {
    const { cells } = cpu.directState;
    const high = idt[PAGE_FAULT * 2 + 1];
    // What waits is looked at with each exit.
    if (!registered || irqsPending !== 0 || !isPresentGate(high)) {
      cells[2 * Cell.ARMED] = 0;
      return;
    }
    this.#updatePlaces(cpu, registered);
    cells[2 * Cell.ROOT] = Number(cpu.cr3) & ~ROOT_FLAGS;
    cells[2 * Cell.MEMORY_END] = memory.limit;
    cells[2 * Cell.SWITCHER] = -reservedBytes(paging);
    cells[2 * Cell.LEVELS] = (paging.pae ? WITH_PAE : WITHOUT_PAE).length;
    cells[2 * Cell.HANDLER] = (idt[PAGE_FAULT * 2] & 0xffff) | (high & 0xffff_0000);
    cells[2 * Cell.MASKS] = isInterruptGate(high) ? 1 : 0;
    cells[2 * Cell.CODE] = gdt.flatKernelSegment(KERNEL_CS);
    cells[2 * Cell.STACK_SEGMENT] = gdt.flatKernelSegment(stack.selector);
    cells[2 * Cell.STACK] = stack.esp;
    cells[2 * Cell.ARMED] = cells[2 * Cell.CODE];
  }

  #updatePlaces({ directState }: Vcpu, { data, era }: Registered): void {
    if (data === this.#data) return;
    this.#data = data;
    directState.setPlace(Cell.RAM, 0);
    directState.setPlace(Cell.IRQ_ENABLED, data + era.data.irqEnabled);
    directState.setPlace(Cell.CR2, data + era.data.cr2);
  }
}
