/** Whether an image is a kernel that can be an lguest guest, and where it begins. */
import type { ElfImage, EntrySearch, GuestImage } from '@polyvisor/plugin-api';
import { hasSubarchField, readSetup } from './setupHeader.ts';

export const ENTRY = 'lguest';
const PLUGIN = 'lguest-like';
const ABI = 'lguest (hardware_subarch 1)';
/** Above the machine's own doors, below a hypervisor's own ELF notes. */
const PRIORITY = 50;
const EM_386 = 3;
/** PT_LOAD segments are searched, as far as they have bytes. */
const PT_LOAD = 1;
/** pv_info.name: how the kernel's own lguest drivers know where they run (arch/x86/lguest/boot.c). */
const NAME = new TextEncoder().encode('lguest\0');

/** The finder of `--plugin lguest-like`. */
export function findLguestEntries(image: GuestImage): EntrySearch {
  const found = search(image);
  if (typeof found === 'string') return { entries: [], missing: [{ name: ENTRY, abi: ABI, reason: found }] };
  return { entries: [{ name: ENTRY, abi: ABI, ...found, plugin: PLUGIN, priority: PRIORITY }], missing: [] };
}

function search(image: GuestImage): { address: bigint; foundIn: string } | string {
  const { elf, format } = image;
  const setup = format === 'bzimage' ? readSetup(image.file) : undefined;
  if (setup && !hasSubarchField(setup)) {
    return `boot protocol ${(setup.protocol >> 8).toString()}.${(setup.protocol & 0xff).toString().padStart(2, '0')}: hardware_subarch came with 2.07`;
  }
  if (!elf) {
    return setup ? 'the kernel inside the bzImage could not be unpacked' : `no ELF image inside (${image.description})`;
  }
  if (elf.class !== 32 || elf.machine !== EM_386) return 'not a 32-bit x86 kernel';
  if (!containsName(elf)) return 'no lguest guest support: nothing in it is called "lguest" (CONFIG_LGUEST_GUEST)';
  const where = setup ? 'ELF header e_entry of the payload' : 'ELF header e_entry';
  return { address: elf.entry, foundIn: `${where}; hardware_subarch 1 tells the kernel` };
}

function containsName(elf: ElfImage): boolean {
  return elf.programHeaders.some(({ type, offset, fileSizeBytes }) => {
    return type === PT_LOAD && indexOf(elf.bytes.subarray(offset, offset + fileSizeBytes), NAME) >= 0;
  });
}

function indexOf(bytes: Uint8Array, wanted: Uint8Array): number {
  for (let at = bytes.indexOf(wanted[0]); at >= 0; at = bytes.indexOf(wanted[0], at + 1)) {
    if (wanted.every((byte, i) => bytes[at + i] === byte)) return at;
  }
  return -1;
}
