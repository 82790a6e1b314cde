import type { ElfImage, EntrySearch, GuestImage } from '@polyvisor/plugin-api';
import { missingFeatures } from './features.ts';
import { readImageNotes } from './imageNotes.ts';
import type { ImageNotes } from './types.ts';

const EM_X86_64 = 62;
const PV = { name: 'pv', abi: 'Xen PV 64-bit' } as const;
const PVH = { name: 'pvh', abi: 'Xen PVH' } as const;

/** Doors of an image that this plug-in knows. NOT IMPLEMENTED yet: PVH and 32-bit PV; both are named with the reason. */
export function findXenEntries(image: GuestImage): EntrySearch {
  const elf = image.elf;
  if (elf === undefined) {
    const reason = `no ELF image inside (${image.description})`;
    return {
      entries: [],
      missing: [
        { ...PV, reason },
        { ...PVH, reason },
      ],
    };
  }
  const notes = readImageNotes(elf);
  if (notes === undefined) {
    const reason = 'no ELF notes of owner "Xen" and no __xen_guest section';
    return {
      entries: [],
      missing: [
        { ...PV, reason },
        { ...PVH, reason },
      ],
    };
  }
  const missing = [{ ...PVH, reason: pvhReason(notes) }];
  const refusal = pvRefusal(elf, notes);
  if (refusal !== undefined) return { entries: [], missing: [{ ...PV, reason: refusal }, ...missing] };
  const foundIn = notes.entry === undefined ? 'ELF header e_entry' : entrySource(notes);
  const entry = { ...PV, address: notes.entry ?? elf.entry, foundIn, plugin: 'xen', priority: 100 };
  return { entries: [entry], missing };
}

function entrySource(notes: ImageNotes): string {
  return notes.legacy ? '__xen_guest VIRT_ENTRY' : `ELF note XEN_ELFNOTE_ENTRY (${notes.where})`;
}

function pvhReason(notes: ImageNotes): string {
  if (notes.phys32Entry === undefined) return 'no XEN_ELFNOTE_PHYS32_ENTRY note';
  return `note XEN_ELFNOTE_PHYS32_ENTRY gives 0x${notes.phys32Entry.toString(16)}; booting through it is NOT IMPLEMENTED yet`;
}

/** Why the image cannot be started as PV64, or `undefined`; the checks are those of Xen's domain builder. */
export function pvRefusal(elf: ElfImage, notes: ImageNotes): string | undefined {
  if (elf.class !== 64) return '32-bit image: 32-bit PV is NOT IMPLEMENTED yet';
  if (elf.machine !== EM_X86_64) return `ELF machine ${elf.machine} is not x86-64`;
  if (notes.loader?.startsWith('generic') !== true && notes.guestOs?.startsWith('linux') !== true) {
    return 'neither LOADER is "generic" nor GUEST_OS "linux"';
  }
  if (notes.xenVersion?.startsWith('xen-3.0') !== true)
    return `built for ${notes.xenVersion ?? 'no'} Xen version, not xen-3.0`;
  const unmet = missingFeatures(notes.features);
  if (unmet.length > 0) return `requires ${unmet.join(', ')}, which a PV64 guest cannot have here`;
  return undefined;
}
