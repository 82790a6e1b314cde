/** Virtual interrupts and the clock (drivers/lguest/interrupts_and_traps.c). */
import type { LguestGuest, Registered } from './guest.ts';
import { enterGate } from './traps.ts';

const FIRST_EXTERNAL_VECTOR = 0x20;
const IF = 0x200;
const NS = 1_000_000_000n;
const CLOCK_IRQ = 0;

/** The guest's wall clock, written when something happens. @throws Killed */
export function writeTimestamp(guest: LguestGuest, { era, data }: Registered): void {
  const { clock } = guest.machine;
  const now = clock.startEpochNs + BigInt(Math.floor(clock.nowNs()));
  guest.memory.write32(data + era.data.seconds, Number(BigInt.asUintN(32, now / NS)));
  guest.memory.write32(data + era.data.nanoseconds, Number(now % NS));
}

/** Deliver the first interrupt that waits and is not blocked, if the guest lets it. @throws Killed */
export function deliverInterrupts(guest: LguestGuest): void {
  const { registered, cpu, memory } = guest;
  if (registered === undefined || guest.irqsPending === 0) return;
  const { era, data } = registered;
  const waiting = guest.irqsPending & ~memory.read32(data + era.data.blockedInterrupts);
  if (waiting === 0) return;
  const rip = cpu.ripHalves[0] >>> 0;
  const { noirqStart, noirqEnd } = registered;
  if (noirqEnd !== undefined && rip >= noirqStart && rip < noirqEnd) return;
  const { irqPending } = era.data;
  if (guest.halted) {
    memory.write32(data + era.data.irqEnabled, IF);
    guest.halted = false;
    cpu.blocked = false;
  } else if ((memory.read32(data + era.data.irqEnabled) & IF) === 0) {
    if (irqPending !== undefined) memory.write32(data + irqPending, IF);
    return;
  }
  const irq = 31 - Math.clz32(waiting & -waiting);
  const inPlaceOfIret = noirqEnd === undefined && rip === noirqStart;
  if (enterGate(guest, FIRST_EXTERNAL_VECTOR + irq, { returnTo: rip | 0, inPlaceOfIret }))
    guest.irqsPending &= ~(1 << irq);
  writeTimestamp(guest, registered);
  const more = (waiting & ~(1 << irq)) !== 0;
  if (irqPending !== undefined && !more) memory.write32(data + irqPending, 0);
}

/** LHCALL_SET_CLOCKEVENT: interrupt 0 after `deltaNs`; 0: not at all. */
export function setClockEvent(guest: LguestGuest, deltaNs: number): void {
  guest.clockEvent?.cancel();
  guest.clockEvent = undefined;
  if (deltaNs === 0) return;
  const { clock } = guest.machine;
  guest.clockEvent = clock.at(clock.nowNs() + deltaNs, () => guest.raise(CLOCK_IRQ));
}

/** LHCALL_HALT: nothing runs until an interrupt comes that is not blocked. */
export function halt(guest: LguestGuest): void {
  guest.halted = true;
  guest.cpu.blocked = true;
}
