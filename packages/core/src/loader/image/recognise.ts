import { type ElfImage, type GuestImage, PolyvisorError } from '@polyvisor/plugin-api';
import type { CompressionKind, Decompressor } from '../../ports/decompressor.ts';
import { parseBzImage, protocolName } from './bzimage.ts';
import { detectCompression } from './compression.ts';
import { isElf, parseElf } from './elf.ts';
import { ElfMachine } from './elf-constants.ts';
import { damagedImage } from './image-error.ts';
import { isBootSector, looksLike } from './looks-like.ts';
import { findMultibootHeader } from './multiboot.ts';
import { isBzImage } from './setup-header.ts';

/** Called with what is being unpacked and how many bytes are done. */
export type UnpackProgress = (what: string, doneBytes: number, expectedSizeBytes: number | undefined) => void;

/**
 * Says what `file` is and unpacks what is in it. One outer compression is taken off first
 * (`xen-4.17-amd64.gz`). A file that is none of the known formats gives format `unknown` and a
 * description of what it looks like; a damaged one throws `PolyvisorError` (PV2001, PV2002).
 */
export async function recogniseImage(
  file: Uint8Array,
  name: string,
  decompressor: Decompressor,
  onProgress?: UnpackProgress,
): Promise<GuestImage> {
  try {
    return await recognisePacked(file, name, decompressor, onProgress);
  } catch (error) {
    throw error instanceof PolyvisorError ? named(error, name) : error;
  }
}

function named(error: PolyvisorError, name: string): PolyvisorError {
  return new PolyvisorError(error.code, `${name}: ${error.message}`, error.fix, error.exitCode);
}

async function recognisePacked(
  file: Uint8Array,
  name: string,
  decompressor: Decompressor,
  onProgress?: UnpackProgress,
): Promise<GuestImage> {
  const compression = detectCompression(file);
  if (!compression) return recogniseUnpacked(file, name, decompressor, onProgress);
  const unpacked = await unpack(decompressor, compression, file, name, undefined, onProgress);
  const inner = await recogniseUnpacked(unpacked, name, decompressor, onProgress);
  return { ...inner, description: `${compression}-compressed ${inner.description}` };
}

async function recogniseUnpacked(
  file: Uint8Array,
  name: string,
  decompressor: Decompressor,
  onProgress?: UnpackProgress,
): Promise<GuestImage> {
  if (isElf(file)) {
    const elf = parseElf(file);
    return { name, description: describeElf(elf), format: elf.class === 64 ? 'elf64' : 'elf32', file, elf };
  }
  if (isBzImage(file)) return recogniseBzImage(file, name, decompressor, onProgress);
  const multiboot = findMultibootHeader(file);
  if (multiboot) {
    const description = `multiboot${multiboot.version === 2 ? '2' : ''} image (header at 0x${multiboot.offset.toString(16)})`;
    return { name, description, format: 'multiboot', file };
  }
  if (isBootSector(file)) return { name, description: 'disk with a boot sector', format: 'disk', file };
  return { name, description: looksLike(file), format: 'unknown', file };
}

async function recogniseBzImage(
  file: Uint8Array,
  name: string,
  decompressor: Decompressor,
  onProgress?: UnpackProgress,
): Promise<GuestImage> {
  const { payload, kernelName, protocol } = parseBzImage(file);
  const title = kernelName === '' ? 'kernel of unnamed version' : kernelName;
  const describe = (content: string) => `bzImage (${title}, boot protocol ${protocolName(protocol)}, ${content})`;
  if (!payload)
    return {
      name,
      description: describe('payload not found: the header names none, or is older than 2.08'),
      format: 'bzimage',
      file,
    };
  const { bytes, compression, unpackedSizeBytes } = payload;
  const unpacked = compression
    ? await unpack(decompressor, compression, bytes, `payload of ${name}`, unpackedSizeBytes, onProgress)
    : bytes;
  if (compression && unpacked.length !== unpackedSizeBytes) {
    throw damagedImage(`the bzImage payload unpacks to ${unpacked.length} bytes instead of ${unpackedSizeBytes}`);
  }
  const elf = isElf(unpacked) ? parseElf(unpacked) : undefined;
  const content = elf ? '' : `, holding ${looksLike(unpacked)}`;
  return {
    name,
    description: describe(`${compression ?? 'uncompressed'} payload${content}`),
    format: 'bzimage',
    file,
    ...(elf && { elf }),
  };
}

function unpack(
  decompressor: Decompressor,
  kind: CompressionKind,
  bytes: Uint8Array,
  what: string,
  expectedSizeBytes: number | undefined,
  onProgress?: UnpackProgress,
): Promise<Uint8Array> {
  return decompressor.decompress(kind, bytes, {
    ...(expectedSizeBytes !== undefined && { expectedSizeBytes }),
    onProgress: (doneBytes) => onProgress?.(`${what} (${kind})`, doneBytes, expectedSizeBytes),
  });
}

function describeElf(elf: ElfImage): string {
  const machines: Record<number, string> = { [ElfMachine.EM_386]: 'i386', [ElfMachine.EM_X86_64]: 'x86-64' };
  const machine = machines[elf.machine] ?? `machine ${elf.machine}`;
  const multiboot = findMultibootHeader(elf.bytes);
  const header = multiboot ? `, multiboot${multiboot.version === 2 ? '2' : ''} header` : '';
  return `ELF${elf.class} for ${machine}${header}`;
}
