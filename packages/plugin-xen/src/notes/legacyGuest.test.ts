/** Images that carry the legacy `__xen_guest` string, in the shape of a 64-bit GNU Mach. */
import { Gpr } from '@polyvisor/plugin-api';
import { describe, expect, it } from 'vitest';
import { hypercallPage } from '../builder/hypercallPage.ts';
import { boot, elfImage, guestImage } from '../testing/guest.ts';
import { walk } from '../testing/walk.ts';
import { findXenEntries } from './finder.ts';

const BASE = 0x4000_0000n;
const SHT_PROGBITS = 1;
const SHT_NOTE = 7;

/** A note in a section: System V ABI, "Note Section". */
function note(owner: string, type: number, desc: Uint8Array): number[] {
  const padded = (bytes: Uint8Array) => [...bytes, ...new Uint8Array(-bytes.length & 3)];
  const name = new TextEncoder().encode(`${owner}\0`);
  const header = new Uint8Array(Uint32Array.of(name.length, desc.length, type).buffer);
  return [...header, ...padded(name), ...padded(desc)];
}

const quad = (value: bigint) => new Uint8Array(BigUint64Array.of(value).buffer);

/** Notes that say otherwise, under an owner; and the string. */
function image(owner: string, info: string) {
  const notes = [...note(owner, 1, quad(0x1234n)), ...note(owner, 3, quad(0x7000_0000n))];
  return {
    notes: [],
    entry: BASE,
    programHeaders: [{ vaddr: BASE, paddr: BASE }],
    sections: [
      { name: '__xen_guest', type: SHT_PROGBITS, bytes: new TextEncoder().encode(`${info}\0`) },
      { name: '.note.Xen', type: SHT_NOTE, bytes: Uint8Array.from(notes) },
    ],
  };
}

const INFO =
  'GUEST_OS=GNU Mach,GUEST_VERSION=1.3,XEN_VER=xen-3.0,VIRT_BASE=0x40000000,ELF_PADDR_OFFSET=0x40000000,' +
  'HYPERCALL_PAGE=0x2,LOADER=generic';

describe('a kernel with __xen_guest', () => {
  it('starts at its ELF entry, notes of another owner notwithstanding', () => {
    const options = image('name', INFO);
    const { entries } = findXenEntries(guestImage(elfImage(options)));
    expect(entries).toMatchObject([{ name: 'pv', address: BASE, foundIn: 'ELF header e_entry' }]);
    const guest = boot(options);
    expect(guest.cpu.rip).toBe(BASE);
    expect(guest.cpu.gpr[Gpr.RSI]).toBeGreaterThan(BASE);
    const start = walk(guest.memory, guest.cpu.cr3, BASE, 'read', true);
    expect(guest.memory.readBytes(Number(start), 3)).toEqual(Uint8Array.of(1, 2, 3));
  });

  it('gets its hypercall page by page number from VIRT_BASE', () => {
    const guest = boot(image('name', INFO));
    const page = walk(guest.memory, guest.cpu.cr3, BASE + 0x2000n, 'read', true);
    expect(guest.memory.readBytes(Number(page), 4096)).toEqual(hypercallPage(8));
  });

  it('starts at VIRT_ENTRY when it says so', () => {
    const { entries } = findXenEntries(guestImage(elfImage(image('name', `${INFO},VIRT_ENTRY=0x40000010`))));
    expect(entries).toMatchObject([{ address: BASE + 0x10n, foundIn: '__xen_guest VIRT_ENTRY' }]);
  });

  it('is read by its notes once they are owned by "Xen"', () => {
    const { entries, missing } = findXenEntries(guestImage(elfImage(image('Xen', INFO))));
    expect(entries).toEqual([]);
    expect(missing.find(({ name }) => name === 'pv')?.reason).toContain('LOADER');
  });
});
