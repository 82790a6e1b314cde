import { CODE_MODE, CR3, FAULT_ADDRESS, FAULT_ERROR_CODE, FAULT_LINEAR, FAULT_VECTOR, MMU_FLAGS, PDPTE, TLB, TLB_FILLS } from '../cpu/state.ts';
import {
  CODE_TABLE_MODE, LARGE_PAGE_INDEX_MASK, LARGE_PAGE_NUMBER_MASK, LARGE_PAGES_OFFSET, LargePage, largePageMap, largePageTag, MANY_LARGE_PAGES, type MemoryLayout, PENDING_FIRST_BYTES_OFFSET, PENDING_GPA_OFFSET, PENDING_HOST_OFFSET, PENDING_HOST2_OFFSET, PENDING_KIND_OFFSET,
  PENDING_SIZE_OFFSET, SCRATCH_OFFSET, TLB_EXEC_ENTRIES, TLB_EXEC_OFFSET, TLB_INDEX_MASK, TLB_LOG_ENTRIES, TLB_LOG_OFFSET, TLB_WRITE_OFFSET,
} from '../memory/layout.ts';
import { MmuFlag, PageFaultCode, PDPTE_RESERVED, Pte, SECOND_LEVEL_FAULT, TABLE_ACCESS, TABLE_WRITE_ACCESS, WalkAccess } from '../memory/walk.ts';
import { Asm } from './asm.ts';
import { RESUME_VECTOR } from './exit-code.ts';
import { type ModuleBuilder, Op } from './wasm.ts';

/** Function indices of the memory code in a core module. */
export interface MemoryFunctions {
  readonly walk: number;
  readonly slowRead: number;
  readonly slowWrite: number;
  readonly commit: number;
  readonly fetch: number;
  /**
   * As slowRead and slowWrite, for regions: they only answer guest memory within a page, or scratch to read from. What they are
   * asked for may be in the TLB (region/shared-translations.ts).
   */
  readonly regionRead: number;
  readonly regionWrite: number;
  /** (entry): note that an entry of the bank in use has been filled. */
  readonly logFill: number;
}
export interface MemoryImports {
  /** (sizeBytes): read MMIO at FAULT_ADDRESS into scratch. */
  readonly mmioRead: number;
  /** (sizeBytes): write scratch to MMIO at the pending gpa. */
  readonly mmioWrite: number;
  /** (sizeBytes): read what begins at the linear address in the pending gpa's place and lies in two pages, into scratch. */
  readonly straddlingRead: number;
  /** (sizeBytes): write scratch there. */
  readonly straddlingWrite: number;
  /** (page, access): the machine's page, both by number; negative: it may not be accessed so. */
  readonly secondLevel: number;
  /** (hostAddress, sizeBytes): decoded bytes have been overwritten. */
  readonly codeWritten: number;
}

/** Answers of `walk` that are not a host page. */
export const WALK_FAULT = 0;
export const WALK_MMIO = 1;
/** What `commit` has to do. */
const Pending = { mmio: 1, codePage: 2, crossing: 3, straddling: 4 } as const;

const ADDRESS_MASK = 0x000ffffffffff000n;

/** copy(to, from, size): within linear memory. */
function addCopy(module: ModuleBuilder): void {
  const a = new Asm().get(0).get(1).get(2);
  a.op(0xfc, 0x0a, 0, 0);
  module.addFunction('copy', { params: ['i32', 'i32', 'i32'], results: [] }, [], a);
}

/** Page walk, TLB refill and the slow paths of loads and stores for one vCPU. */
export function addMemoryFunctions(module: ModuleBuilder, layout: MemoryLayout, base: number, imports: MemoryImports): MemoryFunctions {
  addCopy(module);
  const logFill = addLogFill(module, base);
  const walk = addWalk(module, layout, base, imports.secondLevel);
  addWalkHalves(module, walk);
  const slowRead = addSlowRead(module, base, { walk, logFill }, imports);
  const slowWrite = addSlowWrite(module, layout, base, { walk, logFill }, imports);
  const commit = addCommit(module, base, imports);
  const fetch = addFetch(module, layout, base, { walk, logFill });
  const regionRead = addRegionRead(module, base, { walk, logFill });
  const regionWrite = addRegionWrite(module, layout, base, { walk, logFill });
  return { walk, slowRead, slowWrite, commit, fetch, regionRead, regionWrite, logFill };
}

