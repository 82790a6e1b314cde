import type {
  Access,
  Assist,
  ControlRegisterLimits,
  DeliveredEvent,
  EventGate,
  GatedEvent,
  ReadResult,
  SecondLevelAccess,
  Segment,
  Translation,
  Vcpu,
  VirtualAccessOptions,
  WorldRegisters,
  WriteResult,
} from '@polyvisor/plugin-api';
import { fpuTrapFor } from '../cpu/fpu-trap.ts';
import {
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
  FAULT_ADDRESS,
  FAULT_ERROR_CODE,
  FAULT_LINEAR,
  FAULT_VECTOR,
  FPU_TRAP,
  HIDDEN_GDT,
  HIDDEN_GDT_AT,
  INTERRUPT_WAITS,
  MMU_FLAGS,
  MXCSR,
  PDPTE,
  RIP,
  X87_CONTROL,
} from '../cpu/state.ts';
import { NO_ERROR_CODE } from '../engine/emit.ts';
import type { Engine } from '../engine/engine.ts';
import { Flag } from '../isa/flags.ts';
import { modeFacts } from '../isa/modes.ts';
import { PDPTE_RESERVED, TABLE_ACCESS } from '../memory/walk.ts';
import { RESET_SEGMENTS } from './cpu-mode.ts';
import { directInstructions, modesOfLevelChanges, REVERSED } from './direct-instructions.ts';
import { VcpuDirectState } from './direct-state.ts';
import { EngineSeat } from './engine-seat.ts';
import { EventState } from './event-state.ts';
import { readFlags, writeFlags } from './lazy-flags.ts';
import { mmuFlags, usesPdptes } from './mmu-state.ts';
import { readMsrOf, writeMsrOf } from './native/msrs.ts';
import { CR4_BITS, writeControlRegister } from './native/registers.ts';
import { type InterruptSource, ProcessorPlatform } from './platform/processor.ts';
import { CR3_PCID, CR4_PCIDE } from './process-contexts.ts';
import { SECOND_LEVEL_ACCESSES, SecondLevelRefusal } from './second-level.ts';
import { CellsInMemory, type SharedCells } from './shared-cells.ts';
import { StartupSignals } from './startup.ts';
import { StateTables } from './state-tables.ts';
import { TranslationBuffer } from './translation-buffer.ts';
import { VirtualMemory } from './virtual-memory.ts';

const SEGMENT_CS = 1;
const PAGE_BYTES = 4096;
/** RFLAGS after power-up; bit 1 is always set. */
const RESET_FLAGS = 2;

/** Where slots stand in the state block, as indices of 32-bit words. */
const Word = {
  EFLAGS_SYSTEM: EFLAGS_SYSTEM.offset >>> 2,
  INTERRUPT_WAITS: INTERRUPT_WAITS.offset >>> 2,
  PDPTE: PDPTE[0].offset >>> 2,
} as const;

/** PDPTE_RESERVED in halves. */
const Reserved = {
  LOW: Number(BigInt.asIntN(32, PDPTE_RESERVED)),
  HIGH: Number(BigInt.asIntN(32, PDPTE_RESERVED >> 32n)),
} as const;

/** What reads or changes state that {@link MachineVcpu.shareCells} keeps in guest memory. */
const TOUCHES_CELLS =
  Direct.CLI |
  Direct.STI |
  Direct.POPF |
  Direct.SYSCALL |
  Direct.SYSRET |
  Direct.SYSENTER |
  Direct.SYSEXIT |
  Direct.IRET |
  Direct.PAGE_FAULT |
  Direct.READ_CR |
  Direct.PLUGIN_CODE;

