/** The guest's IDT, and how a trap or interrupt gets to its handler (drivers/lguest/interrupts_and_traps.c). */
import { Gpr, SegmentIndex } from '@polyvisor/plugin-api';
import { TRAP_ENTRY } from './abi.ts';
import type { LguestGuest } from './guest.ts';
import { hex, kill } from './killed.ts';
import { GUEST_PL } from './segments.ts';

const VECTORS = 256;
/** Gates that a guest cannot have: NMI, double fault, the spurious interrupt, hypercalls. */
const IGNORED = new Set([2, 8, 15, TRAP_ENTRY]);
/** Exceptions that go to the host always. */
const HOST_FIRST = new Set([6, 7, 13, 14]);
const Flag = { TF: 0x100, IF: 0x200, NT: 0x4000, RF: 0x10000, VM: 0x20000 } as const;
const GateType = { INTERRUPT: 0xe, TRAP: 0xf } as const;
const PRESENT = 0x8000;
const SUPERVISOR = { as: 'supervisor' } as const;

const typeOf = (high: number) => (high >>> 8) & 15;
/** By the upper word of a gate of the guest's. */
export const isPresentGate = (high: number): boolean => (high & PRESENT) !== 0;
export const isInterruptGate = (high: number): boolean => typeOf(high) === GateType.INTERRUPT;
const dplOf = (high: number) => (high >>> 13) & 3;
const hasErrorCode = (vector: number) => vector === 8 || (vector >= 10 && vector <= 14) || vector === 17;

/** LHCALL_LOAD_IDT_ENTRY. @throws Killed */
export function loadIdtEntry({ idt }: LguestGuest, vector: number, low: number, high: number): void {
  if (IGNORED.has(vector)) return;
  if (vector >= VECTORS) kill(`Setting idt entry ${vector}`);
  const isPresent = isPresentGate(high);
  const type = typeOf(high);
  if (isPresent && type !== GateType.INTERRUPT && type !== GateType.TRAP) kill(`bad IDT type ${type}`);
  idt[vector * 2] = isPresent ? low : 0;
  idt[vector * 2 + 1] = isPresent ? high : 0;
}

const frame = new Int32Array(6);

/**
 * Enter the handler of a gate; false: the guest has none. `direct`: as the processor does it for a gate that the host
 * hands to it, with the real EFLAGS and without touching irq_enabled. `inPlaceOfIret`: as if the IRET that is about to be
 * executed had been, and the interrupt came right behind it; its frame stays where it is. @throws Killed
 */
export function enterGate(
  guest: LguestGuest,
  vector: number,
  event: {
    readonly returnTo: number;
    readonly errorCode?: number;
    readonly direct?: boolean;
    readonly inPlaceOfIret?: boolean;
  },
): boolean {
  const { cpu, idt } = guest;
  const high = idt[vector * 2 + 1];
  if (!isPresentGate(high)) return false;
  const { registered } = guest;
  let eflags = cpu.eflags | Flag.IF;
  if (event.inPlaceOfIret) loadFlags(guest);
  if (registered && !event.direct) {
    const enabled = guest.memory.read32(registered.data + registered.era.data.irqEnabled);
    if ((enabled & Flag.IF) === 0) eflags &= ~Flag.IF;
  }
  const stackSelector = event.inPlaceOfIret ? cpu.selector(SegmentIndex.SS) : pushFrame(guest, eflags, event);
  guest.gdt.enterKernel(cpu, stackSelector);
  cpu.setRip((idt[vector * 2] & 0xffff) | (high & 0xffff0000), 0);
  cpu.eflags = (cpu.eflags & ~(Flag.TF | Flag.NT | Flag.RF | Flag.VM)) | Flag.IF;
  if (isInterruptGate(high) && registered) {
    guest.memory.write32(registered.data + registered.era.data.irqEnabled, 0);
  }
  return true;
}

/** restore_eflags: what the IRET would have taken from its frame. @throws Killed */
function loadFlags({ cpu }: LguestGuest): void {
  const esp = cpu.gprHalves[2 * Gpr.RSP];
  if (!cpu.readWords(esp, 0, frame, 3, SUPERVISOR)) kill(`Bad address ${hex(esp)}`);
  cpu.eflags = (frame[2] & ~(Flag.TF | Flag.NT | Flag.RF | Flag.VM)) | Flag.IF;
}

/** Writes the frame that IRET takes, and moves ESP; answers the stack's selector. */
function pushFrame(guest: LguestGuest, eflags: number, event: { returnTo: number; errorCode?: number }): number {
  const { cpu } = guest;
  const { gprHalves } = cpu;
  const outer = cpu.selector(SegmentIndex.SS);
  const isFromUser = (cpu.selector(SegmentIndex.CS) & 3) !== GUEST_PL;
  let words = 0;
  if (event.errorCode !== undefined) frame[words++] = event.errorCode;
  frame[words++] = event.returnTo;
  frame[words++] = cpu.selector(SegmentIndex.CS);
  frame[words++] = eflags;
  if (isFromUser) {
    frame[words++] = gprHalves[2 * Gpr.RSP];
    frame[words++] = outer;
  }
  const top = isFromUser ? guest.stack.esp : gprHalves[2 * Gpr.RSP];
  const esp = (top - words * 4) >>> 0;
  if (!cpu.writeWords(esp | 0, 0, frame, words, SUPERVISOR)) kill(`Bad address ${hex(esp)}`);
  gprHalves[2 * Gpr.RSP] = esp | 0;
  return isFromUser ? guest.stack.selector : outer;
}

/** An exception: to the guest's handler, or its end. @throws Killed */
export function deliverTrap(guest: LguestGuest, vector: number, errorCode: number, cr2: number): void {
  const { cpu } = guest;
  const returnTo = cpu.ripHalves[0];
  const code = hasErrorCode(vector) ? { errorCode } : {};
  if (enterGate(guest, vector, { returnTo, ...code })) return;
  const detail = hex(vector === 14 ? cr2 : errorCode);
  const before = guest.registered ? '' : ', before its first hypercall';
  kill(`unhandled trap ${vector} at ${hex(returnTo)} (${detail})${before}`);
}

/**
 * INT n, INT3 and INTO. A gate that the guest's level may not use is #GP; a trap gate is entered without the host.
 * @returns the error code of a #GP, or undefined
 */
export function softwareInterrupt(guest: LguestGuest, vector: number, returnTo: number): number | undefined {
  const high = guest.idt[vector * 2 + 1];
  const cpl = guest.cpu.selector(SegmentIndex.CS) & 3;
  if (!isPresentGate(high) || dplOf(high) < cpl) return vector * 8 + 2;
  const direct = typeOf(high) === GateType.TRAP && !HOST_FIRST.has(vector);
  enterGate(guest, vector, { returnTo, direct });
  return undefined;
}
