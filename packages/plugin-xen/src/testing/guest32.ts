import type { ElfNote } from '@polyvisor/plugin-api';
import { FakeHost, FakeMachine } from '@polyvisor/testkit';
import { overheadBytes } from '../mm/hole.ts';
import { NoteType } from '../notes/elfNotes.ts';
import type { findXenEntries } from '../notes/finder.ts';
import { xenPlugin } from '../plugin.ts';
import { elfImage, guestImage, textNote } from './guest.ts';
import { walk } from './walk.ts';

export const VIRT_BASE_32 = 0xc000_0000n;
export const KERNEL_PADDR_32 = 0x10_0000n;
const EM_386 = 3;

export function numberNote32(type: number, value: bigint): ElfNote {
  return { owner: 'Xen', type, desc: new Uint8Array(Uint32Array.of(Number(value)).buffer), where: 'PT_NOTE' };
}

export const PLAIN_NOTES_32: readonly ElfNote[] = [
  textNote(NoteType.GUEST_OS, 'fixture'),
  textNote(NoteType.LOADER, 'generic'),
  textNote(NoteType.XEN_VERSION, 'xen-3.0'),
  textNote(NoteType.PAE_MODE, 'yes'),
  numberNote32(NoteType.VIRT_BASE, VIRT_BASE_32),
  numberNote32(NoteType.ENTRY, VIRT_BASE_32 + KERNEL_PADDR_32 + 0x10n),
];

export function image32(notes: readonly ElfNote[] = PLAIN_NOTES_32, virtBase = VIRT_BASE_32) {
  const programHeaders = [{ vaddr: virtBase + KERNEL_PADDR_32 }];
  const elf = elfImage({ notes, class: 32, entry: virtBase + KERNEL_PADDR_32, programHeaders });
  return guestImage({ ...elf, machine: EM_386 });
}

/** The whole plug-in under a 32-bit guest, on a machine of fakes. */
export function boot32(image = image32(), memoryBytes = 8 << 20) {
  const machine: FakeMachine = new FakeMachine({
    memoryBytes: memoryBytes + overheadBytes(memoryBytes, 1),
    vcpus: 1,
    translate: (gva, access, { as }) =>
      walk(machine.memory, machine.vcpus[0].cr3, gva, access, as !== 'supervisor' && machine.vcpus[0].cpl === 3),
  });
  const host = FakeHost.of(xenPlugin);
  const [search] = host.call('findEntries', image) as [ReturnType<typeof findXenEntries>];
  const request = { image, entry: search.entries[0], commandLine: 'fixture=1', initrd: undefined, memoryBytes };
  host.call('boot', request, machine);
  return { machine, host, cpu: machine.vcpus[0], memory: machine.memory };
}

export type Booted32 = ReturnType<typeof boot32>;

/** A hypercall by INT 0x82; answers EAX, signed. */
export function hypercall32({ host, cpu }: Booted32, number: number, ...args: (bigint | number)[]): number {
  const order = [3, 1, 2, 6, 7, 5];
  cpu.gpr[0] = BigInt(number);
  args.forEach((value, index) => {
    cpu.gpr[order[index]] = BigInt.asUintN(32, BigInt(value));
  });
  host.exit(cpu, { kind: 'softwareInterrupt', vector: 0x82, instructionLength: 2 });
  return Number(BigInt.asIntN(32, cpu.gpr[0]));
}