/** One vCPU: the engine's state block under the names of the manuals, its events, and memory as it sees it. */
export class MachineVcpu extends EventState implements Vcpu {
  readonly id: number;
  readonly tables: StateTables;
  readonly engine: Engine;
  readonly directState: VcpuDirectState;
  blocked = false;
  offline = false;
  atStartup: (() => void) | undefined;
  /** INIT and SIPI that have come and not been taken yet. */
  readonly startup = new StartupSignals(this);
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
    this.#seated(() => {
      this.#updateDirect();
      this.updateMmu();
    });
  }
  #direct = 0;
  /** {@link direct} as far as the world that the vCPU is in lets it be. */
  #directHere = 0;
  #updateDirect(): void {
    const assist = this.#assist;
    const world = assist ? directInstructions((kind) => assist.wants(kind)) : this.#direct;
    this.#directHere = (world & this.#direct & ~REVERSED) | ((world | this.#direct) & REVERSED);
    this.#allowDirect();
    this.#tlb.holdsAllLevels = modesOfLevelChanges(this.#directHere);
  }
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
    let bits = this.#holdsDirect ? this.#directHere & REVERSED : this.#directHere;
    if (this.#nmiBlocked) bits &= ~(Direct.IRET | Direct.PLUGIN_CODE);
    if (this.#cells) bits = (bits & ~TOUCHES_CELLS) | Direct.IF_ELSEWHERE;
    if (this.#pauseLeaves) bits |= Direct.PAUSE_LEAVES;
    this.setSlot32(DIRECT, bits);
  }
  /** PAUSE ends the turn: another vCPU could go on, perhaps the one that this one waits for. */
  set pauseLeaves(leaves: boolean) {
    if (leaves === this.#pauseLeaves) return;
    this.#pauseLeaves = leaves;
    this.#allowDirect();
  }
  #pauseLeaves = false;
  /** One of several gives way: PAUSE has left guest code, or it was kicked. */
  hasPaused = false;
  /** Before guest code is entered: say whether an interrupt waits for RFLAGS.IF. */
  noteWaitingInterrupt(): void {
    const { interrupts } = this.platform;
    const waits =
      this.#nmiPending ||
      interrupts?.hasDeliverable() ||
      this.externalInterrupt?.() !== undefined ||
      this.eventGate?.window?.() !== undefined;
    this.words[Word.INTERRUPT_WAITS] = waits ? 1 : 0;
  }

  /** An interrupt with RFLAGS.IF set, or an NMI: what ends HLT and comes before the next instruction. */
  get hasDeliverableEvent(): boolean {
    if (this.eventGate) return this.deliverable(this.eventGate) !== undefined;
    if (this.#nmiPending && !this.nmiBlocked) return true;
    if ((this.slot32(EFLAGS_SYSTEM) & Flag.IF) === 0) return false;
    if (!(this.platform.interrupts?.hasDeliverable() ?? false) && this.externalInterrupt?.() === undefined)
      return false;
    if (!this.#cells?.interruptsOff) return true;
    this.#cells.noteWaiting();
    return false;
  }
  externalInterrupt: (() => number | undefined) | undefined = undefined;
  eventGate: EventGate | undefined = undefined;
  /** What a gate lets in, if anything. */
  deliverable(gate: EventGate): GatedEvent | undefined {
    if (gate.window?.() === 'open') return 'window';
    if (this.#nmiPending && (gate.lets('nmi') ?? !this.nmiBlocked)) return 'nmi';
    const enabled = (this.slot32(EFLAGS_SYSTEM) & Flag.IF) !== 0;
    const { interrupts } = this.platform;
    if (interrupts?.hasDeliverable() && (gate.lets('interrupt') ?? enabled)) return 'interrupt';
    return enabled && this.externalInterrupt?.() !== undefined ? 'external' : undefined;
  }
  /** The vector of the interrupt that {@link hasDeliverableEvent} has seen; it is then in service. */
  acknowledgeInterrupt(): number {
    return this.externalInterrupt?.() ?? (this.platform.interrupts as InterruptSource).acknowledge();
  }
  acknowledgeNmi(): void {
    this.#nmiPending = false;
    this.nmiBlocked = true;
  }
  requestInterrupt(vector: number): boolean {
    return this.platform.requestInterrupt(vector);
  }
  raiseNmi(): void {
    this.#nmiPending = true;
    this.kick();
  }
  forgetNmi(): void {
    this.#nmiPending = false;
    this.nmiBlocked = false;
  }
  /** Whether an NMI is to be delivered; it is then under way. */
  takeNmi(): boolean {
    if (!this.#nmiPending || this.nmiBlocked) return false;
    this.#nmiPending = false;
    this.nmiBlocked = true;
    return true;
  }
  #cells: CellsInMemory | undefined;
  /**
   * Keep part of the state in guest memory, for code in the guest; `undefined`: no longer. Addresses are guest-physical.
   * `interruptsOff` is then the opposite of RFLAGS.IF, and the state block's flag stays 1.
   */
  shareCells(cells: SharedCells | undefined): void {
    const { eflags } = this;
    this.#cells = cells && new CellsInMemory(this.engine.memory, cells);
    this.eflags = eflags;
    this.#allowDirect();
    if (this.#cells) this.#cells.cr2 = this.cr2;
  }
  /** A copy of what was given, in the state block, where generated code finds it. */
  get hiddenGdt(): Int32Array | undefined {
    return this.#hiddenGdt;
  }
  set hiddenGdt(words: Int32Array | undefined) {
    if (words && words.length > 2 * HIDDEN_GDT.length) throw new RangeError(`a GDT of ${words.length / 2} descriptors`);
    this.#hiddenGdt = words && this.#hiddenGdtView(words.length);
    if (words) this.#hiddenGdt?.set(words);
    // Generated code looks at it where it runs.
    this.setSlot32(HIDDEN_GDT_AT, words ? this.engine.base + HIDDEN_GDT[0].offset : 0);
  }
  #hiddenGdtView(words: number): Int32Array {
    return new Int32Array(this.engine.memory.memory.buffer, this.base + HIDDEN_GDT[0].offset, words);
  }
  #hiddenGdt: Int32Array | undefined;
  /** System MSRs that are only kept. */
  readonly msrs = new Map<number, bigint>();
  readonly #virtual: VirtualMemory;
  readonly #seat: EngineSeat<MachineVcpu>;

  constructor(
    id: number,
    engine: Engine,
    platform = ProcessorPlatform.withoutChips(),
    seat = new EngineSeat<MachineVcpu>(engine),
  ) {
    super(engine.memory, seat.home(id));
    this.id = id;
    this.platform = platform;
    this.engine = engine;
    this.#seat = seat;
    this.#tlb = new TranslationBuffer(engine, seat.keys, id);
    this.directState = new VcpuDirectState(engine, this.#tlb, this.base, (use) => this.#seated(use));
    this.#virtual = new VirtualMemory(engine);
    this.tables = new StateTables(engine.memory.view, this.base);
    writeFlags(this.words, RESET_FLAGS);
    this.setSlot32(MXCSR, 0x1f80);
    this.setSlot32(X87_CONTROL, 0x37f);
    this.setSlot64(CR0, 0x60000010n);
    this.setSlot64(RIP, 0xfff0n);
    this.setSlot64(DR[6], 0xffff0ff0n);
    this.setSlot64(DR[7], 0x400n);
    RESET_SEGMENTS.forEach((segment, index) => this.setSegment(index, segment));
    this.updateMmu();
  }

  override moveTo(base: number): void {
    super.moveTo(base);
    this.tables.moveTo(base);
    this.directState.moveTo(base);
    if (this.#hiddenGdt) this.#hiddenGdt = this.#hiddenGdtView(this.#hiddenGdt.length);
  }
  /** Do what needs the engine to work on this vCPU's state. */
  #seated<T>(use: () => T): T {
    return this.#seat.isHeldBy(this) ? use() : this.#seat.lend(this, use);
  }

  get rflags(): bigint {
    return BigInt(this.eflags >>> 0);
  }
  set rflags(value: bigint) {
    this.eflags = Number(BigInt.asIntN(32, value));
  }
  get eflags(): number {
    const flags = readFlags(this.words);
    return this.#cells?.interruptsOff ? flags & ~Flag.IF : flags;
  }
  set eflags(image: number) {
    const acChanged = ((this.words[Word.EFLAGS_SYSTEM] ^ image) & Flag.AC) !== 0;
    writeFlags(this.words, image);
    this.#shareInterruptFlag();
    if (acChanged) this.updateMmu();
  }

  /** {@link Engine.enterEvent}, with RFLAGS.IF where generated code looks for it. */
  enterEvent(vector: number, errorCode: number | undefined, software: boolean): boolean {
    if (!this.#seat.isHeldBy(this)) return false;
    this.setSlot32(FAULT_VECTOR, vector);
    this.setSlot32(FAULT_ERROR_CODE, errorCode ?? NO_ERROR_CODE);
    if (this.#cells?.interruptsOff) this.words[Word.EFLAGS_SYSTEM] &= ~Flag.IF;
    const entered = this.engine.enterEvent(software);
    this.#shareInterruptFlag();
    return entered;
  }

  /** Clear some of RFLAGS that are no arithmetic ones, nor AC. */
  clearSystemFlags(flags: number): void {
    // Where IF is kept elsewhere, it is 1 here.
    const { interruptsOff = false } = this.#cells ?? {};
    this.words[Word.EFLAGS_SYSTEM] &= ~(interruptsOff ? flags | Flag.IF : flags);
    this.#shareInterruptFlag();
  }
  /** The state block's IF has been written. */
  #shareInterruptFlag(): void {
    if (!this.#cells) return;
    this.#cells.allowInterrupts((this.words[Word.EFLAGS_SYSTEM] & Flag.IF) !== 0);
    this.words[Word.EFLAGS_SYSTEM] |= Flag.IF;
  }

  get cr0(): bigint {
    return this.slot64(CR0);
  }
  set cr0(value: bigint) {
    this.setSlot64(CR0, value);
    this.setSlot32(FPU_TRAP, fpuTrapFor(value, this.cr4));
    this.updateMmu();
    this.#loadPdptes();
  }
  get cr2(): bigint {
    return this.slot64(CR2);
  }
  set cr2(value: bigint) {
    this.setSlot64(CR2, value);
    if (this.#cells) this.#cells.cr2 = value;
  }
  get tsc(): bigint {
    return this.platform.tsc.read();
  }
  get cr3(): bigint {
    return this.slot64(CR3);
  }
  set cr3(value: bigint) {
    const hasContexts = (this.slotHalf(CR4, 0) & CR4_PCIDE) !== 0;
    this.setSlot64(CR3, hasContexts ? BigInt.asUintN(63, value) : value);
    this.#loadPdptes();
    const pcid = hasContexts ? this.slotHalf(CR3, 0) & CR3_PCID : 0;
    const keeps = hasContexts && ((value >> 63n) & 1n) !== 0n;
    // Neither MMU_FLAGS nor the code mode depends on CR3.
    this.#seated(() => {
      this.#tlb.enter(pcid, keeps);
      this.#tlb.select();
    });
  }
  get cr4(): bigint {
    return this.slot64(CR4);
  }
  set cr4(value: bigint) {
    if (value === this.cr4) return;
    this.setSlot64(CR4, value);
    this.setSlot32(FPU_TRAP, fpuTrapFor(this.cr0, value));
    this.flushTlb();
    this.#loadPdptes();
  }
  get efer(): bigint {
    return this.slot64(EFER);
  }
  set efer(value: bigint) {
    this.setSlot64(EFER, value);
    this.updateMmu();
  }
  get cpl(): number {
    return this.slot32(CPL);
  }
  set cpl(level: number) {
    this.setSlot32(CPL, level);
    this.updateMmu();
  }

  setSegment(index: number, segment: Segment): void {
    const sameRights = this.accessRights(index) === segment.accessRights;
    this.keepSegment(index, segment);
    if (!this.#seat.isHeldBy(this)) {
      this.updateMmu();
      return;
    }
    const matters = this.engine.mode !== 'long64' || (index === SEGMENT_CS && !sameRights);
    if (matters && this.codeMode() !== this.engine.mode) this.updateMmu();
  }

  switchRoot(cr3: bigint): void {
    this.setSlot64(CR3, cr3);
    this.#loadPdptes();
    if (this.#seat.isHeldBy(this)) this.#tlb.select();
  }
  /** {@link flushTlb} of one page, whose address is given in halves. */
  flushPage(gvaLow: number, gvaHigh: number): void {
    this.#tlb.flushPage(gvaLow, gvaHigh);
  }
  flushTlb(gva?: bigint): void {
    if (gva !== undefined) {
      this.flushPage(Number(BigInt.asIntN(32, gva)), Number(BigInt.asIntN(32, gva >> 32n)));
      return;
    }
    this.#tlb.flush();
    this.updateMmu();
    if (!this.#seat.isHeldBy(this)) this.#seat.chooseBank();
  }

  /** INVPCID, type 1: drop the translations of a process context. */
  flushContext(pcid: number): void {
    this.#tlb.flushContext(pcid);
  }

  /** Recompute what the page walk and the decoder depend on, and take the TLB bank that belongs to it. */
  updateMmu(): void {
    const flags = mmuFlags({
      cr0: this.slotHalf(CR0, 0),
      cr4: this.slotHalf(CR4, 0),
      efer: this.slotHalf(EFER, 0),
      eflags: this.words[Word.EFLAGS_SYSTEM],
      cpl: this.cpl,
      hasSecondLevel: this.#assist?.secondLevel !== undefined,
    });
    this.setSlot32(MMU_FLAGS, flags);
    const mode = this.codeMode();
    this.setSlot32(CODE_MODE, modeFacts(mode).number);
    if (!this.#seat.isHeldBy(this)) return;
    this.engine.mode = mode;
    this.#tlb.select();
  }
  readonly #tlb: TranslationBuffer;

  /** One of the PDPTEs that PAE paging finds where CR3 points, of which this is the low half, is present with reserved bits. */
  refusesPdptes(cr3: number): boolean {
    const { words } = this.engine.memory;
    const from = this.#pdptesAt(cr3);
    if (from < 0) return true;
    for (let i = 0; i < PDPTE.length * 2; i += 2) {
      const low = words[from + i];
      if (low & 1 && (low & Reserved.LOW) | (words[from + i + 1] & Reserved.HIGH)) return true;
    }
    return false;
  }
  #loadPdptes(): void {
    if (!usesPdptes(this.slot32(MMU_FLAGS))) return;
    const { words } = this.engine.memory;
    const from = this.#pdptesAt(this.slotHalf(CR3, 0));
    for (let i = 0; i < PDPTE.length * 2; i++) this.words[Word.PDPTE + i] = from < 0 ? -1 : words[from + i];
  }
  /** Index of the first one's low half in memory's words; negative: beyond the memory, where all bits read as ones. */
  #pdptesAt(cr3: number): number {
    const { ram, ramSizeBytes } = this.engine.memory.layout;
    let at = (cr3 & 0xffffffe0) >>> 0;
    if (this.#assist?.secondLevel) {
      const page = this.translateAgain(at >>> 12, TABLE_ACCESS);
      if (page < 0) {
        this.setSlot64(FAULT_ADDRESS, BigInt(at));
        this.#refusedForPdptes = true;
        throw new SecondLevelRefusal();
      }
      at = page * PAGE_BYTES + (at & (PAGE_BYTES - 1));
    }
    return at + PDPTE.length * 8 <= ramSizeBytes ? (ram + at) >>> 2 : -1;
  }
  translate(gva: bigint, access: Access, options?: VirtualAccessOptions): Translation {
    return this.#seated(() => this.#virtual.translate(gva, access, options));
  }
  read(gva: bigint, sizeBytes: number, options?: VirtualAccessOptions): ReadResult {
    return this.#seated(() => this.#virtual.read(gva, sizeBytes, options));
  }
  write(gva: bigint, bytes: Uint8Array, options?: VirtualAccessOptions): WriteResult {
    return this.#seated(() => this.#virtual.write(gva, bytes, options));
  }
  readWords(gvaLow: number, gvaHigh: number, into: Int32Array, count: number, options?: VirtualAccessOptions): boolean {
    if (this.#seat.isHeldBy(this)) return this.#virtual.readWords(gvaLow, gvaHigh, into, count, options);
    return this.#seat.lend(this, () => this.#virtual.readWords(gvaLow, gvaHigh, into, count, options));
  }
  writeWords(
    gvaLow: number,
    gvaHigh: number,
    from: Int32Array,
    count: number,
    options?: VirtualAccessOptions,
  ): boolean {
    if (this.#seat.isHeldBy(this)) return this.#virtual.writeWords(gvaLow, gvaHigh, from, count, options);
    return this.#seat.lend(this, () => this.#virtual.writeWords(gvaLow, gvaHigh, from, count, options));
  }

  inject(vector: number, errorCode?: number, source: DeliveredEvent['source'] = 'exception'): void {
    this.pending = { vector, errorCode, source };
    this.kick();
  }
  takeInjected(): DeliveredEvent | undefined {
    const event = this.pending;
    this.pending = undefined;
    return event;
  }
  readMsr(index: number): bigint | undefined {
    return readMsrOf(this, index);
  }
  writeMsr(index: number, value: bigint): boolean {
    return writeMsrOf(this, index, value);
  }
  writeControlRegister(cr: 0 | 3 | 4 | 8, value: bigint): boolean {
    return writeControlRegister(this, cr, value) === 'next';
  }
  readonly cr4Bits = CR4_BITS;
  controlRegisterLimits: ControlRegisterLimits | undefined = undefined;
  get assist(): Assist | undefined {
    return this.#assist;
  }
  switchWorld(assist: Assist | undefined, { cr0, cr3, cr4, efer, cpl, pdptes }: WorldRegisters): void {
    this.#assist = assist;
    this.heldTraps = 0;
    this.#tlb.addressSpace = assist?.addressSpace ?? 0;
    this.platform.tsc.assistOffset = assist?.tscOffset ?? 0n;
    this.#updateDirect();
    this.setSlot64(CR0, cr0);
    this.setSlot64(CR3, cr3);
    this.setSlot64(CR4, cr4);
    this.setSlot64(EFER, efer);
    this.setSlot32(CPL, cpl);
    this.setSlot32(FPU_TRAP, fpuTrapFor(cr0, cr4));
    this.updateMmu();
    if (pdptes) pdptes.forEach((entry, i) => this.setSlot64(PDPTE[i], entry));
    else this.#loadPdptes();
  }
  #assist: Assist | undefined;
  /** {@link EngineHost.secondLevel}. */
  translateAgain(page: number, access: number): number {
    const wanted = SECOND_LEVEL_ACCESSES[access];
    const machinePage = this.#assist?.secondLevel?.translate(page, wanted) ?? page;
    if (machinePage < 0) this.#refusedAccess = wanted;
    return machinePage;
  }
  #refusedAccess: SecondLevelAccess = 'read';
  /** No linear address was being translated. */
  #refusedForPdptes = false;
  /** What {@link Assist.secondLevel} has refused last: where, guest-physically, for which linear address, and which access. */
  takeRefused(): { readonly gpa: number; readonly access: SecondLevelAccess; readonly gva?: bigint } {
    const gva = this.#refusedForPdptes ? undefined : this.slot64(FAULT_LINEAR);
    this.#refusedForPdptes = false;
    return { gpa: Number(this.slot64(FAULT_ADDRESS)), access: this.#refusedAccess, ...(gva !== undefined && { gva }) };
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
    this.words[Word.INTERRUPT_WAITS] = 1;
    this.#endTurn();
    this.engine.requestExit();
  }
  wake(): void {
    if (this.blocked) this.#endTurn();
    this.blocked = false;
  }
  /** Something is to be looked at, or can go on: one of several vCPUs has its turn soon. */
  #endTurn(): void {
    if (this.#seat.isHeldBy(this)) this.hasPaused = true;
    else this.#seat.othersKicked = true;
  }
}
