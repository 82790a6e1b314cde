/** LHCALL_*: what the guest asks of its host (drivers/lguest/hypercalls.c). Anything that is wrong kills the guest. */
import { Gpr, type ShutdownReason } from '@polyvisor/plugin-api';
import { Call, type CallName, callName, LAST_CALL, RING_DONE, RING_SIZE, SHUTDOWN_RESTART } from './abi.ts';
import type { LguestGuest, Registered } from './guest.ts';
import { halt, setClockEvent } from './interrupts.ts';
import { kill } from './killed.ts';
import { flushTlb, newPageTable, setPgd, setPmd, setPte } from './paging.ts';
import { initialise, type Transfer } from './recognise.ts';
import { GUEST_PL, TLS_BYTES } from './segments.ts';
import { loadIdtEntry } from './traps.ts';

const CR0_TS = 8n;
const MOST_STACK_PAGES = 2;
const PAGE_BYTES = 4096;
const MESSAGE_BYTES = 128;
/** What lguest_power_off says (arch/x86/lguest/boot.c); a panic gives its own message by the same call. */
const POWER_DOWN = 'Power down';

/** Argument 0 is the call's number; all unsigned. */
type Arguments = readonly [number, number, number, number, number];
type Handler = (guest: LguestGuest, args: Arguments) => void;

const handlers: Record<CallName, Handler> = {
  // Calls in the ring are done before any other; interrupts are delivered before the guest goes on.
  FLUSH_ASYNC: () => {},
  SEND_INTERRUPTS: () => {},
  LGUEST_INIT: () => kill('already have lguest_data'),
  SHUTDOWN: shutdown,
  LOAD_GDT: ({ memory, gdt }, [, table, count]) => gdt.setAll(wordsAt(memory.read(table, Math.min(count, 8192) * 8))),
  NEW_PGTABLE: (guest, [, pgdir]) => newPageTable(guest, pgdir),
  FLUSH_TLB: (guest, [, everything]) => flushTlb(guest, everything !== 0),
  LOAD_IDT_ENTRY: (guest, [, vector, low, high]) => loadIdtEntry(guest, vector, low | 0, high | 0),
  SET_STACK: setStack,
  TS: setTaskSwitched,
  SET_CLOCKEVENT: (guest, [, deltaNs]) => setClockEvent(guest, deltaNs),
  HALT: halt,
  SET_PMD: (guest, [, pmd, index]) => setPmd(guest, pmd, index),
  SET_PTE: (guest, [, , gva, low, high]) => setPte(guest, gva, low, high),
  SET_PGD: (guest, [, pgdir, index]) => setPgd(guest, pgdir, index),
  LOAD_TLS: ({ memory, gdt }, [, table]) => gdt.setTls(wordsAt(memory.read(table, TLS_BYTES))),
  NOTIFY: (guest, [, address]) => guest.bus?.notify(address),
  LOAD_GDT_ENTRY: ({ gdt }, [, entry, low, high]) => gdt.set(entry, low | 0, high | 0),
};

const byNumber = Array.from({ length: LAST_CALL + 1 }, (_, number) => {
  const name = callName(number);
  return name && { name, handler: handlers[name], counter: `hypercall.${name}` };
});

/** A hypercall by `transfer`: first the calls that wait in the ring, then this one. @throws Killed */
export function hypercall(guest: LguestGuest, transfer: Transfer): void {
  const { registered } = guest;
  const { gprHalves } = guest.cpu;
  const number = gprHalves[2 * Gpr.RAX] >>> 0;
  if (registered === undefined) {
    if (number !== Call.LGUEST_INIT) kill(`hypercall ${number} before INIT`);
    guest.host.count('hypercall.LGUEST_INIT');
    initialise(guest, transfer);
    return;
  }
  callsInRing(guest, registered);
  if (guest.ended) return;
  const [a, b, c, d] = registered.era.registers.map((register) => gprHalves[2 * register] >>> 0);
  call(guest, registered, [number, a, b, c, d ?? 0]);
}

function callsInRing(guest: LguestGuest, { era, data }: Registered): void {
  const { memory } = guest;
  const status = data + era.data.ringStatus;
  const words = era.ringOrder.length;
  for (let i = 0; i < RING_SIZE && !guest.ended; i++) {
    const place = guest.nextHcall;
    if (memory.read8(status + place) === RING_DONE) return;
    guest.nextHcall = (place + 1) % RING_SIZE;
    const at = data + era.data.ring + place * words * 4;
    const [number, a, b, c, d] = era.ringOrder.map((word) => memory.read32(at + word * 4));
    guest.host.count('ring');
    call(guest, { era, data }, [number, a, b, c, d ?? 0]);
    memory.write8(status + place, RING_DONE);
  }
}

function call(guest: LguestGuest, { era }: Pick<Registered, 'era' | 'data'>, args: Arguments): void {
  const [number] = args;
  const found = era.calls.has(number) ? byNumber[number] : undefined;
  guest.host.trace('hypercalls', () => ({ call: found?.name ?? number, arguments: args.slice(1) }));
  if (found === undefined) kill(`Bad hypercall ${number}`);
  guest.host.count(found.counter);
  found.handler(guest, args);
}

function shutdown(guest: LguestGuest, [, text, reason]: Arguments): void {
  // A restart may come without a message: its address is then not looked at.
  if (reason === SHUTDOWN_RESTART) {
    end(guest, { kind: 'reboot' });
    return;
  }
  const message = new TextDecoder('latin1').decode(guest.memory.text(text, MESSAGE_BYTES - 1));
  end(guest, message === POWER_DOWN ? { kind: 'poweroff' } : { kind: 'crash', message: `CRASH: ${message}` });
}
function end(guest: LguestGuest, reason: ShutdownReason): void {
  guest.ended = true;
  guest.machine.shutdown(reason);
}

function setStack(guest: LguestGuest, [, selector, esp, pages]: Arguments): void {
  if ((selector & 3) !== GUEST_PL) kill(`bad stack segment ${selector}`);
  if (pages > MOST_STACK_PAGES) kill(`bad stack pages ${pages}`);
  for (let i = 0; i < pages; i++) {
    const gva = (esp - 1 - i * PAGE_BYTES) >>> 0;
    if (!guest.cpu.translate(BigInt(gva), 'write', { as: 'supervisor' }).ok)
      kill(`bad stack page 0x${gva.toString(16)}`);
  }
  guest.stack = { selector: selector & 0xffff, esp: esp | 0 };
}

function setTaskSwitched({ cpu }: LguestGuest, [, on]: Arguments): void {
  cpu.cr0 = on === 0 ? cpu.cr0 & ~CR0_TS : cpu.cr0 | CR0_TS;
}

function wordsAt(bytes: Uint8Array): Int32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Int32Array.from({ length: bytes.length >>> 2 }, (_, i) => view.getInt32(i * 4, true));
}
