import { FlushFlag, Level, UpdateFlag } from '../mmu/flags.ts';
import { isOneLevel } from '../mmu/page-types.ts';
import type { Call, CallHandler } from './call.ts';

const PAGE_BYTES = 4096;
const ADDRESS_PAGES = 2 ** 20;
const SLOTS = 4;
/** CR3 of PAE paging points to 32 bytes (SDM vol. 3A, 4.4.1). */
const PDPT_BYTES = 32;
const CR4_PAE = 1n << 5n;
const KNOWN_UPDATE = Level.MASK | UpdateFlag.CURRENT_AS | UpdateFlag.DEFER;

/** Why an update's arguments mean nothing. No level at all is "normal" to the ABI, for debugging. */
function checkUpdate(gva: number, flags: number, entryBytes: number): string | undefined {
  // The bits above tell the address that the entry maps, if CURRENT_AS is set.
  const bits = flags & UpdateFlag.CURRENT_AS ? flags & ~UpdateFlag.VA_MASK : flags;
  if (bits & ~KNOWN_UPDATE) return 'unknown flags';
  if (bits & Level.MASK && !isOneLevel(bits)) return 'not one level of page tables';
  if (gva % entryBytes !== 0) return 'an entry that is not aligned';
  return undefined;
}

/** The processor keeps PAE's four upper entries, and takes them anew with CR3; VMI's updates take effect by themselves. */
function reloadUpperEntries({ vcpu }: Call, gpa: number): void {
  const table = Number(vcpu.cr3 & 0xffffffe0n);
  if (vcpu.cr4 & CR4_PAE && gpa >= table && gpa < table + PDPT_BYTES) vcpu.cr3 = BigInt.asUintN(64, vcpu.cr3);
}

const waits = (flags: number) => (flags & UpdateFlag.DEFER) !== 0 && (flags & UpdateFlag.CURRENT_AS) !== 0;

function setEntry(call: Call, gva: number, flags: number, low: number, high?: number): string | undefined {
  const { guest } = call;
  const entryBytes = high === undefined ? 4 : 8;
  const reason = checkUpdate(gva, flags, entryBytes);
  if (reason !== undefined) return reason;
  // Raises the page fault now, whenever the write happens.
  const gpa = call.gpaToWrite(gva);
  if (gpa + entryBytes > guest.machine.memory.sizeBytes) return 'an entry that is not in memory';
  if (waits(flags)) {
    guest.pending.add(gpa, low, high);
    guest.host.count('mmu.deferred');
    return undefined;
  }
  guest.pending.apply();
  if (high === undefined) call.write(gva, low);
  else call.write(gva, low, high);
  if (flags & Level.PDP) reloadUpperEntries(call, gpa);
  return undefined;
}

/** The guest has written the entry itself; the processor reads it there. */
function updateEntry(call: Call, entryBytes: number): string | undefined {
  const [gva, flags] = [call.eax, call.edx];
  const reason = checkUpdate(gva, flags, entryBytes);
  if (reason !== undefined) return reason;
  const gpa = call.gpaToWrite(gva);
  if (!waits(flags) && flags & Level.PDP) reloadUpperEntries(call, gpa);
  return undefined;
}

function flushTlb({ guest, vcpu, eax: flags }: Call): string | undefined {
  if (flags & ~(FlushFlag.TLB | FlushFlag.GLOBAL)) return 'unknown flags';
  guest.pending.apply();
  if (flags & FlushFlag.GLOBAL) vcpu.flushTlb();
  // MOV to CR3 leaves global translations (SDM vol. 3A, 4.10.4.1).
  else if (flags & FlushFlag.TLB) vcpu.cr3 = BigInt.asUintN(64, vcpu.cr3);
  return undefined;
}

/** SetLinearMapping(slot EAX, address EDX, pages ECX, first frame on the stack). */
function setLinearMapping(call: Call): string | undefined {
  const { eax: slot, edx: gva, ecx: pages } = call;
  const pfn = call.stack(0);
  if (slot >= SLOTS) return 'no such slot';
  if (gva % PAGE_BYTES !== 0) return 'an address within a page';
  if (gva / PAGE_BYTES + pages > ADDRESS_PAGES || pfn + pages > ADDRESS_PAGES) return 'beyond the address space';
  call.guest.linearMappings[slot] = pages === 0 ? undefined : { gva, pages, pfn };
  return undefined;
}

export const memoryCalls: Readonly<Record<string, CallHandler>> = {
  /** SetPxE(value EAX, entry EDX, flags ECX). */
  SetPxE: (call) => setEntry(call, call.edx, call.ecx, call.eax),
  /** SetPxELong(value EAX and EDX, entry ECX, flags on the stack). */
  SetPxELong: (call) => setEntry(call, call.ecx, call.stack(0), call.eax, call.edx),
  /** UpdatePxE(entry EAX, flags EDX). */
  UpdatePxE: (call) => updateEntry(call, 4),
  UpdatePxELong: (call) => updateEntry(call, 8),
  // Frames of the guest are frames of the machine: EDX:EAX stays as it is.
  MachineToPhysical: () => undefined,
  PhysicalToMachine: () => undefined,
  /** AllocatePage(frame EAX, flags EDX, original ECX, first entry and their count on the stack). */
  AllocatePage: (call) => call.guest.pageTypes.allocate(call.eax, call.edx, call.ecx, call.stack(0), call.stack(1)),
  ReleasePage: ({ guest, eax, edx }) => guest.pageTypes.release(eax, edx),
  InvalPage: ({ guest, vcpu, eax }) => {
    guest.pending.apply();
    vcpu.flushTlb(BigInt(eax));
    return undefined;
  },
  FlushTLB: flushTlb,
  SetLinearMapping: setLinearMapping,
};
