import type {
  Access,
  DescriptorTables,
  ReadResult,
  Segment,
  Translation,
  Vcpu,
  VirtualAccessOptions,
  WriteResult,
} from '@polyvisor/plugin-api';
import { fpuTrapFor } from '../cpu/fpu-trap.ts';
import { readFxsave, writeFxsave } from '../cpu/fxsave-image.ts';
import {
  ARG,
  CODE_MODE,
  CPL,
  CR0,
  CR2,
  CR3,
  CR4,
  DIRECT,
  Direct,
  DR,
  EFER,
  EFLAGS_SYSTEM,
  FC,
  FPU_TRAP,
  FS,
  FZ,
  GPR,
  INTERRUPT_WAITS,
  KERNEL_GS_BASE,
  MMU_FLAGS,
  MXCSR,
  PDPTE,
  RIP,
  SEGMENT_ACCESS,
  SEGMENT_BASE,
  SEGMENT_FLOOR,
  SEGMENT_LIMIT,
  SEGMENT_READ_END,
  SEGMENT_SELECTOR,
  SEGMENT_WRITE_END,
  type Slot,
  STATE_SIZE_BYTES,
  X87_CONTROL,
} from '../cpu/state.ts';
import type { Engine } from '../engine/engine.ts';
import type { EngineMemory } from '../engine/memory.ts';
import { ARITHMETIC_FLAGS, Flag } from '../isa/flags.ts';
import { type CpuMode, modeFacts } from '../isa/modes.ts';
import { AccessRights, cpuMode, FLAT_SEGMENTS, isFlatSegment, RESET_SEGMENTS, segmentBounds } from './cpu-mode.ts';
import { mmuFlags, usesPdptes } from './mmu-state.ts';
import { type InterruptSource, ProcessorPlatform } from './platform/processor.ts';
import { StateTables } from './state-tables.ts';
import { TranslationBuffer } from './translation-buffer.ts';
import { VirtualMemory } from './virtual-memory.ts';

const EFER_LMA = 1 << 10;
const SEGMENT_CS = 1;
const SEGMENT_SS = 2;

/** Where slots stand in the state block, as indices of 32-bit words. */
const Word = {
  FC: FC.offset >>> 2,
  FZ: FZ.offset >>> 2,
  FS: FS.offset >>> 2,
  EFLAGS_SYSTEM: EFLAGS_SYSTEM.offset >>> 2,
  SEGMENT_SELECTOR: SEGMENT_SELECTOR[0].offset >>> 2,
  SEGMENT_LIMIT: SEGMENT_LIMIT[0].offset >>> 2,
  SEGMENT_ACCESS: SEGMENT_ACCESS[0].offset >>> 2,
  GS_BASE: SEGMENT_BASE[5].offset >>> 2,
  KERNEL_GS_BASE: KERNEL_GS_BASE.offset >>> 2,
  INTERRUPT_WAITS: INTERRUPT_WAITS.offset >>> 2,
  ARG: ARG[0].offset >>> 2,
} as const;

/** What reads or changes state that {@link MachineVcpu.shareCells} keeps in guest memory. */
const TOUCHES_CELLS =
  Direct.CLI | Direct.STI | Direct.POPF | Direct.SYSCALL | Direct.SYSRET | Direct.IRET | Direct.READ_CR;

const LEVEL_CHANGES = Direct.SYSCALL | Direct.SYSRET | Direct.IRET;

/** An event that waits to be delivered before the next instruction. */
export interface PendingException {
  readonly vector: number;
  readonly errorCode: number | undefined;
}

/** Where a vCPU keeps state in guest memory. */
export interface SharedCells {
  /** One byte each, 0 or 1. */
  readonly interruptsOff: number;
  readonly interruptWaits: number;
  readonly cr2: number;
}

