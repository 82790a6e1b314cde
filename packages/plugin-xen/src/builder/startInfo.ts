/** struct start_info, 64-bit (public/xen.h): field offsets in bytes. */
const Field = {
  MAGIC: 0,
  NR_PAGES: 32,
  SHARED_INFO: 40,
  FLAGS: 48,
  STORE_MFN: 56,
  STORE_EVTCHN: 64,
  CONSOLE_MFN: 72,
  CONSOLE_EVTCHN: 80,
  PT_BASE: 88,
  NR_PT_FRAMES: 96,
  MFN_LIST: 104,
  MOD_START: 112,
  MOD_LEN: 120,
  CMD_LINE: 128,
  FIRST_P2M_PFN: 1152,
  NR_P2M_FRAMES: 1160,
  SIZE: 1168,
} as const;

export const MAX_COMMAND_LINE_BYTES = 1023;
export const SIF_MOD_START_PFN = 1 << 3;
const MAGIC = 'xen-3.0-x86_64';

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
export function encodeStartInfo(info: StartInfo): Uint8Array {
  const bytes = new Uint8Array(Field.SIZE);
  const view = new DataView(bytes.buffer);
  const word = (offset: number, value: bigint): void => view.setBigUint64(offset, value, true);
  bytes.set(new TextEncoder().encode(MAGIC), Field.MAGIC);
  word(Field.NR_PAGES, BigInt(info.totalPages));
  word(Field.SHARED_INFO, BigInt(info.sharedInfoGpa));
  view.setUint32(Field.FLAGS, info.flags, true);
  word(Field.STORE_MFN, BigInt(info.storeMfn));
  view.setUint32(Field.STORE_EVTCHN, info.storePort, true);
  word(Field.CONSOLE_MFN, BigInt(info.consoleMfn));
  view.setUint32(Field.CONSOLE_EVTCHN, info.consolePort, true);
  word(Field.PT_BASE, info.pageTablesAddress);
  word(Field.NR_PT_FRAMES, BigInt(info.pageTablesCount));
  word(Field.MFN_LIST, info.p2mAddress);
  if (info.moduleStart !== undefined) {
    word(Field.MOD_START, info.moduleStart);
    word(Field.MOD_LEN, BigInt(info.moduleBytes));
  }
  bytes.set(info.commandLine.subarray(0, MAX_COMMAND_LINE_BYTES), Field.CMD_LINE);
  if (info.p2mFrames > 0) {
    word(Field.FIRST_P2M_PFN, BigInt(info.firstP2mPfn));
    word(Field.NR_P2M_FRAMES, BigInt(info.p2mFrames));
  }
  return bytes;
}
