/**
 * A change of an L1 entry in generated code, where only counts change: {@link PageTables.update} for what comes thousands of
 * times. Frames that would become free, change their type or lose it are the exit's, and so is what it refuses.
 */
import type { DirectCode, Word } from '@polyvisor/plugin-api';
import { Cell } from '../cpu/cells.ts';
import {
  FAST_HI,
  FAST_LO,
  HI_GUEST_KERNEL,
  L1_DISALLOWED,
  PTE_ACCESSED,
  PTE_DIRTY,
  PTE_GLOBAL,
  PTE_PRESENT,
  PTE_USER,
  PTE_WRITE,
} from './entries.ts';
import { FrameType, Owner, TYPE_COUNT_MASK, TYPE_SHIFT, TYPE_VALIDATED } from './frames.ts';

/** Bits of an entry's upper half that are its frame's; no machine memory is above 4 GiB. */
const HI_FRAME = 0x000f_ffff;
const TYPE_MASK = 7 << TYPE_SHIFT;
const WRITABLE = (FrameType.WRITABLE << TYPE_SHIFT) | TYPE_VALIDATED;
/** How the places of the frame table and of page tables are reckoned. */
const Shift = { WORD: 2, PAGE: 12 } as const;
const ENTRY_BYTES = 8;

export const isZero = (code: DirectCode, value: Word): Word => code.not(value);
/** 0 or 1: none is 0. */
export function all(code: DirectCode, ...conditions: readonly Word[]): Word {
  return conditions.map((each) => code.not(code.not(each))).reduce((sum, each) => code.and(sum, each));
}
const has = (code: DirectCode, value: () => Word, bits: number): Word => code.and(value(), code.word(bits));
/** `condition` ? `value` : 1. */
const unless = (code: DirectCode, condition: Word, value: Word): Word => code.select(condition, code.word(1), value);

/** Where the words and the owner of a frame stand, whose number has been found to be one. */
const refsOf = (code: DirectCode, mfn: () => Word): Word =>
  code.add(code.place(Cell.FRAME_REFS), code.shiftLeft(mfn(), Shift.WORD));
const typeOf = (code: DirectCode, mfn: () => Word): Word =>
  code.add(code.place(Cell.FRAME_TYPES), code.shiftLeft(mfn(), Shift.WORD));
const ownerOf = (code: DirectCode, mfn: () => Word): Word => code.add(code.place(Cell.FRAME_OWNERS), mfn());

/** The frame of an entry in halves if there is such a one; else 0, which is the hypervisor's. */
function frameOf(code: DirectCode, lo: Word, hi: Word): () => Word {
  const frame = code.keep(code.shiftRight(lo, Shift.PAGE));
  const isOne = all(
    code,
    isZero(code, code.and(hi, code.word(HI_FRAME))),
    code.below(frame(), code.place(Cell.FRAME_COUNT)),
  );
  return code.keep(code.select(isOne, frame(), code.word(0)));
}

/** 0 or 1: the frame is an L1 table in use. */
function isL1Table(code: DirectCode, mfn: () => Word): Word {
  const info = code.keep(code.load(typeOf(code, mfn), 0, 4));
  return all(
    code,
    code.equal(has(code, info, TYPE_MASK), code.word(FrameType.L1 << TYPE_SHIFT)),
    has(code, info, TYPE_COUNT_MASK),
    code.equal(code.load(ownerOf(code, mfn), 0, 1), code.word(Owner.GUEST)),
    code.load(refsOf(code, mfn), 0, 4),
  );
}

export interface EntryUpdate {
  /** The new entry, in halves. */
  readonly lo: () => Word;
  readonly hi: () => Word;
  /** Not 0: Accessed and Dirty stay. */
  readonly preservesAd: () => Word;
}

/** The L1 entry at a machine address that is below 4 GiB; `done` is built where it has been changed. */
export function updateAtMachineAddress(
  code: DirectCode,
  levels: 3 | 4,
  address: () => Word,
  update: EntryUpdate,
  done: () => void,
): void {
  const table = frameOf(code, address(), code.word(0));
  code.when(isL1Table(code, table), () => {
    const place = code.keep(code.add(code.place(Cell.RAM), code.and(address(), code.word(~(ENTRY_BYTES - 1)))));
    updateL1(code, levels, place, update, done);
  });
}

/** The L1 entry by which the kernel's tables map a page; `slots` are those of the tables, from the root's on. */
export function updateAtSlots(
  code: DirectCode,
  levels: 3 | 4,
  slots: readonly Word[],
  update: EntryUpdate,
  done: () => void,
): void {
  const kept = slots.map((slot) => code.keep(code.and(slot, code.word(511))));
  const entryIn = (table: () => Word, level: number) =>
    code.keep(
      code.add(
        code.add(code.place(Cell.RAM), code.shiftLeft(table(), Shift.PAGE)),
        code.shiftLeft(kept[kept.length - level](), 3),
      ),
    );
  const descend = (table: () => Word, level: number): void => {
    const entry = entryIn(table, level);
    if (level === 1) {
      code.when(isL1Table(code, table), () => updateL1(code, levels, entry, update, done));
      return;
    }
    const lo = code.keep(code.load(entry(), 0, 4));
    const below = frameOf(code, lo(), code.load(entry(), 4, 4));
    code.when(all(code, has(code, lo, PTE_PRESENT), below()), () => descend(below, level - 1));
  };
  descend(code.keep(code.place(Cell.KERNEL_ROOT)), levels);
}