/**
 * walk(gva, access) → host address of the page, WALK_FAULT (fault slots set) or WALK_MMIO (gpa of the
 * byte in FAULT_ADDRESS). 32-bit, PAE and 4-level paging by MMU_FLAGS (SDM vol. 3A, 4.3 to 4.5); accessed and dirty bits
 * are set as it says. With a second level of translation each address that it comes to is asked for there.
 */
function addWalk(module: ModuleBuilder, layout: MemoryLayout, base: number, secondLevel: number): number {
  const [gva, access, flags, shift, entryHost, rights, error, legacy32] = [0, 1, 2, 3, 4, 5, 6, 7];
  const [machinePage, table, entry, pageMask, gpa, entryGpa] = [8, 9, 10, 11, 12, 13];
  const a = new Asm();
  const flag = (bit: number) => a.get(flags).i32(bit).op(Op.i32And);
  const fault = (vector: number, code: (a: Asm) => unknown) => {
    a.store(base, FAULT_VECTOR, (x) => x.i32(vector));
    a.store(base, FAULT_ERROR_CODE, code);
    a.store(base, FAULT_ADDRESS, (x) => x.get(gva));
    a.i32(WALK_FAULT).return();
  };
  const translateAgain = (pushAccess: () => unknown) => {
    flag(MmuFlag.SECOND_LEVEL).if();
    a.get(gpa).i64(12).op(Op.i64ShrU, Op.i32WrapI64);
    pushAccess();
    a.call(secondLevel).tee(machinePage).i32(0).op(Op.i32LtS).if();
    a.store(base, FAULT_LINEAR, (x) => x.get(gva));
    a.get(gpa).set(gva);
    fault(SECOND_LEVEL_FAULT, (x) => x.i32(0));
    a.end();
    a.get(machinePage).op(Op.i64ExtendI32U).i64(12).op(Op.i64Shl).get(gpa).i64(0xfff).op(Op.i64And, Op.i64Or).set(gpa);
    a.end();
  };
  /** The entry is to be written: by the second level, which has seen it read. */
  const mayMark = () => {
    flag(MmuFlag.SECOND_LEVEL).if();
    a.get(entryGpa).i64(12).op(Op.i64ShrU, Op.i32WrapI64).i32(TABLE_WRITE_ACCESS).call(secondLevel).i32(0).op(Op.i32LtS).if();
    a.store(base, FAULT_LINEAR, (x) => x.get(gva));
    a.get(entryGpa).set(gva);
    fault(SECOND_LEVEL_FAULT, (x) => x.i32(0));
    a.end().end();
  };
  a.load(base, MMU_FLAGS).set(flags);
  flag(MmuFlag.PAGING).op(Op.i32Eqz).if();
  a.get(gva).i64(0xffffffffn).op(Op.i64And).set(gpa);
  a.else();
  // The error code so far: what kind of access this is.
  a.get(access).i32(WalkAccess.write).op(Op.i32Eq).if('i32').i32(PageFaultCode.write).else();
  a.get(access).i32(WalkAccess.execute).op(Op.i32Eq).get(flags).i32(MmuFlag.NO_EXECUTE | MmuFlag.SMEP).op(Op.i32And).i32(0).op(Op.i32Ne, Op.i32And);
  a.i32(4).op(Op.i32Shl).end();
  flag(MmuFlag.USER).i32(3).op(Op.i32ShrU).op(Op.i32Or).set(error);
  a.load(base, CR3).i64(ADDRESS_MASK).op(Op.i64And).set(table);
  a.i32(Pte.write | Pte.user).set(rights);
  flag(MmuFlag.FOUR_LEVEL).if();
  // Non-canonical: #GP(0).
  a.get(gva).i64(16).op(Op.i64Shl).i64(16).op(Op.i64ShrS).get(gva).op(Op.i64Ne).if();
  fault(13, (x) => x.i32(0));
  a.end();
  a.i32(39).set(shift);
  a.else();
  a.get(gva).i64(0xffffffffn).op(Op.i64And).set(gva);
  flag(MmuFlag.PAE).if();
  // The PDPTE, from its register: it gives no rights.
  a.get(gva).i64(30).op(Op.i64ShrU, Op.i32WrapI64).i32(3).op(Op.i32Shl).mem(Op.i64Load, base + PDPTE[0].offset).tee(entry);
  a.op(Op.i32WrapI64).i32(Pte.present).op(Op.i32And, Op.i32Eqz).if();
  fault(14, (x) => x.get(error));
  a.end();
  // MOV to CR3 refuses reserved bits, but where addresses are translated again (AMD APM vol. 2, 15.25.10).
  a.get(entry).i64(PDPTE_RESERVED).op(Op.i64And).op(Op.i64Eqz, Op.i32Eqz).if();
  fault(14, (x) => x.get(error).i32(PageFaultCode.present | PageFaultCode.reserved).op(Op.i32Or));
  a.end();
  a.get(entry).i64(ADDRESS_MASK).op(Op.i64And).set(table).i32(21).set(shift);
  a.else();
  a.i32(22).set(shift).i32(1).set(legacy32);
  a.end().end();
  a.block().loop();
  // entry = table[(gva >> shift) & 511], of 8 bytes; [… & 1023], of 4 bytes, in 32-bit paging.
  a.get(table).get(gva).get(shift).op(Op.i64ExtendI32U, Op.i64ShrU).i64(511).get(legacy32).op(Op.i64ExtendI32U).i64(9).op(Op.i64Shl, Op.i64Or, Op.i64And);
  a.i64(3).get(legacy32).op(Op.i64ExtendI32U, Op.i64Sub, Op.i64Shl, Op.i64Add).set(gpa);
  a.get(gpa).set(entryGpa);
  translateAgain(() => a.i32(TABLE_ACCESS));
  a.get(gpa).i64(BigInt(layout.ramSizeBytes - 1)).op(Op.i64GtU).if();
  fault(14, (x) => x.get(error));
  a.end();
  a.get(gpa).op(Op.i32WrapI64).i32(layout.ram).op(Op.i32Add).set(entryHost);
  a.get(legacy32).if('i64').get(entryHost).mem(Op.i64Load32U, 0).else().get(entryHost).mem(Op.i64Load, 0).end();
  a.tee(entry).op(Op.i32WrapI64).i32(Pte.present).op(Op.i32And, Op.i32Eqz).if();
  fault(14, (x) => x.get(error));
  a.end();
  // Reserved: bits 51:40 of the address (62:52 too in PAE paging), bit 63 without NXE, PS at level 4.
  a.get(entry).i64(0x000fff0000000000n).i64(0x7fffff0000000000n);
  flag(MmuFlag.FOUR_LEVEL).op(Op.select, Op.i64And).op(Op.i64Eqz, Op.i32Eqz);
  a.get(entry).i64(63).op(Op.i64ShrU).op(Op.i32WrapI64).get(flags).i32(MmuFlag.NO_EXECUTE).op(Op.i32And, Op.i32Eqz, Op.i32And).op(Op.i32Or);
  a.get(shift).i32(39).op(Op.i32Eq).get(entry).op(Op.i32WrapI64).i32(Pte.large).op(Op.i32And).i32(0).op(Op.i32Ne, Op.i32And).op(Op.i32Or).if();
  fault(14, (x) => x.get(error).i32(PageFaultCode.present | PageFaultCode.reserved).op(Op.i32Or));
  a.end();
  // Rights accumulate; bit 31 of `rights` remembers NX.
  a.get(rights).get(entry).op(Op.i32WrapI64).i32(Pte.write | Pte.user).op(Op.i32And).i32(0x80000000).op(Op.i32Or, Op.i32And);
  a.get(entry).i64(63).op(Op.i64ShrU, Op.i32WrapI64).i32(31).op(Op.i32Shl, Op.i32Or).set(rights);
  // A leaf: the last level, or PS (which counts in 32-bit paging only with CR4.PSE).
  a.get(shift).i32(12).op(Op.i32Eq).get(entry).op(Op.i32WrapI64).i32(Pte.large).op(Op.i32And).i32(0).op(Op.i32Ne);
  a.get(legacy32).op(Op.i32Eqz);
  flag(MmuFlag.PSE).op(Op.i32Or).i32(0).op(Op.i32Ne, Op.i32And, Op.i32Or).brIf(1);
  setBit(a, { entryHost, entry, flags, mayMark }, Pte.accessed);
  a.get(entry).i64(ADDRESS_MASK).op(Op.i64And).set(table);
  a.get(shift).i32(9).get(legacy32).op(Op.i32Add, Op.i32Sub).set(shift).br(0);
  a.end().end();
  // Leaf: pageMask = (1 << shift) - 1; large pages have reserved address bits 12..shift-1 (bit 12 is PAT).
  a.i64(1).get(shift).op(Op.i64ExtendI32U, Op.i64Shl).i64(1).op(Op.i64Sub).set(pageMask);
  a.get(entry).get(pageMask).i64(0xffffffffffffe000n).op(Op.i64And, Op.i64And).op(Op.i64Eqz, Op.i32Eqz).get(shift).i32(12).op(Op.i32Ne, Op.i32And).if();
  fault(14, (x) => x.get(error).i32(PageFaultCode.present | PageFaultCode.reserved).op(Op.i32Or));
  a.end();
  rememberLargePage(a, layout, base, { gva, shift });
  denied(a, { access, flags, rights });
  a.if();
  fault(14, (x) => x.get(error).i32(PageFaultCode.present).op(Op.i32Or));
  a.end();
  a.get(access).i32(WalkAccess.write).op(Op.i32Eq).if();
  setBit(a, { entryHost, entry, flags, mayMark }, Pte.accessed | Pte.dirty);
  a.else();
  setBit(a, { entryHost, entry, flags, mayMark }, Pte.accessed);
  a.end();
  a.get(entry).i64(ADDRESS_MASK).op(Op.i64And).get(pageMask).i64(-1).op(Op.i64Xor, Op.i64And).get(gva).get(pageMask).op(Op.i64And, Op.i64Or).set(gpa);
  a.end();
  translateAgain(() => a.get(access));
  a.get(gpa).i64(BigInt(layout.ramSizeBytes)).op(Op.i64GtU).get(gpa).i64(BigInt(layout.ramSizeBytes)).op(Op.i64Eq, Op.i32Or).if();
  a.store(base, FAULT_ADDRESS, (x) => x.get(gpa));
  a.i32(WALK_MMIO).return();
  a.end();
  a.get(gpa).op(Op.i32WrapI64).i32(-4096).op(Op.i32And).i32(layout.ram).op(Op.i32Add);
  const locals = ['i32', 'i32', 'i32', 'i32', 'i32', 'i32', 'i32', 'i64', 'i64', 'i64', 'i64', 'i64'] as const;
  return module.addFunction('walk', { params: ['i64', 'i32'], results: ['i32'] }, locals, a);
}

