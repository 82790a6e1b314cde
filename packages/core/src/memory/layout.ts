/**
 * The one linear memory: what lies where, in bytes. Host addresses are offsets in it.
 * Addresses below {@link SCRATCH_LIMIT} are never guest memory: an access that went through
 * scratch (page crossing, MMIO, code page) is recognised by that.
 */
import { STATE_SIZE_BYTES } from '../cpu/state.ts';

export const PAGE_SIZE_BYTES = 4096;
export const MAX_VCPUS = 15;
export const SCRATCH_LIMIT = (MAX_VCPUS + 1) * STATE_SIZE_BYTES;

/** Host address of a vCPU's state block. */
export const stateBase = (vcpu: number): number => (vcpu + 1) * STATE_SIZE_BYTES;
/** Host address of the map of large pages that belongs to a state block. */
export const largePageMap = (layout: MemoryLayout, base: number): number =>
  layout.largePageMaps + (base / STATE_SIZE_BYTES - 1) * LARGE_PAGE_MAP_BYTES;
/** Within a state block: 16 bytes of scratch, then what the commit of a scratch write needs. */
export const SCRATCH_OFFSET = 0xf00;
export const PENDING_KIND_OFFSET = 0xf20;
export const PENDING_HOST_OFFSET = 0xf24;
export const PENDING_SIZE_OFFSET = 0xf28;
export const PENDING_HOST2_OFFSET = 0xf2c;
export const PENDING_FIRST_BYTES_OFFSET = 0xf30;
export const PENDING_GPA_OFFSET = 0xf38;
/**
 * An i32 for each 2 MiB of virtual addresses, modulo their number: 0 if no part of a large page from there is in the TLB,
 * {@link largePageTag} of the one of which there may be a part, or {@link MANY_LARGE_PAGES}.
 */
const LARGE_PAGE_MAP_ENTRIES = 4096;
const LARGE_PAGE_MAP_BYTES = LARGE_PAGE_MAP_ENTRIES * 4;
export const LARGE_PAGE_INDEX_MASK = LARGE_PAGE_MAP_ENTRIES - 1;
/** Bits of `gva >> 21` that tell addresses apart: of those that differ above bit 42 alone, each counts for the other. */
export const LARGE_PAGE_NUMBER_MASK = 0x3fffff;
export const MANY_LARGE_PAGES = -1;
/** What stands in the map for the 2 MiB with this number. */
export const largePageTag = (number: number): number => number + 1;
/** Sizes of large pages that the page walk has met: {@link LargePage} bits. */
export const LARGE_PAGES_OFFSET = 0xf40;
export const LargePage = { MIB2: 1, GIB1: 2, MIB4: 4 } as const;

/**
 * A TLB entry is {i64 page tag, i32 distance, i32 unused}: the low half of an address in the page plus the distance, modulo 2^32, is the
 * host address. An empty entry's tag cannot match in its place.
 */
export const TLB_ENTRY_BYTES = 16;
export const TLB_ENTRIES = 2048;
/** What `gva >> 8` is masked with for the offset of its entry in a bank. */
export const TLB_INDEX_MASK = (TLB_ENTRIES - 1) * TLB_ENTRY_BYTES;
export const TLB_WRITE_OFFSET = TLB_ENTRIES * TLB_ENTRY_BYTES;
/** Code look-up: {i64 page tag, i32 entry table}. */
export const TLB_EXEC_OFFSET = 2 * TLB_WRITE_OFFSET;
export const TLB_EXEC_ENTRIES = 2048;
/** Which entries have been filled since the bank was empty: i32 count, then u16 offsets / 16; full: any may have been. */
export const TLB_LOG_OFFSET = TLB_EXEC_OFFSET + TLB_EXEC_ENTRIES * TLB_ENTRY_BYTES;
export const TLB_LOG_ENTRIES = 1022;
/** Not a multiple of 2 KiB, so that equal entries of banks do not share the few lines of a cache that such addresses go to. */
export const TLB_BANK_BYTES = TLB_LOG_OFFSET + 4 + TLB_LOG_ENTRIES * 2 + 64;
export const TLB_BANKS = 48;

/** Bits of a `codeTables` entry that hold the number of the mode (isa/modes.ts); entry tables are aligned. */
export const CODE_TABLE_MODE = 7;

/** A decoded record; see engine/record.ts. */
export const RECORD_BYTES = 32;
export const RECORD_INFO_BYTES = 8;
const MAX_RECORDS = 2_000_000;
/** An entry table: for each byte of a code page the record that starts there, or 0. */
export const ENTRY_TABLE_BYTES = PAGE_SIZE_BYTES * 4;

/**
 * Where regions start, of one vCPU: {i64 linear address, i32 region, i32 entry table of its page}, placed by the address's
 * page number and offset xored, there or in the neighbour (the number's lowest bit inverted). An entry holds wherever the code look-up of the bank in use leads to the same table.
 */
export const REGION_LOOKUP_ENTRIES = 16384;
export const REGION_LOOKUP_ENTRY_BYTES = 16;
/** The address of an entry that is none: not canonical, no code lies there. */
export const REGION_NOWHERE = -(1n << 63n);
export const REGION_LOOKUP_BYTES = REGION_LOOKUP_ENTRIES * REGION_LOOKUP_ENTRY_BYTES;

