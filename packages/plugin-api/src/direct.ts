/**
 * Code of a plug-in's own in generated code: what is done where an instruction would leave guest code with an exit, before it
 * does. For ways in and out of a guest's kernel that are taken too often for an exit each. Since API 1.2.
 */

/**
 * Exits that such code can stand before; `hypercall` is VMCALL alone, `softwareInterrupt` is INT n. Since API 1.8 `pageFault`: the exception exit
 * of a page fault that 64-bit code meets, or since API 1.10 flat 32-bit code. RIP is at its instruction then, and CR2 becomes the address if the code
 * jumps; and `sysenter`, of flat 32-bit code. Since API 1.11 `in`: IN, but not INS, which is an `io` exit like it.
 */
export type DirectKind = 'syscall' | 'sysenter' | 'iret' | 'hypercall' | 'softwareInterrupt' | 'pageFault' | 'in';

/** A value that generated code computes: 32 or 64 bits. */
export interface CodeValue<T extends 'i32' | 'i64' = 'i32' | 'i64'> {
  readonly type: T;
}
export type Word = CodeValue<'i32'>;
export type Quad = CodeValue<'i64'>;

/**
 * Builds code; nothing is executed meanwhile. The code either ends in {@link jump}, and the instruction is done, or changes
 * nothing and runs out at its end, and the exit comes as ever. So all that can be in the way is looked at first. It does what the
 * plug-in's tap on the exit does, for the cases that come often.
 *
 * It is left out while somebody traces exits or hypercalls, or steps through the guest.
 */
export interface DirectCode {
  word(value: number): Word;
  quad(value: bigint): Quad;
  add<T extends 'i32' | 'i64'>(a: CodeValue<T>, b: CodeValue<T>): CodeValue<T>;
  and<T extends 'i32' | 'i64'>(a: CodeValue<T>, b: CodeValue<T>): CodeValue<T>;
  or<T extends 'i32' | 'i64'>(a: CodeValue<T>, b: CodeValue<T>): CodeValue<T>;
  shiftLeft(value: Word, bits: number): Word;
  /** Zeros come in. Since API 1.3. */
  shiftRight<T extends 'i32' | 'i64'>(value: CodeValue<T>, bits: number): CodeValue<T>;
  /** Conditions: 0 or 1; `below` compares unsigned. */
  equal<T extends 'i32' | 'i64'>(a: CodeValue<T>, b: CodeValue<T>): Word;
  below<T extends 'i32' | 'i64'>(a: CodeValue<T>, b: CodeValue<T>): Word;
  not(condition: Word): Word;
  /** `condition` ? a : b, with both computed. */
  select<T extends 'i32' | 'i64'>(condition: Word, a: CodeValue<T>, b: CodeValue<T>): CodeValue<T>;
  lowWord(value: Quad): Word;
  /** Zero-extended. */
  toQuad(value: Word): Quad;
  /** The low 48 bits, with bit 47 spread over those above. */
  canonical(address: Quad): Quad;
  /** A value that can be asked for inside of any {@link when} that follows: others are only good where they were made. */
  keep<T extends 'i32' | 'i64'>(value: CodeValue<T>): () => CodeValue<T>;
  /** Do what `then` builds if the condition is not 0. */
  when(condition: Word, then: () => void): void;

  /** General registers by their number, {@link Gpr}. */
  register(index: number): Quad;
  setRegister(index: number, value: Quad): void;
  /** RFLAGS; what is reserved stays as it is. */
  flags(): Word;
  setFlags(value: Word): void;
  /** Selector of a segment register, {@link SegmentIndex}. */
  selector(index: number): Word;
  /** Changes the selector alone: for another name of the descriptor that is loaded. */
  setSelector(index: number, value: Word): void;
  /** {@link Vcpu.accessRights}. */
  accessRights(index: number): Word;
  /** CPL. */
  level(): Word;
  /** Not 0: an interrupt may be waiting for RFLAGS.IF; code that sets it must leave then. */
  interruptWaits(): Word;
  /** Of `softwareInterrupt`: which. */
  vector(): Word;
  /** Of `in`: which port, and how many bytes go to AL, AX or EAX. Nobody has asked whether the guest may. Since API 1.11. */
  port(): Word;
  portBytes(): 1 | 2 | 4;
  /** Address of the instruction behind this one; of `pageFault` there is none. */
  nextRip(): Quad;
  /** Of `pageFault`: where the instruction is that has met it, the address that it wanted, and the error code. Since API 1.8. */
  faultRip(): Quad;
  faultAddress(): Quad;
  errorCode(): Word;
  /** {@link Vcpu.swapGs}. */
  swapGs(): void;
  /** Number of one of {@link DirectState.cells}. */
  cell(index: number): Quad;
  setCell(index: number, value: Quad): void;

  /**
   * A place for {@link load} and {@link store}: memory at a guest-virtual address, as guest code at the present CPL would
   * find it under one of {@link DirectState.setRoots}, or under the present root; `supervisor` (since API 1.10): as code of a CPL below 3 would find it
   * there. 0 where the translation is not at hand or the bytes are not in one page:
   * the exit may find them all the same.
   */
  reach(root: 0 | 1 | 'present' | 'supervisor', address: Quad, sizeBytes: number, access: 'read' | 'write'): Word;
  /**
   * The place that {@link DirectState.setPlace} has put into a cell; 0: none. Where that is the first byte of a table of the
   * plug-in's own, or of guest-physical memory, places in it are sums: what is added must have been found to be within.
   */
  place(cell: number): Word;
  load(place: Word, offsetBytes: number, sizeBytes: 1 | 4): Word;
  load(place: Word, offsetBytes: number, sizeBytes: 8): Quad;
  store(place: Word, offsetBytes: number, sizeBytes: 1 | 4, value: Word): void;
  store(place: Word, offsetBytes: number, sizeBytes: 8, value: Quad): void;
  /** {@link Vcpu.flushTlb} of one page. To be done once nothing is in the way any more, before {@link jump}. */
  invalidatePage(address: Quad): void;
  /** Whether both roots are known and at hand: to be looked at before {@link switchRoot}. */
  hasRoots(): Word;
  /** {@link Vcpu.switchRoot} to one of {@link DirectState.setRoots}. */
  switchRoot(root: 0 | 1): void;
  /** Go on at a CPL below 3, under the present root: once something has been {@link reach}ed as `supervisor`, and with RFLAGS.AC clear. Since API 1.10. */
  enterLevel(level: 0 | 1 | 2): void;
  /**
   * Load CS (1) with readable code or SS (2) with data that can be written, 4 GiB from 0 on, of this selector and these
   * {@link Vcpu.accessRights}. Since API 1.10.
   */
  loadFlatSegment(index: 1 | 2, selector: Word, accessRights: Word): void;
  /** The instruction is done; go on at an address. */
  jump(rip: Quad): void;
}

/** What such code knows of a vCPU. */
export interface DirectState {
  /** 32 cells of 64 bits (24 before API 1.11, 16 before 1.8), in halves, low half first; all 0 at first. */
  readonly cells: Int32Array;
  /** Put the place of guest-physical memory into a cell, within a page that holds no code; `undefined`: none. */
  setPlace(cell: number, gpa: number | undefined): void;
  /** The two page-table roots that code goes between, as CR3 holds them; `undefined`: none, {@link DirectCode.reach} answers 0. */
  setRoots(roots: readonly [first: bigint, second: bigint] | undefined): void;
}