/** INVLPG has to know which sizes of page there can be in the TLB, and where. */
function rememberLargePage(a: Asm, layout: MemoryLayout, base: number, { gva, shift }: { gva: number; shift: number }): void {
  const is = (bits: number) => a.get(shift).i32(bits).op(Op.i32Eq);
  a.get(shift).i32(12).op(Op.i32Ne).if();
  a.i32(0).i32(0).mem(Op.i32Load, base + LARGE_PAGES_OFFSET);
  is(30).if('i32').i32(LargePage.GIB1).else();
  is(22).if('i32').i32(LargePage.MIB4).else().i32(LargePage.MIB2).end().end();
  a.op(Op.i32Or).mem(Op.i32Store, base + LARGE_PAGES_OFFSET);
  const map = largePageMap(layout, base);
  const number = (mask: number) => a.get(gva).i64(21).op(Op.i64ShrU, Op.i32WrapI64).i32(mask).op(Op.i32And);
  const entry = () => number(LARGE_PAGE_INDEX_MASK).i32(2).op(Op.i32Shl);
  const tag = () => number(LARGE_PAGE_NUMBER_MASK).i32(largePageTag(0)).op(Op.i32Add);
  const holds = () => entry().mem(Op.i32Load, map);
  entry();
  tag().i32(MANY_LARGE_PAGES);
  holds().op(Op.i32Eqz);
  holds();
  tag().op(Op.i32Eq, Op.i32Or, Op.select).mem(Op.i32Store, map);
  a.end();
}

