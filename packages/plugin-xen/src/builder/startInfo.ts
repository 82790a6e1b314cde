import { struct, type WordBytes, writeWord } from '../abi/struct.ts';

/** struct start_info (public/xen.h). */
const Fields = struct({
  magic: ['u8', 32],
  totalPages: 'word',
  sharedInfo: 'word',
  flags: 'u32',
  storeMfn: 'word',
  storePort: 'u32',
  consoleMfn: 'word',
  consolePort: 'u32',
  pageTables: 'word',
  pageTablesCount: 'word',
  p2m: 'word',
  moduleStart: 'word',
  moduleBytes: 'word',
  commandLine: ['u8', 1024],
  firstP2mPfn: 'word',
  p2mFrames: 'word',
});

export const MAX_COMMAND_LINE_BYTES = 1023;
export const SIF_MOD_START_PFN = 1 << 3;
const MAGIC = { 4: 'xen-3.0-x86_32p', 8: 'xen-3.0-x86_64' } as const;

export interface StartInfo {
  readonly totalPages: number;
  readonly sharedInfoGpa: number;
  readonly flags: number;
  readonly storeMfn: number;
  readonly storePort: number;
  readonly consoleMfn: number;
  readonly consolePort: number;
  readonly pageTablesAddress: bigint;
  readonly pageTablesCount: number;
  readonly p2mAddress: bigint;
  /** Virtual address, or frame number with SIF_MOD_START_PFN; `undefined`: no module. */
  readonly moduleStart: bigint | undefined;
  readonly moduleBytes: number;
  readonly commandLine: Uint8Array;
  /** Frames of a relocated p2m with its page tables; count 0: not relocated. */
  readonly firstP2mPfn: number;
  readonly p2mFrames: number;
}

/** The bytes of struct start_info. */
export function encodeStartInfo(info: StartInfo, wordBytes: WordBytes): Uint8Array {
  const { at, sizeBytes } = Fields[wordBytes];
  const bytes = new Uint8Array(sizeBytes);
  const view = new DataView(bytes.buffer);
  const word = (offset: number, value: bigint): void => writeWord(view, offset, value, wordBytes);
  bytes.set(new TextEncoder().encode(MAGIC[wordBytes]), at.magic);
  word(at.totalPages, BigInt(info.totalPages));
  word(at.sharedInfo, BigInt(info.sharedInfoGpa));
  view.setUint32(at.flags, info.flags, true);
  word(at.storeMfn, BigInt(info.storeMfn));
  view.setUint32(at.storePort, info.storePort, true);
  word(at.consoleMfn, BigInt(info.consoleMfn));
  view.setUint32(at.consolePort, info.consolePort, true);
  word(at.pageTables, info.pageTablesAddress);
  word(at.pageTablesCount, BigInt(info.pageTablesCount));
  word(at.p2m, info.p2mAddress);
  if (info.moduleStart !== undefined) {
    word(at.moduleStart, info.moduleStart);
    word(at.moduleBytes, BigInt(info.moduleBytes));
  }
  bytes.set(info.commandLine.subarray(0, MAX_COMMAND_LINE_BYTES), at.commandLine);
  if (info.p2mFrames > 0) {
    word(at.firstP2mPfn, BigInt(info.firstP2mPfn));
    word(at.p2mFrames, BigInt(info.p2mFrames));
  }
  return bytes;
}
