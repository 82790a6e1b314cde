import type { BootRequest, EntrySearch, GuestImage } from '@polyvisor/plugin-api';
import { protocolName } from '../image/bzimage.ts';
import { PROTOCOL_WITH_XLOADFLAGS, readSetupHeader } from '../image/setup-header.ts';
import { type BootSurroundings, bootLinux64, entryAddress64 } from './linux.ts';

/** Who offers the doors that need no plug-in. */
export const CORE = 'core';
/** Below every plug-in's: who loads one wants its door. */
const PRIORITY = 10;
const NATIVE = 'native';

/** The doors that the PC itself opens. NOT IMPLEMENTED: ELF and multiboot images, 16- and 32-bit entries of a bzImage. */
export function findNativeEntries(image: GuestImage): EntrySearch {
  const missing = (reason: string, abi = 'native start'): EntrySearch => ({
    entries: [],
    missing: [{ name: NATIVE, abi, reason }],
  });
  if (image.format !== 'bzimage') return missing(`no bzImage (${image.description}); others are NOT IMPLEMENTED yet`);
  const header = readSetupHeader(image.file);
  const abi = `Linux boot protocol ${protocolName(header.protocol)}, 64-bit entry`;
  if (header.protocol < PROTOCOL_WITH_XLOADFLAGS) return missing('protocols before 2.12 have no 64-bit entry', abi);
  if (!header.has64BitEntry) {
    return missing('xloadflags do not say XLF_KERNEL_64; the 16- and 32-bit entries are NOT IMPLEMENTED yet', abi);
  }
  const address = entryAddress64(header);
  const foundIn = 'setup header (pref_address + 0x200)';
  return { entries: [{ name: NATIVE, abi, address, foundIn, plugin: CORE, priority: PRIORITY }], missing: [] };
}

/** Start an image through a door of {@link findNativeEntries}. @throws PolyvisorError for what does not fit */
export function bootNatively(request: BootRequest, surroundings: BootSurroundings): void {
  bootLinux64(request, surroundings);
}
