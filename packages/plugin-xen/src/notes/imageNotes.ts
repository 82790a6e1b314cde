import type { ElfImage, ElfNote } from '@polyvisor/plugin-api';
import { littleEndian, NoteType, numeric, text, xenNotes } from './elfNotes.ts';
import type { FeatureList } from './features.ts';
import { NO_FEATURES, parseFeatures } from './features.ts';
import { parseGuestInfo } from './guestInfo.ts';
import type { ImageNotes } from './types.ts';

/** Search in Xen's order: PT_NOTE, SHT_NOTE, the `__xen_guest` section (common/libelf's order of precedence). */
export function readImageNotes(elf: ElfImage): ImageNotes | undefined {
  const notes = xenNotes(elf);
  if (notes.length > 0) {
    const result: ImageNotes = { where: notes[0]!.where, legacy: false, features: NO_FEATURES };
    for (const note of notes) applyNote(result, note);
    return result;
  }
  const section = elf.section('__xen_guest');
  if (section === undefined) return undefined;
  const end = Math.min(section.offset + section.sizeBytes, elf.bytes.length);
  return parseGuestInfo(text(elf.bytes.subarray(section.offset, end)));
}

/** How a 32-bit image takes PAE: not, or with a root below 4 GiB, or with one anywhere (common/libelf, libelf-dominfo.c). */
export type PaeMode = 'no' | 'yes' | 'extended-cr3' | 'bimodal';

export function paeModeOf({ legacy, paeMode = 'no' }: ImageNotes): PaeMode {
  if (legacy) {
    if (paeMode === 'yes[extended-cr3]') return 'extended-cr3';
    return paeMode.startsWith('yes') ? 'yes' : 'no';
  }
  if (paeMode.includes('bimodal')) return 'bimodal';
  return paeMode.startsWith('yes') ? 'extended-cr3' : 'no';
}

export function acceptsExtendedCr3(notes: ImageNotes): boolean {
  const mode = paeModeOf(notes);
  return mode === 'extended-cr3' || mode === 'bimodal';
}

type Apply = (result: ImageNotes, desc: Uint8Array) => void;

const APPLY: Readonly<Record<number, Apply>> = {
  [NoteType.INFO]: (result, desc) => {
    result.info = text(desc);
  },
  [NoteType.ENTRY]: (result, desc) => {
    result.entry = numeric(desc);
  },
  [NoteType.HYPERCALL_PAGE]: (result, desc) => {
    result.hypercallPage = numeric(desc);
  },
  [NoteType.VIRT_BASE]: (result, desc) => {
    result.virtBase = numeric(desc);
  },
  [NoteType.PADDR_OFFSET]: (result, desc) => {
    result.paddrOffset = numeric(desc);
  },
  [NoteType.XEN_VERSION]: (result, desc) => {
    result.xenVersion = text(desc);
  },
  [NoteType.GUEST_OS]: (result, desc) => {
    result.guestOs = text(desc);
  },
  [NoteType.GUEST_VERSION]: (result, desc) => {
    result.guestVersion = text(desc);
  },
  [NoteType.LOADER]: (result, desc) => {
    result.loader = text(desc);
  },
  [NoteType.PAE_MODE]: (result, desc) => {
    result.paeMode = text(desc);
  },
  [NoteType.FEATURES]: (result, desc) => {
    result.features = merge(result.features, parseFeatures(text(desc)));
  },
  [NoteType.BSD_SYMTAB]: (result, desc) => {
    result.bsdSymtab = text(desc) === 'yes';
  },
  [NoteType.HV_START_LOW]: (result, desc) => {
    result.hvStartLow = numeric(desc);
  },
  [NoteType.L1_MFN_VALID]: (result, desc) => {
    result.l1MfnValid = maskPairs(desc);
  },
  [NoteType.SUSPEND_CANCEL]: (result, desc) => {
    result.suspendCancel = numeric(desc) !== 0n;
  },
  [NoteType.INIT_P2M]: (result, desc) => {
    result.initP2m = numeric(desc);
  },
  [NoteType.MOD_START_PFN]: (result, desc) => {
    result.modStartPfn = numeric(desc) !== 0n;
  },
  [NoteType.SUPPORTED_FEATURES]: (result, desc) => {
    result.features = merge(result.features, { ...NO_FEATURES, supported: littleEndian(desc.subarray(0, 8)) });
  },
  [NoteType.PHYS32_ENTRY]: (result, desc) => {
    result.phys32Entry = numeric(desc);
  },
  [NoteType.PHYS32_RELOC]: (result, desc) => {
    result.phys32Reloc = relocation(desc);
  },
};

function applyNote(result: ImageNotes, note: ElfNote): void {
  APPLY[note.type]?.(result, note.desc);
}

function merge(a: FeatureList, b: FeatureList): FeatureList {
  return {
    supported: a.supported | b.supported,
    required: a.required | b.required,
    unknownRequired: [...a.unknownRequired, ...b.unknownRequired],
  };
}

function maskPairs(desc: Uint8Array): { mask: bigint; value: bigint }[] {
  const pairs: { mask: bigint; value: bigint }[] = [];
  for (let at = 0; at + 16 <= desc.length; at += 16) {
    pairs.push({ mask: littleEndian(desc.subarray(at, at + 8)), value: littleEndian(desc.subarray(at + 8, at + 16)) });
  }
  return pairs;
}

/** Up to three 32-bit words: alignment, lowest start, highest end. */
function relocation(desc: Uint8Array): { align?: number; min?: number; max?: number } {
  const word = (index: number): number | undefined =>
    desc.length >= (index + 1) * 4 ? Number(littleEndian(desc.subarray(index * 4, index * 4 + 4))) : undefined;
  return { align: word(0), min: word(1), max: word(2) };
}
