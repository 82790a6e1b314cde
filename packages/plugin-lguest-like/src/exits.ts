/** The plug-in's first level: what leaves guest code, and what lguest's host made of it (drivers/lguest/x86/core.c). */
import { type ExitAnswer, type ExitOf, Gpr, type PluginHost, SegmentIndex, type Vcpu } from '@polyvisor/plugin-api';
import { TRAP_ENTRY } from './abi.ts';
import type { LguestGuest } from './guest.ts';
import { hypercall } from './hypercalls.ts';
import { hex, Killed } from './killed.ts';
import { checkFault } from './paging.ts';
import type { Transfer } from './recognise.ts';
import { GUEST_PL } from './segments.ts';
import { deliverTrap, softwareInterrupt } from './traps.ts';

const NAME = 'lguest-like';
const GENERAL_PROTECTION = 13;
const PAGE_FAULT = 14;
const CLI = 0xfa;
const ALL_ONES = 0xffff_ffff;
const PciPort = { FIRST: 0xcf8, LAST: 0xcff } as const;
/** The launcher of the PCI bus answers 1: a kernel that resets by the keyboard controller does not wait for it. */
const KEYBOARD_STATUS = 0x64;

/** Do something for the guest that may kill it. */
export function guarded(guest: LguestGuest, work: () => void): void {
  try {
    work();
  } catch (error) {
    if (!(error instanceof Killed)) throw error;
    end(guest, error.message);
  }
}
function end(guest: LguestGuest, reason: string): void {
  if (guest.ended) return;
  guest.ended = true;
  guest.machine.shutdown({ kind: 'crash', message: `lguest killed the guest: ${reason}` });
}

const isKernel = ({ cpu }: LguestGuest) => (cpu.selector(SegmentIndex.CS) & 3) === GUEST_PL;

/** Taps the exits of the guest that `find` knows. */
export function tapExits(host: PluginHost, find: (cpu: Vcpu) => LguestGuest | undefined): void {
  const { exit } = host.hooks;
  const ofGuest =
    <E>(handler: (guest: LguestGuest, exit: E) => ExitAnswer) =>
    (cpu: Vcpu, event: E): ExitAnswer => {
      const guest = find(cpu);
      return guest ? handler(guest, event) : 'pass';
    };
  exit.for('hypercall').tap(
    NAME,
    ofGuest((guest, { instruction }) => (instruction === 'vmcall' ? call(guest, 'vmcall') : 'pass')),
  );
  exit.for('softwareInterrupt').tap(NAME, ofGuest(onSoftwareInterrupt));
  exit.for('exception').tap(NAME, ofGuest(onException));
  exit.for('io').tap(NAME, ofGuest(onPort));
  exit.for('readCr').tap(NAME, ofGuest(onReadControl));
  exit.for('mmio').tap(NAME, ofGuest(onBeyondMemory));
}

function call(guest: LguestGuest, transfer: Transfer): ExitAnswer {
  if (!isKernel(guest)) return 'pass';
  // Kernels that use INT 0x1f are told nothing of the other instruction: it is #UD.
  if (transfer === 'vmcall' && guest.registered?.era.transfer === 'int') return 'pass';
  guarded(guest, () => hypercall(guest, transfer));
  return 'handled';
}

function onSoftwareInterrupt(guest: LguestGuest, event: ExitOf<'softwareInterrupt'>): ExitAnswer {
  const { vector, instructionLength } = event;
  if (vector === TRAP_ENTRY && isKernel(guest)) return call(guest, 'int');
  const returnTo = (guest.cpu.ripHalves[0] + instructionLength) | 0;
  let fault: number | undefined;
  guarded(guest, () => {
    fault = softwareInterrupt(guest, vector, returnTo);
  });
  return fault === undefined ? 'handled' : { fault: GENERAL_PROTECTION, errorCode: fault };
}

function onException(guest: LguestGuest, event: ExitOf<'exception'>): ExitAnswer {
  if (event.vector === GENERAL_PROTECTION && skipsCli(guest)) return 'handled';
  guarded(guest, () => {
    const cr2 = Number(BigInt.asUintN(32, event.cr2 ?? 0n));
    if (event.vector === PAGE_FAULT) {
      checkFault(guest, cr2);
      const { registered, memory } = guest;
      if (registered) memory.write32(registered.data + registered.era.data.cr2, cr2);
    }
    deliverTrap(guest, event.vector, event.errorCode ?? 0, cr2);
  });
  return 'handled';
}

/** Ports: nothing is there but the configuration of a PCI bus. User code gets its #GP. */
function onPort(guest: LguestGuest, event: ExitOf<'io'>): ExitAnswer {
  if (!isKernel(guest)) return { fault: GENERAL_PROTECTION, errorCode: 0 };
  const { bus, cpu } = guest;
  if (event.string) return 'pass';
  if (bus?.pci && event.port >= PciPort.FIRST && event.port <= PciPort.LAST) return 'common';
  if (event.direction === 'in') {
    const at = 2 * Gpr.RAX;
    const mask = event.sizeBytes === 4 ? ALL_ONES : 2 ** (8 * event.sizeBytes) - 1;
    cpu.gprHalves[at] |= mask;
    if (bus?.pci && event.port === KEYBOARD_STATUS) cpu.gprHalves[at] &= ~mask | 1;
  }
  return 'handled';
}

/** Some CLIs of the kernel's are in no pv_op (from Linux 2.6.33 on). Its EFLAGS.IF means nothing: they are stepped over. */
function skipsCli(guest: LguestGuest): boolean {
  if (!isKernel(guest) || !guest.registered?.era.ignoresCli) return false;
  const { cpu, machine } = guest;
  const at = cpu.translate(BigInt(cpu.ripHalves[0] >>> 0), 'execute', { as: 'supervisor' });
  if (!at.ok || machine.memory.read8(at.gpa) !== CLI) return false;
  cpu.setRip((cpu.ripHalves[0] + 1) | 0, 0);
  return true;
}

/** CR4 reads as 0, as it does through the guest's own pv_ops: some kernels read it before they have handlers for #GP. */
function onReadControl(guest: LguestGuest, { cr, gpr }: ExitOf<'readCr'>): ExitAnswer {
  if (cr !== 4 || !isKernel(guest)) return 'pass';
  guest.cpu.gprHalves[2 * gpr] = 0;
  return 'handled';
}

/** A page-table entry led out of the guest's memory: to the PCI bus's functions, or to nothing. */
function onBeyondMemory(guest: LguestGuest, { gpa }: ExitOf<'mmio'>): ExitAnswer {
  const pci = guest.bus?.pci;
  if (pci && gpa >= pci.firstGpa && gpa < pci.endGpa) return 'pass';
  end(guest, `bad page table entry (frame of ${hex(gpa)})`);
  return 'pass';
}
