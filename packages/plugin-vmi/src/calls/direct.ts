import { type DirectCode, Gpr, type Vcpu, type Word } from '@polyvisor/plugin-api';
import type { VmiGuest } from '../guest.ts';
import { Level, UpdateFlag } from '../mmu/flags.ts';
import { Cell } from './cells.ts';
import { CALL_NAMES } from './numbers.ts';

const EFLAGS_IF = 1 << 9;
const VMCALL_BYTES = 3;

const LAST_ENTRY_BYTES = 8;
/** From the stack pointer at the trap to the first argument there. */
const STACK_ARGUMENT = 8;
const LAZY_MODES = 3;

/** Builds a call; `finish`, to be called once where nothing is in the way any more, counts it and goes on behind the trap. */
type Build = (code: DirectCode, finish: (effect?: () => void) => void) => void;

const word = (code: DirectCode, register: number): Word => code.lowWord(code.register(register));
/** For what makes waiting updates happen. */
const unlessPending = (code: DirectCode, then: () => void): void => code.when(code.not(code.place(Cell.PENDING)), then);
/** The processor's own business, which the ROM executes next. */
const seen: Build = (_code, finish) => finish();
const seenUnlessPending: Build = (code, finish) => unlessPending(code, finish);

/** Calls that generated code carries out where the ROM traps, without an exit, as their handlers do it where nothing is unusual. */
const DIRECT: Readonly<Record<string, Build>> = {
  DisableInterrupts: (code, finish) => finish(() => code.setFlags(code.and(code.flags(), code.word(~EFLAGS_IF)))),
  EnableInterrupts: (code, finish) => setInterrupts(code, code.word(EFLAGS_IF), finish),
  GetInterruptMask: (code, finish) => finish(() => code.setRegister(Gpr.RAX, code.toQuad(code.flags()))),
  SetInterruptMask: (code, finish) => setInterrupts(code, code.and(word(code, Gpr.RAX), code.word(EFLAGS_IF)), finish),
  RDTSC: seen,
  SetPxELong: (code, finish) =>
    withStackArgument(code, (flags) =>
      setEntry(code, { gva: word(code, Gpr.RCX), flags, entry: [Gpr.RAX, Gpr.RDX] }, finish),
    ),
  IRET: seen,
  GetCR2: seen,
  SetLazyMode: setLazyMode,
  UpdatePxELong: (code, finish) => updateEntry(code, 8, finish),
  InvalPage: (code, finish) =>
    unlessPending(code, () => finish(() => code.invalidatePage(code.toQuad(word(code, Gpr.RAX))))),
  SYSEXIT: seen,
  GetCR0: seen,
  SetCR3: seenUnlessPending,
  SetCR0: seenUnlessPending,
  CLTS: seen,
  IODelay: seen,
  SetPxE: (code, finish) =>
    setEntry(code, { gva: word(code, Gpr.RDX), flags: word(code, Gpr.RCX), entry: [Gpr.RAX] }, finish),
  UpdatePxE: (code, finish) => updateEntry(code, 4, finish),
  GetCR3: seen,
  GetCR4: seen,
};
const NAMES = Object.keys(DIRECT);
const COUNTERS = NAMES.map((name) => `call.${name}`);
const numberOf = new Map([...CALL_NAMES].map(([number, name]) => [name, number]));

/** What stands before the exit of VMCALL. */
export function buildCall(code: DirectCode): void {
  const isInRom = code.and(
    code.not(code.below(code.nextRip(), code.cell(Cell.FIRST))),
    code.below(code.nextRip(), code.cell(Cell.END)),
  );
  code.when(code.and(isInRom, code.not(code.level())), () => {
    const top = code.keep(code.reach('present', stackPointer(code), 4, 'read'));
    code.when(top(), () => {
      const number = code.keep(code.load(top(), 0, 4));
      NAMES.forEach((name, index) => {
        const cell = Cell.COUNTS + (index >>> 1);
        const finish = (effect?: () => void) => {
          code.setCell(cell, code.add(code.cell(cell), code.quad(index % 2 === 0 ? 1n : 1n << 32n)));
          effect?.();
          code.jump(code.nextRip());
        };
        code.when(code.equal(number(), code.word(numberOf.get(name) as number)), () => DIRECT[name](code, finish));
      });
    });
  });
}
const stackPointer = (code: DirectCode) => code.toQuad(word(code, Gpr.RSP));

/** An interrupt that waits would come next: that is not generated code's to see. */
function setInterrupts(code: DirectCode, flag: Word, finish: (effect?: () => void) => void): void {
  const flags = code.keep(code.or(code.and(code.flags(), code.word(~EFLAGS_IF)), flag));
  const closes = code.not(code.and(flags(), code.word(EFLAGS_IF)));
  code.when(code.or(closes, code.not(code.interruptWaits())), () => finish(() => code.setFlags(flags())));
}