/** walkHalves(low, high, access): {@link addWalk} for callers without a 64-bit integer. */
function addWalkHalves(module: ModuleBuilder, walk: number): void {
  const [low, high, access] = [0, 1, 2];
  const a = new Asm();
  a.get(low).op(Op.i64ExtendI32U).get(high).op(Op.i64ExtendI32U).i64(32).op(Op.i64Shl, Op.i64Or).get(access).call(walk);
  module.addFunction('walkHalves', { params: ['i32', 'i32', 'i32'], results: ['i32'] }, [], a);
}

/** Set bits in the entry if they are not all set (only the low 32 bits are written). */
function setBit(a: Asm, l: { entryHost: number; entry: number; flags: number; mayMark: () => void }, bits: number): void {
  const { entry } = l;
  a.get(entry).op(Op.i32WrapI64).i32(bits).op(Op.i32And).i32(bits).op(Op.i32Ne);
  a.get(l.flags).i32(MmuFlag.PROBE).op(Op.i32And, Op.i32Eqz, Op.i32And).if();
  l.mayMark();
  a.get(l.entryHost).get(entry).op(Op.i32WrapI64).i32(bits).op(Op.i32Or).mem(Op.i32Store, 0);
  a.get(entry).i64(bits).op(Op.i64Or).set(entry);
  a.end();
}

