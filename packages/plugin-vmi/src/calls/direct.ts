import { type DirectCode, Gpr, type Vcpu, type Word } from '@polyvisor/plugin-api';
import type { VmiGuest } from '../guest.ts';
import { CALL_NAMES } from './numbers.ts';

const EFLAGS_IF = 1 << 9;
const VMCALL_BYTES = 3;

/** Cells of the vCPU: where a VMCALL of the ROM ends, from and below; then how often each of {@link DIRECT} was made. */
const Cell = { FIRST: 0, END: 1, COUNTS: 2 } as const;

/** Builds a call; `finish`, to be called once where nothing is in the way any more, counts it and goes on behind the trap. */
type Build = (code: DirectCode, finish: (effect?: () => void) => void) => void;

/**
 * Calls that generated code carries out where the ROM traps, without an exit: those of the interrupt flag as their handlers do it,
 * and some that are the processor's own business, which the ROM executes next.
 */
const DIRECT: Readonly<Record<string, Build>> = {
  DisableInterrupts: (code, finish) => finish(() => code.setFlags(code.and(code.flags(), code.word(~EFLAGS_IF)))),
  EnableInterrupts: (code, finish) => setInterrupts(code, code.word(EFLAGS_IF), finish),
  GetInterruptMask: (code, finish) => finish(() => code.setRegister(Gpr.RAX, code.toQuad(code.flags()))),
  SetInterruptMask: (code, finish) =>
    setInterrupts(code, code.and(code.lowWord(code.register(Gpr.RAX)), code.word(EFLAGS_IF)), finish),
  GetCR2: (_code, finish) => finish(),
  RDTSC: (_code, finish) => finish(),
  IRET: (_code, finish) => finish(),
  SYSEXIT: (_code, finish) => finish(),
};
const NAMES = Object.keys(DIRECT);
const numberOf = new Map([...CALL_NAMES].map(([number, name]) => [name, number]));

/** What stands before the exit of VMCALL. */
export function buildCall(code: DirectCode): void {
  const isInRom = code.and(
    code.not(code.below(code.nextRip(), code.cell(Cell.FIRST))),
    code.below(code.nextRip(), code.cell(Cell.END)),
  );
  code.when(code.and(isInRom, code.not(code.level())), () => {
    const stack = code.toQuad(code.lowWord(code.register(Gpr.RSP)));
    const top = code.keep(code.reach('present', stack, 4, 'read'));
    code.when(top(), () => {
      const number = code.keep(code.load(top(), 0, 4));
      NAMES.forEach((name, index) => {
        const cell = Cell.COUNTS + index;
        const finish = (effect?: () => void) => {
          code.setCell(cell, code.add(code.cell(cell), code.quad(1n)));
          effect?.();
          code.jump(code.nextRip());
        };
        code.when(code.equal(number(), code.word(numberOf.get(name) as number)), () => DIRECT[name](code, finish));
      });
    });
  });
}

/** An interrupt that waits would come next: that is not generated code's to see. */
function setInterrupts(code: DirectCode, flag: Word, finish: (effect?: () => void) => void): void {
  const flags = code.keep(code.or(code.and(code.flags(), code.word(~EFLAGS_IF)), flag));
  const closes = code.not(code.and(flags(), code.word(EFLAGS_IF)));
  code.when(code.or(closes, code.not(code.interruptWaits())), () => finish(() => code.setFlags(flags())));
}

/** Before guest code is entered: count what was done, and say where the ROM is, unless somebody wants to see each call. */
export function updateDirectCalls({ host, rom, romGva }: VmiGuest, { directState: { cells } }: Vcpu): void {
  NAMES.forEach((name, index) => {
    const at = 2 * (Cell.COUNTS + index);
    if (cells[at] === 0) return;
    host.count(`call.${name}`, cells[at]);
    cells[at] = 0;
  });
  const first = romGva === undefined || host.isTraced('hypercalls') ? undefined : romGva + VMCALL_BYTES;
  const end = first === undefined ? 0 : first + rom.bytes.length;
  cells[2 * Cell.FIRST] = first ?? 0;
  cells[2 * Cell.END] = end;
  cells[2 * Cell.END + 1] = end > 0xffff_ffff ? 1 : 0;
}
