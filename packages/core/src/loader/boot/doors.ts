import type { ClosedDoor, ElfImage, EntrySearch, GuestImage, MissingDoor } from '@polyvisor/plugin-api';
import { protocolName } from '../image/bzimage.ts';
import { isBootSector } from '../image/looks-like.ts';
import { findMultibootHeaderOf, multibootEntry } from '../image/multiboot.ts';
import { readPeHeader } from '../image/pe.ts';
import { isBzImage, readSetupHeader, type SetupHeader } from '../image/setup-header.ts';
import { BOOT_SECTOR_AT } from './boot-sector.ts';
import { ENTRY_64 } from './linux.ts';
import { physicalEntry, virtualOffset } from './placement.ts';

/** Doors that need no hypervisor interface; the best first, among those that a machine can go through. */
const LINUX_ABIS = { linux64: '64-bit entry', linux32: '32-bit entry', linux16: '16-bit entry (real mode)' } as const;
const ABIS = {
  ...LINUX_ABIS,
  // Boot loaders that also are multiboot images are disks first.
  bios: 'boot sector, as a BIOS starts it',
  multiboot2: 'Multiboot2',
  multiboot1: 'Multiboot',
  elf: 'ELF entry of an unpacked Linux kernel',
  sniff: 'ELF entry in ring 1 with paging on: the kernel finds out where it is',
  efi: 'EFI application',
} as const;

export type NativeDoorName = keyof typeof ABIS;
const NAMES = Object.keys(ABIS) as NativeDoorName[];

/** Priority of a door that is taken only if it is asked for by its name. */
export const ONLY_IF_NAMED = -1;

/** The door whose kernels may execute a forced CPUID, and whose early faults are reported as such. */
export const SNIFF = 'sniff' satisfies NativeDoorName;

/** Who offers native doors, in the place of a plug-in's name. */
export const CORE = 'core';

/** Where a door is, or why there is none. Addresses and places are those of `Entry`. */
type Finding = { readonly address: bigint; readonly foundIn: string } | { readonly missing: string };

/**
 * Every native door of an image, found in its own headers alone. Those named in `startable` are entries; others
 * that are there are closed. Nothing here depends on which kernel it is.
 */
export function findNativeDoors(image: GuestImage, startable: ReadonlySet<NativeDoorName>): EntrySearch {
  const findings = { ...bootProtocolDoors(image), ...otherDoors(image) };
  const protocol = linuxProtocol(image);
  const entries: EntrySearch['entries'][number][] = [];
  const closed: ClosedDoor[] = [];
  const missing: MissingDoor[] = [];
  for (const [index, name] of NAMES.entries()) {
    const finding = findings[name];
    const door = { name, abi: name in LINUX_ABIS ? `${protocol}, ${ABIS[name]}` : ABIS[name] };
    if ('missing' in finding) missing.push({ ...door, reason: finding.missing });
    else if (startable.has(name)) {
      // An ELF entry does not say what it expects: that has to be said by who asks for it.
      const priority = name === 'elf' || name === 'sniff' ? ONLY_IF_NAMED : NAMES.length - index;
      entries.push({ ...door, ...finding, plugin: CORE, priority });
    } else closed.push({ ...door, ...finding, plugin: CORE, reason: whyClosed(name) });
  }
  return { entries, closed, missing };
}

function whyClosed(name: NativeDoorName): string {
  if (name === 'efi') return 'not claimed: there is no UEFI firmware here';
  return 'starting an image through it is NOT IMPLEMENTED yet';
}

function linuxProtocol({ file }: GuestImage): string {
  return isBzImage(file)
    ? `Linux boot protocol ${protocolName(readSetupHeader(file).protocol)}`
    : 'Linux boot protocol';
}

/** Linux, Documentation/arch/x86/boot.rst. */
function bootProtocolDoors({ file }: GuestImage): Record<'linux16' | 'linux32' | 'linux64', Finding> {
  if (!isBzImage(file)) {
    const none = { missing: 'no setup header "HdrS" at file offset 0x202' };
    return { linux16: none, linux32: none, linux64: none };
  }
  const header = readSetupHeader(file);
  return { linux16: realMode(header), linux32: protectedMode(header), linux64: longMode(header) };
}

const REAL_MODE_ENTRY = 0x200;

/** The first protocol whose command line may be anywhere ("The Kernel Command Line"). */
const REAL_MODE_PROTOCOL = 0x202;