/** One vCPU: the engine's state block under the names of the manuals. */
export class MachineVcpu implements Vcpu {
  readonly id: number;
  readonly gpr: BigUint64Array;
  readonly tables: DescriptorTables;
  hiddenGdt: Int32Array | undefined;
  readonly engine: Engine;
  blocked = false;
  offline = false;
  /** Leave after each instruction: RFLAGS.TF is set. */
  get singleStep(): boolean {
    return (this.#get32(EFLAGS_SYSTEM) & Flag.TF) !== 0;
  }
  pending: PendingException | undefined;
  /** STI has set IF, or SS has been loaded: interrupts wait for one more instruction (SDM vol. 2B, STI; vol. 3A, 6.8.3). */
  interruptShadow = false;
  /** SS has been loaded: debug exceptions other than general detect wait, too. */
  debugShadow = false;
  /** The chips as this processor sees them. */
  readonly platform: ProcessorPlatform;
  #nmiPending = false;
  /** From the delivery of an NMI to the next IRET no other is delivered (SDM vol. 3A, 6.7.1). */
  get nmiBlocked(): boolean {
    return this.#nmiBlocked;
  }
  set nmiBlocked(blocked: boolean) {
    if (this.#nmiBlocked === blocked) return;
    this.#nmiBlocked = blocked;
    this.#allowDirect();
  }
  #nmiBlocked = false;

  /** System instructions that nobody wants to see: {@link Direct}. */
  set direct(bits: number) {
    this.#direct = bits;
    this.#tlb.holdsAllLevels = (bits & LEVEL_CHANGES) === LEVEL_CHANGES;
    this.#allowDirect();
    this.updateMmu();
  }
  #direct = 0;
  /** System instructions all leave: RF and breakpoints matter, which direct ones know nothing of. */
  get holdsDirect(): boolean {
    return this.#holdsDirect;
  }
  set holdsDirect(holds: boolean) {
    this.#holdsDirect = holds;
    this.#allowDirect();
  }
  #holdsDirect = false;
  #allowDirect(): void {
    let bits = this.#holdsDirect ? 0 : this.#direct;
    if (this.#nmiBlocked) bits &= ~Direct.IRET;
    if (this.#cells) bits &= ~TOUCHES_CELLS;
    this.#set32(DIRECT, bits);
  }
  /** Before guest code is entered: say whether an interrupt waits for RFLAGS.IF. */
  noteWaitingInterrupt(): void {
    const { interrupts } = this.platform;
    const waits = this.#nmiPending || interrupts?.hasDeliverable() || this.externalInterrupt?.() !== undefined;
    this.#words[Word.INTERRUPT_WAITS] = waits ? 1 : 0;
  }

  /** An interrupt with RFLAGS.IF set, or an NMI: what ends HLT and comes before the next instruction. */
  get hasDeliverableEvent(): boolean {
    if (this.#nmiPending && !this.nmiBlocked) return true;
    if ((this.#get32(EFLAGS_SYSTEM) & Flag.IF) === 0) return false;
    if (!(this.platform.interrupts?.hasDeliverable() ?? false) && this.externalInterrupt?.() === undefined)
      return false;
    if (!this.#interruptsOff) return true;
    if (this.#cells) this.#memory.bytes[this.#cells.interruptWaits] = 1;
    return false;
  }
  externalInterrupt: (() => number | undefined) | undefined = undefined;
  /** The vector of the interrupt that {@link hasDeliverableEvent} has seen; it is then in service. */
  acknowledgeInterrupt(): number {
    return this.externalInterrupt?.() ?? (this.platform.interrupts as InterruptSource).acknowledge();
  }
  requestInterrupt(vector: number): boolean {
    return this.platform.requestInterrupt(vector);
  }
  raiseNmi(): void {
    this.#nmiPending = true;
    this.kick();
  }
  /** Whether an NMI is to be delivered; it is then under way. */
  takeNmi(): boolean {
    if (!this.#nmiPending || this.nmiBlocked) return false;
    this.#nmiPending = false;
    this.nmiBlocked = true;
    return true;
  }
  #cells: SharedCells | undefined;
  /**
   * Keep part of the state in guest memory, for code in the guest; `undefined`: no longer. Addresses are guest-physical.
   * `interruptsOff` masks RFLAGS.IF: {@link eflags} shows what comes of both, and writing it leaves 0 there.
   */
  shareCells(cells: SharedCells | undefined): void {
    // What the cells say goes into the flag.
    const { eflags } = this;
    this.eflags = eflags;
    const { ram } = this.#memory.layout;
    this.#cells = cells && {
      interruptsOff: ram + cells.interruptsOff,
      interruptWaits: ram + cells.interruptWaits,
      cr2: ram + cells.cr2,
    };
    this.#allowDirect();
    if (this.#cells) this.#view.setBigUint64(this.#cells.cr2, this.cr2, true);
  }
  /** Whether guest code has masked interrupts in memory. */
  get #interruptsOff(): boolean {
    return this.#cells !== undefined && this.#memory.bytes[this.#cells.interruptsOff] !== 0;
  }
  /** System MSRs that are only kept. */
  readonly msrs = new Map<number, bigint>();
  readonly #memory: EngineMemory;
  readonly #view: DataView;
  readonly #base: number;
  /** The state block as words. */
  readonly #words: Int32Array;
  readonly #virtual: VirtualMemory;
  readonly gprHalves: Int32Array;
  readonly ripHalves: Int32Array;

  constructor(id: number, engine: Engine, platform = ProcessorPlatform.withoutChips()) {
    this.id = id;
    this.platform = platform;
    this.engine = engine;
    this.#tlb = new TranslationBuffer(engine);
    this.#memory = engine.memory;
    this.#view = engine.memory.view;
    this.#base = engine.base;
    const { buffer } = engine.memory.memory;
    this.gpr = new BigUint64Array(buffer, engine.base + GPR[0].offset, 16);
    this.gprHalves = new Int32Array(buffer, engine.base + GPR[0].offset, 32);
    this.ripHalves = new Int32Array(buffer, engine.base + RIP.offset, 2);
    this.#words = new Int32Array(buffer, engine.base, STATE_SIZE_BYTES / 4);
    this.#virtual = new VirtualMemory(engine);
    this.tables = new StateTables(engine.memory.view, engine.base);
    this.#set32(EFLAGS_SYSTEM, 2);
    this.#set32(FC, 0);
    this.#setQuad(FZ, 1n);
    this.#setQuad(FS, 1n);
    this.#set32(MXCSR, 0x1f80);
    this.#set32(X87_CONTROL, 0x37f);
    this.#setQuad(CR0, 0x60000010n);
    this.#setQuad(RIP, 0xfff0n);
    this.#setQuad(DR[6], 0xffff0ff0n);
    this.#setQuad(DR[7], 0x400n);
    RESET_SEGMENTS.forEach((segment, index) => this.setSegment(index, segment));
    this.updateMmu();
  }

  #get32(slot: Slot): number {
    return this.#view.getInt32(this.#base + slot.offset, true);
  }
  #set32(slot: Slot, value: number): void {
    this.#view.setInt32(this.#base + slot.offset, value, true);
  }
  #quad(slot: Slot): bigint {
    return this.#view.getBigUint64(this.#base + slot.offset, true);
  }
  #setQuad(slot: Slot, value: bigint): void {
    this.#view.setBigUint64(this.#base + slot.offset, value, true);
  }
  /** A slot of the state block as the engine keeps it; for core's own handlers. */
  slot64(slot: Slot): bigint {
    return this.#quad(slot);
  }
  setSlot64(slot: Slot, value: bigint): void {
    this.#setQuad(slot, value);
  }
  /** Half 0 (low) or 1 (high) of a 64-bit slot. */
  slotHalf(slot: Slot, half: number): number {
    return this.#words[(slot.offset >>> 2) + half];
  }
  slot32(slot: Slot): number {
    return this.#get32(slot);
  }
  setSlot32(slot: Slot, value: number): void {
    this.#set32(slot, value);
  }

  /** An argument of the instruction exit: whole, or its low half as an unsigned number. */
  arg(index: number): bigint {
    return this.#quad(ARG[index]);
  }
  arg32(index: number): number {
    return this.#words[Word.ARG + 2 * index] >>> 0;
  }

  get rip(): bigint {
    return this.#quad(RIP);
  }
  /** Set when someone moves RIP; the machine clears it before it asks a plug-in. */
  ripMoved = false;
  set rip(value: bigint) {
    this.ripMoved = true;
    this.#setQuad(RIP, value);
  }

  setRip(low: number, high: number): void {
    this.ripMoved = true;
    this.ripHalves[0] = low;
    this.ripHalves[1] = high;
  }
  /** Move RIP on by a few bytes. */
  stepOver(lengthBytes: number): void {
    const low = (this.ripHalves[0] >>> 0) + lengthBytes;
    this.setRip(low, low > 0xffffffff ? this.ripHalves[1] + 1 : this.ripHalves[1]);
  }

  get rflags(): bigint {
    return BigInt(this.eflags >>> 0);
  }
  set rflags(value: bigint) {
    this.eflags = Number(BigInt.asIntN(32, value));
  }
  get eflags(): number {
    const words = this.#words;
    const fc = words[Word.FC];
    let flags = words[Word.EFLAGS_SYSTEM] & ~ARITHMETIC_FLAGS;
    if (fc < 0) flags |= Flag.CF;
    if ((fc ^ (fc << 1)) < 0) flags |= Flag.OF;
    if (fc & 8) flags |= Flag.AF;
    if ((words[Word.FZ] | words[Word.FZ + 1]) === 0) flags |= Flag.ZF;
    if (words[Word.FS + 1] < 0) flags |= Flag.SF;
    if (evenParity(words[Word.FS] & 0xff)) flags |= Flag.PF;
    if (this.#interruptsOff) flags &= ~Flag.IF;
    return flags;
  }
  set eflags(image: number) {
    const words = this.#words;
    const carry = image & 1;
    const overflow = (image >>> 11) & 1;
    words[Word.FC] = (carry << 31) | ((carry ^ overflow) << 30) | (((image >>> 4) & 1) << 3);
    words[Word.FZ] = image & Flag.ZF ? 0 : 1;
    words[Word.FZ + 1] = 0;
    words[Word.FS] = image & Flag.PF ? 0 : 1;
    words[Word.FS + 1] = image & Flag.SF ? 1 << 31 : 0;
    const acChanged = ((words[Word.EFLAGS_SYSTEM] ^ image) & Flag.AC) !== 0;
    words[Word.EFLAGS_SYSTEM] = (image & 0x3f7700 & ~Flag.OF) | 2;
    if (this.#cells) {
      this.#memory.bytes[this.#cells.interruptsOff] = 0;
      this.#memory.bytes[this.#cells.interruptWaits] = 0;
    }
    if (acChanged) this.updateMmu();
  }

  get cr0(): bigint {
    return this.#quad(CR0);
  }
  set cr0(value: bigint) {
    this.#setQuad(CR0, value);
    this.#set32(FPU_TRAP, fpuTrapFor(value, this.cr4));
    this.updateMmu();
    this.#loadPdptes();
  }
  get cr2(): bigint {
    return this.#quad(CR2);
  }
  set cr2(value: bigint) {
    this.#setQuad(CR2, value);
    if (this.#cells) this.#view.setBigUint64(this.#cells.cr2, value, true);
  }
  get cr3(): bigint {
    return this.#quad(CR3);
  }
  set cr3(value: bigint) {
    this.#setQuad(CR3, value);
    this.#loadPdptes();
    this.#tlb.flushRoot();
    this.updateMmu();
  }
  get cr4(): bigint {
    return this.#quad(CR4);
  }
  set cr4(value: bigint) {
    if (value === this.cr4) return;
    this.#setQuad(CR4, value);
    this.#set32(FPU_TRAP, fpuTrapFor(this.cr0, value));
    this.flushTlb();
    this.#loadPdptes();
  }
  get efer(): bigint {
    return this.#quad(EFER);
  }
  set efer(value: bigint) {
    this.#setQuad(EFER, value);
    this.updateMmu();
  }
  get cpl(): number {
    return this.#get32(CPL);
  }
  set cpl(level: number) {
    this.#set32(CPL, level);
    this.updateMmu();
  }
  get kernelGsBase(): bigint {
    return this.#quad(KERNEL_GS_BASE);
  }
  set kernelGsBase(value: bigint) {
    this.#setQuad(KERNEL_GS_BASE, value);
  }

  saveFpu(): Uint8Array {
    return readFxsave(this.#view, this.#base);
  }
  restoreFpu(image: Uint8Array): void {
    writeFxsave(this.#view, this.#base, image);
  }

  segment(index: number): Segment {
    return {
      selector: this.#get32(SEGMENT_SELECTOR[index]),
      base: this.#quad(SEGMENT_BASE[index]),
      limit: this.#get32(SEGMENT_LIMIT[index]) >>> 0,
      accessRights: this.#get32(SEGMENT_ACCESS[index]),
    };
  }
  setSegment(index: number, segment: Segment): void {
    const { selector, base, limit, accessRights } = segment;
    const words = this.#words;
    const sameRights = words[Word.SEGMENT_ACCESS + index] === accessRights;
    words[Word.SEGMENT_SELECTOR + index] = selector & 0xffff;
    this.#setQuad(SEGMENT_BASE[index], base);
    if (!sameRights || words[Word.SEGMENT_LIMIT + index] !== (limit | 0)) {
      words[Word.SEGMENT_LIMIT + index] = limit;
      words[Word.SEGMENT_ACCESS + index] = accessRights;
      const bounds = segmentBounds(limit, accessRights);
      this.#setBound(SEGMENT_FLOOR[index], bounds.floor);
      this.#setBound(SEGMENT_READ_END[index], bounds.readEnd);
      this.#setBound(SEGMENT_WRITE_END[index], bounds.writeEnd);
    }
    const matters = this.engine.mode !== 'long64' || (index === SEGMENT_CS && !sameRights);
    if (matters && this.#mode() !== this.engine.mode) this.updateMmu();
  }
  /** A number of up to 33 bits. */
  #setBound(slot: Slot, value: number): void {
    this.#view.setUint32(this.#base + slot.offset, value % 2 ** 32, true);
    this.#view.setUint32(this.#base + slot.offset + 4, value === 2 ** 32 ? 1 : 0, true);
  }

  selector(index: number): number {
    return this.#words[Word.SEGMENT_SELECTOR + index];
  }
  accessRights(index: number): number {
    return this.#words[Word.SEGMENT_ACCESS + index];
  }
  swapGs(): void {
    const words = this.#words;
    for (let half = 0; half < 2; half++) {
      const base = words[Word.GS_BASE + half];
      words[Word.GS_BASE + half] = words[Word.KERNEL_GS_BASE + half];
      words[Word.KERNEL_GS_BASE + half] = base;
    }
  }

  switchRoot(cr3: bigint): void {
    this.#setQuad(CR3, cr3);
    this.#loadPdptes();
    this.#tlb.select();
  }
  flushTlb(gva?: bigint): void {
    if (gva !== undefined) {
      this.#tlb.flushPage(gva);
      return;
    }
    this.#tlb.flush();
    this.updateMmu();
  }

  /** Recompute what the page walk and the decoder depend on, and take the TLB bank that belongs to it. */
  updateMmu(): void {
    const flags = mmuFlags({
      cr0: this.cr0,
      cr4: this.cr4,
      efer: this.efer,
      eflags: this.#get32(EFLAGS_SYSTEM),
      cpl: this.cpl,
    });
    this.#set32(MMU_FLAGS, flags);
    this.engine.mode = this.#mode();
    this.#set32(CODE_MODE, modeFacts(this.engine.mode).number);
    this.#tlb.select();
  }
  readonly #tlb: TranslationBuffer;

  /** The PDPTEs that PAE paging finds where CR3 points. Beyond the memory they read as all ones. */
  readPdptes(cr3: bigint): bigint[] {
    const { ram, ramSizeBytes } = this.#memory.layout;
    const at = Number(cr3 & 0xffffffe0n);
    return PDPTE.map((_, i) =>
      at + 32 <= ramSizeBytes ? this.#view.getBigUint64(ram + at + i * 8, true) : (1n << 64n) - 1n,
    );
  }
  #loadPdptes(): void {
    if (!usesPdptes(this.#get32(MMU_FLAGS))) return;
    this.readPdptes(this.cr3).forEach((entry, i) => this.#setQuad(PDPTE[i], entry));
  }
  #mode(): CpuMode {
    const rights = this.#get32(SEGMENT_ACCESS[SEGMENT_CS]);
    if (rights & AccessRights.L && this.#view.getInt32(this.#base + EFER.offset, true) & EFER_LMA) return 'long64';
    return cpuMode(rights, this.#get32(SEGMENT_ACCESS[SEGMENT_SS]), () =>
      FLAT_SEGMENTS.every((index) => this.#isFlat(index)),
    );
  }
  #isFlat(index: number): boolean {
    return (
      isFlatSegment(index, this.#get32(SEGMENT_LIMIT[index]), this.#get32(SEGMENT_ACCESS[index])) &&
      this.#view.getInt32(this.#base + SEGMENT_BASE[index].offset, true) === 0
    );
  }

  translate(gva: bigint, access: Access, options?: VirtualAccessOptions): Translation {
    return this.#virtual.translate(gva, access, options);
  }
  read(gva: bigint, sizeBytes: number, options?: VirtualAccessOptions): ReadResult {
    return this.#virtual.read(gva, sizeBytes, options);
  }
  write(gva: bigint, bytes: Uint8Array, options?: VirtualAccessOptions): WriteResult {
    return this.#virtual.write(gva, bytes, options);
  }
  readWords(gvaLow: number, gvaHigh: number, into: Int32Array, count: number, options?: VirtualAccessOptions): boolean {
    return this.#virtual.readWords(gvaLow, gvaHigh, into, count, options);
  }
  writeWords(
    gvaLow: number,
    gvaHigh: number,
    from: Int32Array,
    count: number,
    options?: VirtualAccessOptions,
  ): boolean {
    return this.#virtual.writeWords(gvaLow, gvaHigh, from, count, options);
  }

  inject(vector: number, errorCode?: number): void {
    this.pending = { vector, errorCode };
    this.kick();
  }
  readDevice(gpa: number, sizeBytes: 1 | 2 | 4): number {
    const bytes = new Uint8Array(4);
    this.platform.readMmio(gpa, bytes.subarray(0, sizeBytes));
    return new DataView(bytes.buffer).getUint32(0, true);
  }
  writeDevice(gpa: number, sizeBytes: 1 | 2 | 4, value: number): void {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    this.platform.writeMmio(gpa, bytes.subarray(0, sizeBytes));
  }
  get localApicGpa(): number | undefined {
    return this.platform.apicGpa;
  }
  raiseLocalTimerInterrupt(): void {
    this.platform.timerInterrupt();
  }
  kick(): void {
    this.#words[Word.INTERRUPT_WAITS] = 1;
    this.engine.requestExit();
  }
  wake(): void {
    this.blocked = false;
  }
}

function evenParity(byte: number): boolean {
  let bits = byte ^ (byte >> 4);
  bits ^= bits >> 2;
  bits ^= bits >> 1;
  return (bits & 1) === 0;
}