/** Push whether the accumulated rights refuse the access (SDM vol. 3A, 4.6.1). */
function denied(a: Asm, l: { access: number; flags: number; rights: number }): void {
  const has = (bit: number) => a.get(l.rights).i32(bit).op(Op.i32And);
  const flag = (bit: number) => a.get(l.flags).i32(bit).op(Op.i32And);
  flag(MmuFlag.USER).if('i32');
  // User access: U everywhere; writes need W; fetches must not be NX.
  has(Pte.user).op(Op.i32Eqz);
  a.get(l.access).i32(WalkAccess.write).op(Op.i32Eq);
  has(Pte.write).op(Op.i32Eqz, Op.i32And, Op.i32Or);
  a.get(l.access).i32(WalkAccess.execute).op(Op.i32Eq).get(l.rights).i32(31).op(Op.i32ShrU, Op.i32And, Op.i32Or);
  a.else();
  a.get(l.access).i32(WalkAccess.write).op(Op.i32Eq);
  has(Pte.write).op(Op.i32Eqz, Op.i32And);
  flag(MmuFlag.WRITE_PROTECT).i32(0).op(Op.i32Ne, Op.i32And);
  a.get(l.access).i32(WalkAccess.execute).op(Op.i32Eq).if('i32');
  a.get(l.rights).i32(31).op(Op.i32ShrU);
  has(Pte.user).i32(0).op(Op.i32Ne);
  flag(MmuFlag.SMEP).i32(0).op(Op.i32Ne, Op.i32And, Op.i32Or);
  a.else();
  has(Pte.user).i32(0).op(Op.i32Ne);
  flag(MmuFlag.SMAP).i32(0).op(Op.i32Ne, Op.i32And);
  a.end().op(Op.i32Or);
  a.end();
}

/** Fill the TLB entry of `gva`: tag and distance. `offset` chooses the read or the write half. */
function fill(a: Asm, base: number, logFill: number, l: { gva: number; page: number; entry: number }, offset: number): void {
  a.load(base, TLB).get(l.gva).i64(8).op(Op.i64ShrU, Op.i32WrapI64).i32(TLB_INDEX_MASK).op(Op.i32And, Op.i32Add).set(l.entry);
  a.get(l.entry).get(l.gva).i64(-4096).op(Op.i64And).mem(Op.i64Store, offset);
  a.get(l.entry).get(l.page).get(l.gva).op(Op.i32WrapI64).i32(-4096).op(Op.i32And, Op.i32Sub).mem(Op.i32Store, offset + 8);
  a.store(base, TLB_FILLS, (x) => x.load(base, TLB_FILLS).i64(1).op(Op.i64Add));
  a.get(l.entry);
  if (offset) a.i32(offset).op(Op.i32Add);
  a.call(logFill);
}

/** Answer what the TLB holds of an access, if it does. `offset` chooses the read or the write half. */
function returnHeld(a: Asm, base: number, l: { gva: number; size: number; entry: number }, offset: number): void {
  a.load(base, TLB).get(l.gva).i64(8).op(Op.i64ShrU, Op.i32WrapI64).i32(TLB_INDEX_MASK).op(Op.i32And, Op.i32Add).tee(l.entry);
  a.mem(Op.i64Load, offset).get(l.gva).op(Op.i64Xor).i64(4096).get(l.size).op(Op.i64ExtendI32U, Op.i64Sub, Op.i64LeU).if();
  a.get(l.gva).op(Op.i32WrapI64).get(l.entry).mem(Op.i32Load, offset + 8).op(Op.i32Add).return();
  a.end();
}

/** Functions that those which fill the TLB need. */
interface Fillers {
  readonly walk: number;
  readonly logFill: number;
}

/** logFill(entry): the bank in use will have to empty this entry. A log that is full says nothing any more. */
function addLogFill(module: ModuleBuilder, base: number): number {
  const [entry, tlb, count] = [0, 1, 2];
  const a = new Asm();
  a.load(base, TLB).tee(tlb).mem(Op.i32Load, TLB_LOG_OFFSET).tee(count).i32(TLB_LOG_ENTRIES).op(Op.i32LtS).if();
  a.get(tlb).get(count).i32(1).op(Op.i32Shl, Op.i32Add);
  a.get(entry).get(tlb).op(Op.i32Sub).i32(4).op(Op.i32ShrU).mem(Op.i32Store16, TLB_LOG_OFFSET + 4);
  a.get(tlb).get(count).i32(1).op(Op.i32Add).mem(Op.i32Store, TLB_LOG_OFFSET);
  a.end();
  return module.addFunction('logFill', { params: ['i32'], results: [] }, ['i32', 'i32'], a);
}

