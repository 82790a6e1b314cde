import type { MemoryRegion } from '@polyvisor/plugin-api';
import { e820Entries } from './e820.ts';

/** struct hvm_start_info version 1, hvm_modlist_entry, hvm_memmap_table_entry (public/arch-x86/hvm/start_info.h). */
const MAGIC = 0x336e_c578;
const VERSION = 1;
const INFO_BYTES = 56;
const MODULE_BYTES = 32;
const MAP_ENTRY_BYTES = 24;

interface StartModule {
  readonly gpa: number;
  readonly sizeBytes: number;
  readonly commandLine: Uint8Array;
}

export interface HvmStartInfo {
  /** Where it is placed. */
  readonly gpa: number;
  readonly commandLine: Uint8Array;
  readonly modules: readonly StartModule[];
  readonly memoryMap: readonly MemoryRegion[];
  readonly rsdpGpa: number;
}

/** The structure with its lists behind it, and the command lines, zero-terminated, at the end: the guest's, the modules'. */
export function encodeHvmStartInfo(info: HvmStartInfo): Uint8Array {
  const modulesAt = INFO_BYTES;
  const mapAt = modulesAt + info.modules.length * MODULE_BYTES;
  const commandLineAt = mapAt + info.memoryMap.length * MAP_ENTRY_BYTES;
  let textAt = commandLineAt + info.commandLine.length + 1;
  const texts = info.modules.map(({ commandLine }) => {
    const at = textAt;
    textAt += commandLine.length + 1;
    return at;
  });
  const bytes = new Uint8Array(textAt);
  const view = new DataView(bytes.buffer);
  const address = (offset: number, value: number) => view.setBigUint64(offset, BigInt(value), true);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, VERSION, true);
  view.setUint32(12, info.modules.length, true);
  address(16, info.modules.length > 0 ? info.gpa + modulesAt : 0);
  address(24, info.gpa + commandLineAt);
  address(32, info.rsdpGpa);
  address(40, info.gpa + mapAt);
  view.setUint32(48, info.memoryMap.length, true);
  info.modules.forEach(({ gpa, sizeBytes, commandLine }, i) => {
    address(modulesAt + i * MODULE_BYTES, gpa);
    address(modulesAt + i * MODULE_BYTES + 8, sizeBytes);
    if (commandLine.length === 0) return;
    address(modulesAt + i * MODULE_BYTES + 16, info.gpa + texts[i]);
    bytes.set(commandLine, texts[i]);
  });
  e820Entries(info.memoryMap).forEach(({ first, sizeBytes, type }, i) => {
    address(mapAt + i * MAP_ENTRY_BYTES, first);
    address(mapAt + i * MAP_ENTRY_BYTES + 8, sizeBytes);
    view.setUint32(mapAt + i * MAP_ENTRY_BYTES + 16, type, true);
  });
  bytes.set(info.commandLine, commandLineAt);
  return bytes;
}
