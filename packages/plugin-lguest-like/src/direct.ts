/** Calls without an exit: SET_PTE, three of four that a kernel makes, and FLUSH_ASYNC (docs/decisions/0031). */
import { type DirectCode, Gpr, SegmentIndex, type Word } from '@polyvisor/plugin-api';
import { Call, RING_DONE, TRAP_ENTRY } from './abi.ts';
import type { LguestGuest } from './guest.ts';
import { HIGH_ADDRESS, Pte, reservedBytes } from './paging.ts';
import { GUEST_PL } from './segments.ts';

/**
 * Cells of the vCPU: by which instructions calls may be carried out so, bits of {@link Armed}; the place of the status of the ring's
 * next call; where the switcher's addresses begin; where memory ends; what of an entry's upper half is address; how often the calls
 * were made; whether arguments are in the registers of the old kernels.
 */
const Cell = {
  ...{ ARMED: 0, RING_STATUS: 1, SWITCHER: 2, MEMORY_END: 3, HIGH_ADDRESS: 4 },
  ...{ SET_PTES: 5, FLUSHES: 6, OLD_REGISTERS: 7 },
} as const;
const Armed = { VMCALL: 1, INT: 2 } as const;
const COUNTED = [
  [Cell.SET_PTES, 'hypercall.SET_PTE'],
  [Cell.FLUSHES, 'hypercall.FLUSH_ASYNC'],
] as const;
const FLAGS = 0xfff;

const argument = (code: DirectCode, register: number): Word => code.lowWord(code.register(register));
const hasNone = (code: DirectCode, value: Word, bits: number): Word => code.not(code.and(value, code.word(bits)));

/** What stands before the exit of VMCALL. */
export const buildVmcall = (code: DirectCode): void => buildCall(code, Armed.VMCALL);
/** What stands before that of INT n. */
export const buildInterrupt = (code: DirectCode): void =>
  code.when(code.equal(code.vector(), code.word(TRAP_ENTRY)), () => buildCall(code, Armed.INT));

function buildCall(code: DirectCode, by: (typeof Armed)[keyof typeof Armed]): void {
  const isKernel = code.equal(code.and(code.selector(SegmentIndex.CS), code.word(3)), code.word(GUEST_PL));
  code.when(code.and(isKernel, code.not(hasNone(code, code.place(Cell.ARMED), by))), () => {
    const isRingDone = code.equal(code.load(code.place(Cell.RING_STATUS), 0, 1), code.word(RING_DONE));
    code.when(isRingDone, () => {
      const number = code.keep(argument(code, Gpr.RAX));
      code.when(code.equal(number(), code.word(Call.SET_PTE)), () => setPte(code));
      code.when(code.equal(number(), code.word(Call.FLUSH_ASYNC)), () => finish(code, Cell.FLUSHES));
    });
  });
}

function setPte(code: DirectCode): void {
  const isOld = code.keep(code.place(Cell.OLD_REGISTERS));
  const gva = code.keep(code.select(isOld(), argument(code, Gpr.RBX), argument(code, Gpr.RCX)));
  const low = code.keep(code.select(isOld(), argument(code, Gpr.RCX), argument(code, Gpr.RDX)));
  const isGuests = code.below(gva(), code.place(Cell.SWITCHER));
  code.when(code.and(isGuests, isAllowed(code, low)), () =>
    finish(code, Cell.SET_PTES, () => code.invalidatePage(code.toQuad(gva()))),
  );
}

function finish(code: DirectCode, counter: number, effect?: () => void): void {
  code.setCell(counter, code.add(code.cell(counter), code.quad(1n)));
  effect?.();
  code.jump(code.nextRip());
}

/** i32 0 or 1: an entry that lguest would not look at yet, that is not present, or that leads to memory. */
function isAllowed(code: DirectCode, low: () => Word): Word {
  const isLater = hasNone(code, low(), Pte.A | Pte.D);
  const isAbsent = hasNone(code, low(), Pte.P);
  const isLow = code.not(code.and(argument(code, Gpr.RSI), code.place(Cell.HIGH_ADDRESS)));
  const isMemory = code.below(code.and(low(), code.word(~FLAGS)), code.place(Cell.MEMORY_END));
  const isSmall = hasNone(code, low(), Pte.PSE);
  return code.or(code.or(isLater, isAbsent), code.and(isSmall, code.and(isLow, isMemory)));
}

/** Before guest code is entered: count what was done, and say whether more may be. */
export function updateDirectCalls(guest: LguestGuest): void {
  const { host, registered, cpu, memory, paging } = guest;
  const { cells } = cpu.directState;
  for (const [cell, counter] of COUNTED) {
    const made = cells[2 * cell];
    if (made === 0) continue;
    host.count(counter, made);
    cells[2 * cell] = 0;
  }
  // An exit is where a guest of the old ABIs gets an interrupt that waits.
  const isArmed = registered !== undefined && guest.irqsPending === 0 && !host.isTraced('hypercalls');
  // Kernels that use INT 0x1f are told nothing of the other instruction.
  cells[2 * Cell.ARMED] = isArmed ? (registered.era.transfer === 'int' ? Armed.INT : Armed.INT | Armed.VMCALL) : 0;
  if (!isArmed) return;
  const { data, era } = registered;
  cpu.directState.setPlace(Cell.RING_STATUS, data + era.data.ringStatus + guest.nextHcall);
  cells[2 * Cell.SWITCHER] = -reservedBytes(paging);
  cells[2 * Cell.MEMORY_END] = memory.limit;
  cells[2 * Cell.HIGH_ADDRESS] = paging.pae && era.registers.includes(Gpr.RSI) ? HIGH_ADDRESS : 0;
  cells[2 * Cell.OLD_REGISTERS] = era.registers[0] === Gpr.RDX ? 1 : 0;
}
