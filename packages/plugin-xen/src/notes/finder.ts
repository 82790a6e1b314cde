import type { ClosedDoor, ElfImage, EntrySearch, GuestImage, MissingDoor } from '@polyvisor/plugin-api';
import { PAE_HOLE_START } from '../abi/model.ts';
import { missingFeatures } from './features.ts';
import { paeModeOf, readImageNotes } from './imageNotes.ts';
import type { ImageNotes } from './types.ts';

const EM_386 = 3;
const EM_X86_64 = 62;
const PLUGIN = 'xen';
/** By door's name. */
const PRIORITY = { pv: 100, pvh: 90 } as const;
const PV_ABI = { 32: 'Xen PV 32-bit PAE', 64: 'Xen PV 64-bit' } as const;
const pv = (elf?: ElfImage) => ({ name: 'pv', abi: elf ? PV_ABI[elf.class] : 'Xen PV' }) as const;
const PVH = { name: 'pvh', abi: 'Xen PVH' } as const;

type Door = { readonly name: keyof typeof PRIORITY; readonly abi: string };
/** A door that can be gone through has no `closed`; one that is not there has no address. */
type Finding =
  | { readonly door: Door; readonly address: bigint; readonly foundIn: string; readonly closed?: string }
  | { readonly door: Door; readonly missing: string };

/** Doors of an image that this plug-in knows. */
export function findXenEntries(image: GuestImage): EntrySearch {
  const findings = findingsIn(image);
  return {
    entries: findings.flatMap((finding) => {
      if ('missing' in finding || finding.closed !== undefined) return [];
      const { door, address, foundIn } = finding;
      return [{ ...door, address, foundIn, plugin: PLUGIN, priority: PRIORITY[door.name] }];
    }),
    closed: findings.flatMap((finding): ClosedDoor[] => {
      if ('missing' in finding || finding.closed === undefined) return [];
      const { door, address, foundIn, closed } = finding;
      return [{ ...door, address, foundIn, plugin: PLUGIN, reason: closed }];
    }),
    missing: findings.flatMap((finding): MissingDoor[] =>
      'missing' in finding ? [{ ...finding.door, reason: finding.missing }] : [],
    ),
  };
}

function findingsIn({ elf, description }: GuestImage): Finding[] {
  const notes = elf && readImageNotes(elf);
  if (elf && notes) return [pvDoor(elf, notes), pvhDoor(notes)];
  const missing = elf
    ? 'no ELF notes of owner "Xen" and no __xen_guest section'
    : `no ELF image inside (${description})`;
  return [
    { door: pv(elf), missing },
    { door: PVH, missing },
  ];
}

function pvDoor(elf: ElfImage, notes: ImageNotes): Finding {
  const door = pv(elf);
  const missing = whyNoPv(elf, notes);
  if (missing !== undefined) return { door, missing };
  const closed = pvRefusal(elf, notes);
  const foundIn = notes.entry === undefined ? 'ELF header e_entry' : entrySource(notes);
  return { door, address: notes.entry ?? elf.entry, foundIn, ...(closed !== undefined && { closed }) };
}

function entrySource(notes: ImageNotes): string {
  return notes.legacy ? '__xen_guest VIRT_ENTRY' : `ELF note XEN_ELFNOTE_ENTRY (${notes.where})`;
}

function pvhDoor(notes: ImageNotes): Finding {
  if (notes.phys32Entry === undefined) return { door: PVH, missing: 'no XEN_ELFNOTE_PHYS32_ENTRY note' };
  return {
    door: PVH,
    address: notes.phys32Entry,
    foundIn: `ELF note XEN_ELFNOTE_PHYS32_ENTRY (${notes.where})`,
  };
}

/**
 * Why the image is no PV guest, or `undefined`; the checks are those of Xen's domain builder. An image that gives the
 * PVH entry and no ENTRY has not said where PV begins, and its e_entry is for others: Linux without XEN_PV keeps all
 * other notes.
 */
function whyNoPv(elf: ElfImage, notes: ImageNotes): string | undefined {
  if (elf.class === 64 && elf.machine !== EM_X86_64) return `ELF machine ${elf.machine} is not x86-64`;
  if (elf.class === 32 && elf.machine !== EM_386) return `ELF machine ${elf.machine} is not i386`;
  if (notes.phys32Entry !== undefined && notes.entry === undefined) {
    return 'no XEN_ELFNOTE_ENTRY beside XEN_ELFNOTE_PHYS32_ENTRY: the image is for PVH only';
  }
  if (notes.loader?.startsWith('generic') !== true && notes.guestOs?.startsWith('linux') !== true) {
    return 'neither LOADER is "generic" nor GUEST_OS "linux"';
  }
  if (notes.xenVersion?.startsWith('xen-3.0') !== true)
    return `built for ${notes.xenVersion ?? 'no'} Xen version, not xen-3.0`;
  return undefined;
}

/** Why a PV guest cannot be started here, or `undefined`. */
function pvRefusal(elf: ElfImage, notes: ImageNotes): string | undefined {
  if (elf.class === 32) {
    if (paeModeOf(notes) === 'no') return 'it does not use PAE, and 32-bit PV without PAE is of Xen 3.0 alone';
    const { hvStartLow } = notes;
    if (hvStartLow !== undefined && hvStartLow > PAE_HOLE_START) {
      return `it needs all addresses below 0x${hvStartLow.toString(16)}; the hypervisor begins at 0x${PAE_HOLE_START.toString(16)}`;
    }
  }
  const unmet = missingFeatures(notes.features);
  if (unmet.length > 0) return `requires ${unmet.join(', ')}, which a PV guest cannot have here`;
  return undefined;
}
