/** Where the fields of block requests lie, by the frontend's ABI (public/io/blkif.h, io/protocols.h). Bytes. */
export interface BlkifLayout {
  /** Union of request and response. */
  readonly entryBytes: number;
  readonly responseBytes: number;
  readonly id: number;
  readonly sector: number;
  readonly segments: number;
  /** Of an indirect request: references of the pages that list the segments. */
  readonly indirectRefs: number;
}

/** 32-bit code aligns 64-bit fields to four bytes, 64-bit code to eight. */
export const BLKIF_LAYOUTS: ReadonlyMap<string, BlkifLayout> = new Map([
  ['x86_64-abi', { entryBytes: 112, responseBytes: 16, id: 8, sector: 16, segments: 24, indirectRefs: 28 }],
  ['x86_32-abi', { entryBytes: 108, responseBytes: 12, id: 4, sector: 12, segments: 20, indirectRefs: 24 }],
]);