/** What becomes of a frame that an entry leads to: whether that can be seen to here, and doing it. */
interface Change {
  readonly isOrdinary: Word;
  apply(): void;
}

function updateL1(
  code: DirectCode,
  levels: 3 | 4,
  place: () => Word,
  { lo, hi, preservesAd }: EntryUpdate,
  done: () => void,
): void {
  const [oldLo, oldHi] = [code.keep(code.load(place(), 0, 4)), code.keep(code.load(place(), 4, 4))];
  const isPresent = code.keep(has(code, lo, PTE_PRESENT));
  const wasPresent = code.keep(has(code, oldLo, PTE_PRESENT));
  const isAlike = (old: () => Word, value: () => Word, fast: number) =>
    code.equal(has(code, old, ~fast), has(code, value, ~fast));
  const isNew = code.keep(
    isZero(code, all(code, wasPresent(), isAlike(oldLo, lo, FAST_LO), isAlike(oldHi, hi, FAST_HI))),
  );
  const kept = code.keep(code.select(preservesAd(), has(code, oldLo, PTE_ACCESSED | PTE_DIRTY), code.word(0)));
  const taken = takeFrame(code, code.keep(all(code, isPresent(), isNew())), lo, hi);
  const dropped = dropFrame(code, code.keep(all(code, wasPresent(), isNew())), oldLo, oldHi);
  const isAllowed = code.or(isZero(code, isPresent()), isZero(code, has(code, lo, L1_DISALLOWED)));
  code.when(all(code, isAllowed, taken.isOrdinary, dropped.isOrdinary), () => {
    taken.apply();
    dropped.apply();
    const stored = storedEntry(code, levels, { lo, hi, kept, isPresent });
    code.store(place(), 0, 4, stored.lo());
    code.store(place(), 4, 4, stored.hi());
    done();
  });
}

/** As {@link PageTables} keeps it: PV64 kernels run at CPL 3, so every page is a user page. */
function storedEntry(
  code: DirectCode,
  levels: 3 | 4,
  { lo, hi, kept, isPresent }: Pick<EntryUpdate, 'lo' | 'hi'> & { kept: () => Word; isPresent: () => Word },
) {
  const own = code.keep(code.or(lo(), kept()));
  if (levels === 3) return { lo: own, hi };
  const kernels = code.or(hi(), code.word(HI_GUEST_KERNEL));
  const isKernels = code.and(isPresent(), isZero(code, has(code, lo, PTE_USER)));
  const storedHi = code.keep(code.select(isKernels, kernels, hi()));
  const isGlobal = isZero(code, has(code, storedHi, HI_GUEST_KERNEL));
  const added = code.or(code.word(PTE_USER), code.select(isGlobal, code.word(PTE_GLOBAL), code.word(0)));
  return { lo: code.keep(code.or(own(), code.select(isPresent(), added, code.word(0)))), hi: storedHi };
}

/** One reference more, and one of type if it may be written. */
function takeFrame(code: DirectCode, takes: () => Word, lo: () => Word, hi: () => Word): Change {
  const mfn = frameOf(code, lo(), hi());
  const writes = code.keep(has(code, lo, PTE_WRITE));
  const info = code.keep(code.load(typeOf(code, mfn), 0, 4));
  const count = code.keep(has(code, info, TYPE_COUNT_MASK));
  const isWritable = all(
    code,
    code.equal(has(code, info, TYPE_MASK | TYPE_VALIDATED), code.word(WRITABLE)),
    isZero(code, code.equal(count(), code.word(TYPE_COUNT_MASK))),
  );
  const mayWrite = code.or(isZero(code, count()), isWritable);
  const isGuests = all(
    code,
    code.equal(code.load(ownerOf(code, mfn), 0, 1), code.word(Owner.GUEST)),
    code.load(refsOf(code, mfn), 0, 4),
  );
  const may = all(code, isGuests, unless(code, isZero(code, writes()), mayWrite));
  return {
    isOrdinary: unless(code, isZero(code, takes()), may),
    apply() {
      code.when(takes(), () => {
        change(code, refsOf(code, mfn), 1);
        const first = code.word(WRITABLE | 1);
        const next = code.select(count(), code.add(info(), code.word(1)), first);
        code.when(writes(), () => code.store(typeOf(code, mfn), 0, 4, next));
      });
    },
  };
}

/** One reference less, neither of them the last. */
function dropFrame(code: DirectCode, drops: () => Word, lo: () => Word, hi: () => Word): Change {
  const mfn = frameOf(code, lo(), hi());
  const wrote = code.keep(has(code, lo, PTE_WRITE));
  const info = code.keep(code.load(typeOf(code, mfn), 0, 4));
  const isMore = (count: Word) => code.below(code.word(1), count);
  const stays = isMore(has(code, info, TYPE_COUNT_MASK));
  const may = all(code, mfn(), isMore(code.load(refsOf(code, mfn), 0, 4)), unless(code, isZero(code, wrote()), stays));
  return {
    isOrdinary: unless(code, isZero(code, drops()), may),
    apply() {
      code.when(drops(), () => {
        change(code, refsOf(code, mfn), -1);
        code.when(wrote(), () => change(code, typeOf(code, mfn), -1));
      });
    },
  };
}

function change(code: DirectCode, at: Word, by: 1 | -1): void {
  const place = code.keep(at);
  code.store(place(), 0, 4, code.add(code.load(place(), 0, 4), code.word(by)));
}