/** Into a mode, or out of all where nothing waits for that. */
function setLazyMode(code: DirectCode, finish: (effect?: () => void) => void): void {
  const mode = code.keep(word(code, Gpr.RAX));
  const isQuiet = code.or(code.not(code.not(mode())), code.not(code.place(Cell.PENDING)));
  code.when(code.and(isQuiet, code.below(mode(), code.word(LAZY_MODES))), () =>
    finish(() => code.setCell(Cell.LAZY_MODE, code.toQuad(mode()))),
  );
}

function withStackArgument(code: DirectCode, then: (argument: Word) => void): void {
  const stack = code.keep(code.reach('present', stackPointer(code), STACK_ARGUMENT + 4, 'read'));
  code.when(stack(), () => then(code.load(stack(), STACK_ARGUMENT, 4)));
}

/** i32 0 or 1: flags of an entry of a page table or page directory, or of no level; upper entries of PAE are the handler's. */
function isPlainUpdate(code: DirectCode, flags: () => Word): Word {
  const hasNone = (bits: number) => code.not(code.and(flags(), code.word(bits)));
  const hasNotAll = (bits: number) => code.not(code.equal(code.and(flags(), code.word(bits)), code.word(bits)));
  const isKnown = hasNone(~(UpdateFlag.VA_MASK | UpdateFlag.CURRENT_AS | UpdateFlag.DEFER | Level.PT | Level.PD));
  const hasNoStrayAddress = code.or(hasNone(UpdateFlag.VA_MASK), code.not(hasNone(UpdateFlag.CURRENT_AS)));
  return code.and(code.and(isKnown, hasNotAll(Level.PT | Level.PD)), hasNoStrayAddress);
}

/** Where an aligned entry of memory would be written; 0: not to be seen from here. */
function entryPlace(code: DirectCode, gva: () => Word, sizeBytes: 4 | 8): () => Word {
  const place = code.keep(code.reach('present', code.toQuad(gva()), sizeBytes, 'write'));
  const isOdd = code.not(code.not(code.and(gva(), code.word(sizeBytes - 1))));
  const isBeyond = code.below(code.place(Cell.LAST_ENTRY), place());
  return code.keep(code.select(code.or(isOdd, isBeyond), code.word(0), place()));
}

function setEntry(
  code: DirectCode,
  update: { readonly gva: Word; readonly flags: Word; readonly entry: readonly [number] | readonly [number, number] },
  finish: (effect?: () => void) => void,
): void {
  const [gva, flags] = [code.keep(update.gva), code.keep(update.flags)];
  const waiting = code.word(UpdateFlag.CURRENT_AS | UpdateFlag.DEFER);
  const waits = code.equal(code.and(flags(), waiting), waiting);
  code.when(code.and(isPlainUpdate(code, flags), code.not(code.or(waits, code.place(Cell.PENDING)))), () => {
    const place = entryPlace(code, gva, update.entry.length === 1 ? 4 : 8);
    code.when(place(), () =>
      finish(() => {
        update.entry.forEach((register, half) => code.store(place(), half * 4, 4, word(code, register)));
      }),
    );
  });
}

/** The guest has written the entry itself. */
function updateEntry(code: DirectCode, sizeBytes: 4 | 8, finish: (effect?: () => void) => void): void {
  const [gva, flags] = [code.keep(word(code, Gpr.RAX)), code.keep(word(code, Gpr.RDX))];
  code.when(isPlainUpdate(code, flags), () => code.when(entryPlace(code, gva, sizeBytes)(), () => finish()));
}

/** Before guest code is entered: count what was done, and say where the ROM is, unless somebody wants to see each call. */
export function updateDirectCalls({ host, rom, romGva, pending, machine }: VmiGuest, { directState }: Vcpu): void {
  const { cells } = directState;
  for (let index = 0; index < NAMES.length; index++) {
    const at = 2 * Cell.COUNTS + index;
    if (cells[at] === 0) continue;
    host.count(COUNTERS[index], cells[at]);
    cells[at] = 0;
  }
  cells[2 * Cell.PENDING] = pending.count;
  if (cells[2 * Cell.LAST_ENTRY] === 0)
    directState.setPlace(Cell.LAST_ENTRY, machine.memory.sizeBytes - LAST_ENTRY_BYTES);
  const first = romGva === undefined || host.isTraced('hypercalls') ? undefined : romGva + VMCALL_BYTES;
  const end = first === undefined ? 0 : first + rom.bytes.length;
  cells[2 * Cell.FIRST] = first ?? 0;
  cells[2 * Cell.END] = end;
  cells[2 * Cell.END + 1] = end > 0xffff_ffff ? 1 : 0;
}