/**
 * fetch(address) → entry table of the code page at a linear address, entered into the code look-up; 0: TypeScript
 * has to see to it (a fault, a page without decoded code in this mode).
 */
function addFetch(module: ModuleBuilder, layout: MemoryLayout, base: number, { walk, logFill }: Fillers): number {
  const [gva, page, table, entry] = [0, 1, 2, 3];
  const a = new Asm();
  a.get(gva).i32(WalkAccess.execute).call(walk).tee(page).i32(WALK_MMIO).op(Op.i32LeU).if().i32(0).return().end();
  a.get(page).i32(layout.ram).op(Op.i32Sub).i32(12).op(Op.i32ShrU).i32(2).op(Op.i32Shl).mem(Op.i32Load, layout.codeTables).tee(table).op(Op.i32Eqz);
  // The low bits say which mode the table is for.
  a.get(table).i32(CODE_TABLE_MODE).op(Op.i32And).load(base, CODE_MODE).op(Op.i32Ne, Op.i32Or).if().i32(0).return().end();
  a.get(table).i32(~CODE_TABLE_MODE).op(Op.i32And).set(table);
  a.get(gva).i64(12).op(Op.i64ShrU, Op.i32WrapI64).i32(TLB_EXEC_ENTRIES - 1).op(Op.i32And).i32(4).op(Op.i32Shl).load(base, TLB).op(Op.i32Add).tee(entry);
  a.get(gva).i64(-4096).op(Op.i64And).mem(Op.i64Store, TLB_EXEC_OFFSET);
  a.get(entry).get(table).mem(Op.i32Store, TLB_EXEC_OFFSET + 8);
  a.get(entry).i32(TLB_EXEC_OFFSET).op(Op.i32Add).call(logFill);
  a.get(table);
  return module.addFunction('fetch', { params: ['i64'], results: ['i32'] }, ['i32', 'i32', 'i32'], a);
}

/** Byte loop: for i in [0, size): copy one byte from the two pages to scratch or back. */
function crossingCopy(a: Asm, base: number, l: { i: number; size: number; first: number; host1: number; host2: number }, toScratch: boolean): void {
  const side = () =>
    a.get(l.i).get(l.first).op(Op.i32LtU).if('i32').get(l.host1).get(l.i).op(Op.i32Add).else().get(l.host2).get(l.i).get(l.first).op(Op.i32Sub, Op.i32Add).end();
  a.i32(0).set(l.i).loop();
  if (toScratch) {
    a.get(l.i);
    side();
    a.mem(Op.i32Load8U, 0).mem(Op.i32Store8, base + SCRATCH_OFFSET);
  } else {
    side();
    a.get(l.i).mem(Op.i32Load8U, base + SCRATCH_OFFSET).mem(Op.i32Store8, 0);
  }
  a.get(l.i).i32(1).op(Op.i32Add).tee(l.i).get(l.size).op(Op.i32LtU).brIf(0).end();
}

/** Push whether device memory is in one of two pages at least. */
function isDevice(a: Asm, page: number, page2: number): Asm {
  a.get(page).i32(WALK_MMIO).op(Op.i32Eq);
  return a.get(page2).i32(WALK_MMIO).op(Op.i32Eq, Op.i32Or);
}

/** Bytes at `gva`, of two pages of which one is device memory, to scratch: TypeScript takes them apart. */
function readStraddling(a: Asm, base: number, l: { gva: number; size: number }, imports: MemoryImports): void {
  a.i32(0).get(l.gva).mem(Op.i64Store, base + PENDING_GPA_OFFSET);
  a.get(l.size).call(imports.straddlingRead);
}

/**
 * read(gva, size) → host address of the bytes (guest memory or scratch), or 0 with the fault slots set. `device` emits what is
 * answered for device memory, within a page (its gpa in FAULT_ADDRESS) or in one of two pages at least.
 */