function realMode({ protocol, loadedHigh, setupJumpTarget }: SetupHeader): Finding {
  if (setupJumpTarget === undefined) return { missing: 'no jump at file offset 0x200, where the setup code begins' };
  if (setupJumpTarget < REAL_MODE_ENTRY)
    return { missing: 'the jump at file offset 0x200 leads out of the setup code' };
  if (protocol < REAL_MODE_PROTOCOL) return { missing: 'NOT IMPLEMENTED for protocols before 2.02' };
  if (!loadedHigh) return { missing: 'NOT IMPLEMENTED for images that are not LOADED_HIGH (zImage)' };
  const foundIn = 'setup code at file offset 0x200; relative to the segment that it is loaded at';
  return { address: BigInt(REAL_MODE_ENTRY), foundIn };
}

function protectedMode(header: SetupHeader): Finding {
  if (header.code32Start === 0) return { missing: 'code32_start in the setup header is 0' };
  return { address: BigInt(header.code32Start), foundIn: `setup header code32_start${relocation(header)}` };
}

function longMode(header: SetupHeader): Finding {
  if (header.has64BitEntry === undefined) return { missing: 'protocols before 2.12 have no 64-bit entry' };
  if (!header.has64BitEntry) return { missing: 'XLF_KERNEL_64 is not set in xloadflags' };
  const address = header.prefAddress + BigInt(ENTRY_64);
  return { address, foundIn: `setup header pref_address + 0x${ENTRY_64.toString(16)}, xloadflags XLF_KERNEL_64` };
}

function relocation({ relocatable, prefAddress }: SetupHeader): string {
  if (!relocatable) return '';
  return prefAddress === 0n ? '; relocatable' : `; relocatable, prefers 0x${prefAddress.toString(16)}`;
}

function otherDoors(
  image: GuestImage,
): Record<'efi' | 'elf' | 'sniff' | 'multiboot1' | 'multiboot2' | 'bios', Finding> {
  const pe = readPeHeader(image.file);
  return {
    efi:
      'missing' in pe
        ? pe
        : {
            address: BigInt(pe.entryRva),
            foundIn: `PE header AddressOfEntryPoint (${pe.machine}); relative to the image`,
          },
    bios: bootSectorDoor(image),
    elf: elfDoor(image),
    sniff: sniffDoor(image),
    multiboot1: multibootDoor(1, image),
    multiboot2: multibootDoor(2, image),
  };
}

/** A bzImage has the same signature, where it once could be started from a floppy disk. */
function bootSectorDoor({ file, elf }: GuestImage): Finding {
  if (elf || isBzImage(file) || !isBootSector(file)) return { missing: 'no disk whose first sector ends with 55 AA' };
  return { address: BigInt(BOOT_SECTOR_AT), foundIn: 'signature 55 AA at the end of the first sector' };
}

function elfDoor({ elf, format }: GuestImage): Finding {
  if (!elf) return { missing: 'no ELF image' };
  if (format === 'bzimage') return { missing: 'the ELF image is inside a bzImage, which is started as a whole' };
  if (elf.entry === 0n) return { missing: 'e_entry is 0' };
  const address = physicalEntry(elf);
  if (address === undefined) return { missing: `e_entry 0x${elf.entry.toString(16)} lies in no loadable segment` };
  return { address, foundIn: 'ELF header e_entry; taken only if asked for' };
}

function sniffDoor(image: GuestImage): Finding {
  const { elf, format } = image;
  if (elf?.class !== 32 || format === 'bzimage') return { missing: 'no 32-bit ELF image' };
  if (virtualOffset(elf) === undefined) {
    return { missing: 'its virtual and physical addresses do not differ by the same whole number of 4 MiB pages' };
  }
  return elfDoor(image);
}

const SEARCHED_KIB = { 1: 8, 2: 32 } as const;

function multibootDoor(version: 1 | 2, { file, elf, format }: GuestImage): Finding {
  const header = findMultibootHeaderOf(version, file);
  if (!header) return { missing: `no header in the first ${SEARCHED_KIB[version]} KiB of the file` };
  const own = multibootEntry(file, header);
  const where = `header at file offset 0x${header.offset.toString(16)}`;
  if (own) return { address: own.address, foundIn: `${where}, ${own.foundIn}` };
  const ofFormat: ElfImage | undefined = format === 'bzimage' ? undefined : elf;
  if (!ofFormat) return { missing: `the ${where} gives no entry address, and the file is no ELF image` };
  const address = physicalEntry(ofFormat);
  if (address === undefined) return { missing: `e_entry 0x${ofFormat.entry.toString(16)} lies in no loadable segment` };
  return { address, foundIn: `${where}, ELF header e_entry` };
}