/** Regions that there can be at once. An entry of the look-up counts above the region's index how often it has been used. */
export const REGION_TABLE_SIZE = 65536;
/**
 * What the code of a region finds about the place where it has been put: {i64 how far it has moved since it was compiled, in bytes,
 * i32 entry table of each page that it looks for in the code look-up}. And i32 what is counted of it while no entry of the look-up is its own.
 */
export const REGION_PLACE_BYTES = 64;
export const REGION_PLACE_COUNT = 8;
export const REGION_PLACE_TABLES = 12;
export const MAX_REGION_TABLES = (REGION_PLACE_BYTES - REGION_PLACE_TABLES) / 4;

/**
 * Where indirect jumps that left regions led to: {i64 linear address of the jump, i64 that of where it led}, placed by some bits of both, so that each
 * place a jump has led to stays until another pair takes its entry.
 */
export const JUMP_LOG_ENTRIES = 1024;
export const JUMP_LOG_ENTRY_BYTES = 16;
const JUMP_LOG_BYTES = JUMP_LOG_ENTRIES * JUMP_LOG_ENTRY_BYTES;
/** Host address of the log that belongs to a state block. */
export const jumpLog = (layout: MemoryLayout, base: number): number =>
  layout.jumpLogs + (base / STATE_SIZE_BYTES - 1) * JUMP_LOG_BYTES;

/**
 * Where calls that go where a register or memory says led to when they last left a region: {i64 linear address of the call, i64 that of what
 * it called}, placed by the low bits of the first.
 */
export const CALL_LOG_ENTRIES = 1024;
export const CALL_LOG_ENTRY_BYTES = 16;
const CALL_LOG_BYTES = CALL_LOG_ENTRIES * CALL_LOG_ENTRY_BYTES;
/** Host address of the log that belongs to a state block. */
export const callLog = (layout: MemoryLayout, base: number): number =>
  layout.callLogs + (base / STATE_SIZE_BYTES - 1) * CALL_LOG_BYTES;
/** Where a call from so many bytes after the start of a page is in it. */
export const callLogOffset = (inPage: number): number => (inPage & (CALL_LOG_ENTRIES - 1)) * CALL_LOG_ENTRY_BYTES;

export interface MemoryLayout {
  readonly ramSizeBytes: number;
  /** A region look-up for each vCPU. */
  readonly regionLookups: number;
  /** {@link REGION_PLACE_BYTES} for each region, by its index. */
  readonly regionPlaces: number;
  /** A map of large pages for each vCPU: {@link largePageTag}. */
  readonly largePageMaps: number;
  /** A log of {@link JUMP_LOG_ENTRIES} for each vCPU. */
  readonly jumpLogs: number;
  /** A log of {@link CALL_LOG_ENTRIES} for each vCPU. */
  readonly callLogs: number;
  readonly tlbBanks: number;
  /** An empty bank, copied over a bank to flush it. */
  readonly emptyBank: number;
  /** One byte per guest page: bit 0, the page has decoded code. */
  readonly pageFlags: number;
  /** i32 per guest page: its entry table, and in {@link CODE_TABLE_MODE} for which code mode; or 0. */
  readonly codeTables: number;
  readonly entryTables: number;
  readonly entryTableCount: number;
  readonly records: number;
  readonly recordsEnd: number;
  /** {@link RECORD_INFO_BYTES} for each record: {i32 arrivals, i32 region that starts there}. */
  readonly recordInfo: number;
  readonly ram: number;
  readonly totalBytes: number;
}

const align = (value: number, to: number) => Math.ceil(value / to) * to;

/** Lay the memory out for `ramSizeBytes` of guest RAM (a multiple of 4 KiB). */
export function layoutFor(ramSizeBytes: number): MemoryLayout {
  const regionLookups = SCRATCH_LIMIT;
  const regionPlaces = regionLookups + MAX_VCPUS * REGION_LOOKUP_BYTES;
  const largePageMaps = regionPlaces + REGION_TABLE_SIZE * REGION_PLACE_BYTES;
  const jumpLogs = largePageMaps + MAX_VCPUS * LARGE_PAGE_MAP_BYTES;
  const callLogs = jumpLogs + MAX_VCPUS * JUMP_LOG_BYTES;
  const tlbBanks = callLogs + MAX_VCPUS * CALL_LOG_BYTES;
  const emptyBank = tlbBanks + TLB_BANKS * TLB_BANK_BYTES;
  const pageFlags = emptyBank + TLB_BANK_BYTES;
  const codeTables = align(pageFlags + ramSizeBytes / PAGE_SIZE_BYTES, 4);
  const entryTables = align(codeTables + (ramSizeBytes / PAGE_SIZE_BYTES) * 4, 65536);
  const entryTableCount = 3072;
  const records = entryTables + entryTableCount * ENTRY_TABLE_BYTES;
  const recordsEnd = records + MAX_RECORDS * RECORD_BYTES;
  const recordInfo = recordsEnd;
  const ram = align(recordInfo + MAX_RECORDS * RECORD_INFO_BYTES, 65536);
  const totalBytes = align(ram + ramSizeBytes, 65536);
  return {
    ramSizeBytes,
    regionLookups,
    regionPlaces,
    largePageMaps,
    jumpLogs,
    callLogs,
    tlbBanks,
    emptyBank,
    pageFlags,
    codeTables,
    entryTables,
    entryTableCount,
    records,
    recordsEnd,
    recordInfo,
    ram,
    totalBytes,
  };
}