function addRead(module: ModuleBuilder, name: string, base: number, { walk, logFill }: Fillers, device: DeviceRead): number {
  const [gva, size, offset, page, entry, host2, first, i] = [0, 1, 2, 3, 4, 5, 6, 7];
  const a = new Asm();
  if (device.asksForHeld) returnHeld(a, base, { gva, size, entry }, 0);
  a.get(gva).op(Op.i32WrapI64).i32(4095).op(Op.i32And).set(offset);
  a.get(gva).i32(WalkAccess.read).call(walk).tee(page).op(Op.i32Eqz).if().i32(0).return().end();
  a.get(offset).get(size).op(Op.i32Add).i32(4096).op(Op.i32LeS).if();
  a.get(page).i32(WALK_MMIO).op(Op.i32Eq).if();
  device.within(a, { gva, size });
  a.end();
  fill(a, base, logFill, { gva, page, entry }, 0);
  a.get(page).get(offset).op(Op.i32Add).return();
  a.end();
  a.get(gva).i64(4095).op(Op.i64Or).i64(1).op(Op.i64Add).i32(WalkAccess.read).call(walk).tee(host2).op(Op.i32Eqz).if().i32(0).return().end();
  isDevice(a, page, host2).if();
  device.straddling(a, { gva, size });
  a.end();
  a.i32(4096).get(offset).op(Op.i32Sub).set(first);
  a.get(page).get(offset).op(Op.i32Add).set(page);
  crossingCopy(a, base, { i, size, first, host1: page, host2 }, true);
  a.i32(base + SCRATCH_OFFSET);
  return module.addFunction(name, { params: ['i64', 'i32'], results: ['i32'] }, ['i32', 'i32', 'i32', 'i32', 'i32', 'i32'], a);
}

/** What `addRead` emits for device memory: code that ends in a return. `asksForHeld`: callers may ask for what the TLB holds. */
type DeviceRead = Readonly<Record<'within' | 'straddling', (a: Asm, l: { gva: number; size: number }) => unknown>> & {
  readonly asksForHeld?: boolean;
};

/** slowRead(gva, size): reads device memory into scratch. */
function addSlowRead(module: ModuleBuilder, base: number, fillers: Fillers, imports: MemoryImports): number {
  const scratch = (a: Asm) => a.i32(base + SCRATCH_OFFSET).return();
  return addRead(module, 'slowRead', base, fillers, {
    within: (a, { size }) => scratch(a.get(size).call(imports.mmioRead)),
    straddling: (a, l) => {
      readStraddling(a, base, l, imports);
      scratch(a);
    },
  });
}

/**
 * slowWrite(gva, size) → where to store: guest memory, or scratch (holding the present bytes, for
 * read-modify-write) with a commit pending; 0 with the fault slots set.
 */
function addSlowWrite(module: ModuleBuilder, layout: MemoryLayout, base: number, { walk, logFill }: Fillers, imports: MemoryImports): number {
  const [gva, size, offset, page, entry, host2, first, i] = [0, 1, 2, 3, 4, 5, 6, 7];
  const a = new Asm();
  const pend = (kind: number) => {
    a.i32(0).i32(kind).mem(Op.i32Store, base + PENDING_KIND_OFFSET);
    a.i32(0).get(page).mem(Op.i32Store, base + PENDING_HOST_OFFSET);
    a.i32(0).get(size).mem(Op.i32Store, base + PENDING_SIZE_OFFSET);
  };
  a.get(gva).op(Op.i32WrapI64).i32(4095).op(Op.i32And).set(offset);
  a.get(gva).i32(WalkAccess.write).call(walk).tee(page).op(Op.i32Eqz).if().i32(0).return().end();
  a.get(offset).get(size).op(Op.i32Add).i32(4096).op(Op.i32LeS).if();
  a.get(page).i32(WALK_MMIO).op(Op.i32Eq).if();
  pend(Pending.mmio);
  a.i32(0).load(base, FAULT_ADDRESS).mem(Op.i64Store, base + PENDING_GPA_OFFSET);
  a.get(size).call(imports.mmioRead).i32(base + SCRATCH_OFFSET).return();
  a.end();
  a.get(page).i32(layout.ram).op(Op.i32Sub).i32(12).op(Op.i32ShrU).mem(Op.i32Load8U, layout.pageFlags).i32(1).op(Op.i32And).if();
  a.get(page).get(offset).op(Op.i32Add).set(page);
  pend(Pending.codePage);
  a.get(size).set(first);
  crossingCopy(a, base, { i, size, first, host1: page, host2 }, true);
  a.i32(base + SCRATCH_OFFSET).return();
  a.end();
  fill(a, base, logFill, { gva, page, entry }, TLB_WRITE_OFFSET);
  a.get(page).get(offset).op(Op.i32Add).return();
  a.end();
  a.get(gva).i64(4095).op(Op.i64Or).i64(1).op(Op.i64Add).i32(WalkAccess.write).call(walk).tee(host2).op(Op.i32Eqz).if().i32(0).return().end();
  a.i32(4096).get(offset).op(Op.i32Sub).set(first);
  isDevice(a, page, host2).if();
  pend(Pending.straddling);
  readStraddling(a, base, { gva, size }, imports);
  a.i32(base + SCRATCH_OFFSET).return();
  a.end();
  a.get(page).get(offset).op(Op.i32Add).set(page);
  pend(Pending.crossing);
  a.i32(0).get(host2).mem(Op.i32Store, base + PENDING_HOST2_OFFSET);
  a.i32(0).get(first).mem(Op.i32Store, base + PENDING_FIRST_BYTES_OFFSET);
  crossingCopy(a, base, { i, size, first, host1: page, host2 }, true);
  a.i32(base + SCRATCH_OFFSET);
  return module.addFunction('slowWrite', { params: ['i64', 'i32'], results: ['i32'] }, ['i32', 'i32', 'i32', 'i32', 'i32', 'i32'], a);
}

