/** LHCALL_SET_PTE by VMCALL without an exit: three of four calls that a kernel makes (docs/decisions/0031). */
import { type DirectCode, Gpr, SegmentIndex, type Word } from '@polyvisor/plugin-api';
import { Call, RING_DONE } from './abi.ts';
import type { LguestGuest } from './guest.ts';
import { HIGH_ADDRESS, Pte, reservedBytes } from './paging.ts';
import { GUEST_PL } from './segments.ts';

/**
 * Cells of the vCPU: whether calls may be carried out so; the place of the status of the ring's next call; where the switcher's
 * addresses begin; where memory ends; what of an entry's upper half is address; how often the call was made.
 */
const Cell = { ARMED: 0, RING_STATUS: 1, SWITCHER: 2, MEMORY_END: 3, HIGH_ADDRESS: 4, COUNT: 5 } as const;
const FLAGS = 0xfff;

const argument = (code: DirectCode, register: number): Word => code.lowWord(code.register(register));
const hasNone = (code: DirectCode, value: Word, bits: number): Word => code.not(code.and(value, code.word(bits)));

/** What stands before the exit of VMCALL. The registers are those of all ABIs that use it; one without PAE looks at no upper half. */
export function buildCall(code: DirectCode): void {
  const isKernel = code.equal(code.and(code.selector(SegmentIndex.CS), code.word(3)), code.word(GUEST_PL));
  const isSetPte = code.equal(argument(code, Gpr.RAX), code.word(Call.SET_PTE));
  code.when(code.and(code.and(isKernel, isSetPte), code.place(Cell.ARMED)), () => {
    const isRingDone = code.equal(code.load(code.place(Cell.RING_STATUS), 0, 1), code.word(RING_DONE));
    const gva = code.keep(argument(code, Gpr.RCX));
    const isGuests = code.below(gva(), code.place(Cell.SWITCHER));
    code.when(code.and(code.and(isRingDone, isGuests), isAllowed(code)), () => {
      code.setCell(Cell.COUNT, code.add(code.cell(Cell.COUNT), code.quad(1n)));
      code.invalidatePage(code.toQuad(gva()));
      code.jump(code.nextRip());
    });
  });
}

/** i32 0 or 1: an entry that lguest would not look at yet, that is not present, or that leads to memory. */
function isAllowed(code: DirectCode): Word {
  const low = code.keep(argument(code, Gpr.RDX));
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
  const made = cells[2 * Cell.COUNT];
  if (made !== 0) {
    host.count('hypercall.SET_PTE', made);
    cells[2 * Cell.COUNT] = 0;
  }
  // An exit is where a guest of the old ABIs gets an interrupt that waits.
  const isArmed = registered?.era.transfer === 'vmcall' && guest.irqsPending === 0 && !host.isTraced('hypercalls');
  cells[2 * Cell.ARMED] = isArmed ? 1 : 0;
  if (!isArmed) return;
  const { data, era } = registered;
  cpu.directState.setPlace(Cell.RING_STATUS, data + era.data.ringStatus + guest.nextHcall);
  cells[2 * Cell.SWITCHER] = -reservedBytes(paging);
  cells[2 * Cell.MEMORY_END] = memory.limit;
  cells[2 * Cell.HIGH_ADDRESS] = paging.pae && era.registers.includes(Gpr.RSI) ? HIGH_ADDRESS : 0;
}