/** Answer 0, and that tier 0 has to do the instruction. */
function resume(a: Asm, base: number): void {
  a.store(base, FAULT_VECTOR, (x) => x.i32(RESUME_VECTOR)).i32(0).return();
}

/** regionRead(gva, size) → where to load from; 0 with the fault slots set. Device memory is left to tier 0. */
function addRegionRead(module: ModuleBuilder, base: number, fillers: Fillers): number {
  const leave = (a: Asm) => resume(a, base);
  return addRead(module, 'regionRead', base, fillers, { within: leave, straddling: leave, asksForHeld: true });
}

/**
 * regionWrite(gva, size) → where to store; 0 with the fault slots set. Writes that cross pages, reach devices or hit
 * code pages are left to tier 0.
 */
function addRegionWrite(module: ModuleBuilder, layout: MemoryLayout, base: number, { walk, logFill }: Fillers): number {
  const [gva, size, offset, page, entry] = [0, 1, 2, 3, 4];
  const a = new Asm();
  returnHeld(a, base, { gva, size, entry }, TLB_WRITE_OFFSET);
  a.get(gva).op(Op.i32WrapI64).i32(4095).op(Op.i32And).tee(offset).get(size).op(Op.i32Add).i32(4096).op(Op.i32GtS).if();
  resume(a, base);
  a.end();
  a.get(gva).i32(WalkAccess.write).call(walk).tee(page).op(Op.i32Eqz).if().i32(0).return().end();
  a.get(page).i32(WALK_MMIO).op(Op.i32Eq).if();
  resume(a, base);
  a.end();
  a.get(page).i32(layout.ram).op(Op.i32Sub).i32(12).op(Op.i32ShrU).mem(Op.i32Load8U, layout.pageFlags).i32(1).op(Op.i32And).if();
  resume(a, base);
  a.end();
  fill(a, base, logFill, { gva, page, entry }, TLB_WRITE_OFFSET);
  a.get(page).get(offset).op(Op.i32Add);
  return module.addFunction('regionWrite', { params: ['i64', 'i32'], results: ['i32'] }, ['i32', 'i32', 'i32'], a);
}

/** commit(): carry out the pending write of scratch. */
function addCommit(module: ModuleBuilder, base: number, imports: MemoryImports): number {
  const [kind, host, size, host2, first, i] = [0, 1, 2, 3, 4, 5];
  const a = new Asm();
  const pending = (offset: number, local: number) => a.i32(0).mem(Op.i32Load, base + offset).set(local);
  pending(PENDING_KIND_OFFSET, kind);
  pending(PENDING_SIZE_OFFSET, size);
  a.get(kind).op(Op.i32Eqz).if().return().end();
  a.get(kind).i32(Pending.mmio).op(Op.i32Eq).if().get(size).call(imports.mmioWrite).return().end();
  a.get(kind).i32(Pending.straddling).op(Op.i32Eq).if().get(size).call(imports.straddlingWrite).return().end();
  pending(PENDING_HOST_OFFSET, host);
  a.get(kind).i32(Pending.codePage).op(Op.i32Eq).if();
  a.get(size).set(first);
  a.else();
  pending(PENDING_HOST2_OFFSET, host2);
  pending(PENDING_FIRST_BYTES_OFFSET, first);
  a.end();
  crossingCopy(a, base, { i, size, first, host1: host, host2 }, false);
  a.get(host).get(first).call(imports.codeWritten);
  a.get(kind).i32(Pending.crossing).op(Op.i32Eq).if().get(host2).get(size).get(first).op(Op.i32Sub).call(imports.codeWritten).end();
  return module.addFunction('commit', { params: [], results: [] }, ['i32', 'i32', 'i32', 'i32', 'i32', 'i32'], a);
}
