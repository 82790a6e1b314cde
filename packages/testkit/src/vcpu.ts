import type {
  Access,
  Assist,
  ControlRegisterLimits,
  DebugRegister,
  DeliveredEvent,
  DescriptorTables,
  DirectState,
  EventGate,
  GuestMemory,
  PageFault,
  ReadResult,
  Segment,
  Translation,
  Vcpu,
  VirtualAccessOptions,
  WorldRegisters,
  WriteResult,
} from '@polyvisor/plugin-api';

const pageSizeBytes = 4096;
/** P clear, W for writes, I/D for fetches, U for user accesses (SDM vol. 3A, 4.7). */
const faultBit = { write: 2, user: 4, execute: 16 } as const;

/** Where a guest-virtual address lies: a gpa, or `undefined` for "not mapped". */
export type TranslateFunction = (
  gva: bigint,
  access: Access,
  options: VirtualAccessOptions,
) => number | PageFault | undefined;

const gsIndex = 5;
const emptySegment: Segment = { selector: 0, base: 0n, limit: 0xffffffff, accessRights: 0x10000 };

/**
 * A vCPU that executes nothing: settable state, and virtual reads and writes through an identity
 * map (or a function of the test's own). What a plug-in asks of it is recorded in `injected`,
 * `kicks`, `flushes` and `roots`.
 * NOT IMPLEMENTED: paging by CR3, the effects of writing control registers.
 */
export class FakeVcpu implements Vcpu {
  readonly id: number;
  readonly gpr = new BigUint64Array(16);
  readonly gprHalves = new Int32Array(this.gpr.buffer);
  readonly #rip = new BigUint64Array(1);
  readonly ripHalves = new Int32Array(this.#rip.buffer);
  rflags = 2n;
  cr0 = 0x80050033n;
  cr2 = 0n;
  cr3 = 0n;
  cr4 = 0x20n;
  efer = 0xd01n;
  cpl = 0;
  kernelGsBase = 0n;
  tsc = 0n;
  blocked = false;
  offline = false;
  atStartup: (() => void) | undefined;
  readonly tables: DescriptorTables = {
    gdtr: { base: 0n, limit: 0 },
    idtr: { base: 0n, limit: 0 },
    ldtr: emptySegment,
    tr: emptySegment,
  };

  hiddenGdt: Int32Array | undefined;

  interruptShadow = false;
  debugShadow = false;
  instructionShadow: 'sti' | 'stackSegment' | undefined;
  latestDebug = { conditions: 0, dr6: 0n };
  heldTraps = 0;
  nmiBlocked = false;
  readonly cr4Bits = 0x33_07bcn;
  controlRegisterLimits: ControlRegisterLimits | undefined;
  readonly pdptes: readonly bigint[] = [0n, 0n, 0n, 0n];
  eventGate: EventGate | undefined;
  assist: Assist | undefined;
  /** What {@link readMsr} finds. */
  readonly msrs = new Map<number, bigint>();

  readonly injected: { vector: number; errorCode?: number }[] = [];
  /** Vectors given to {@link requestInterrupt}, in order. */
  readonly requested: number[] = [];
  /** Roots given to {@link switchRoot}, in order. */
  readonly roots: bigint[] = [];
  /** Arguments of {@link flushTlb}, in order. */
  readonly flushes: (bigint | undefined)[] = [];
  kicks = 0;
  /** What {@link writeDevice} has written last, by address. */
  readonly device = new Map<number, number>();
  localApicGpa: number | undefined = 0xfee00000;
  localTimerInterrupts = 0;

  readonly #memory: GuestMemory;
  readonly #segments: Segment[] = Array.from({ length: 6 }, () => emptySegment);
  readonly #translate: TranslateFunction;
  readonly #debug = new BigUint64Array(8);
  #fpu = new Uint8Array(512);

  constructor(memory: GuestMemory, options: { id?: number; translate?: TranslateFunction } = {}) {
    this.#memory = memory;
    this.id = options.id ?? 0;
    this.#translate = options.translate ?? ((gva) => (gva < BigInt(memory.sizeBytes) ? Number(gva) : undefined));
  }

  get rip(): bigint {
    return this.#rip[0];
  }
  set rip(value: bigint) {
    this.#rip[0] = value;
  }
  setRip(low: number, high: number): void {
    this.ripHalves[0] = low;
    this.ripHalves[1] = high;
  }
  get eflags(): number {
    return Number(BigInt.asIntN(32, this.rflags));
  }
  set eflags(value: number) {
    this.rflags = BigInt(value >>> 0);
  }

  debugRegister(index: DebugRegister): bigint {
    return this.#debug[index];
  }
  setDebugRegister(index: DebugRegister, value: bigint): void {
    this.#debug[index] = value;
  }

  saveFpu(): Uint8Array {
    return this.#fpu.slice();
  }
  restoreFpu(image: Uint8Array): void {
    if (image.length !== 512) throw new RangeError(`an FXSAVE image has 512 bytes, not ${image.length}`);
    this.#fpu = image.slice();
  }
  segment(index: number): Segment {
    return this.#segments[index];
  }
  setSegment(index: number, segment: Segment): void {
    if (!(index in this.#segments)) throw new RangeError(`no segment register ${index}`);
    this.#segments[index] = segment;
  }
  selector(index: number): number {
    return this.#segments[index].selector;
  }
  accessRights(index: number): number {
    return this.#segments[index].accessRights;
  }
  swapGs(): void {
    const gs = this.#segments[gsIndex];
    this.#segments[gsIndex] = { ...gs, base: this.kernelGsBase };
    this.kernelGsBase = gs.base;
  }
  switchRoot(cr3: bigint): void {
    this.roots.push(cr3);
    this.cr3 = cr3;
  }
  /** Cells alone: a vCPU that executes nothing has no use for the rest. */
  readonly directState: DirectState = { cells: new Int32Array(48), setPlace() {}, setRoots() {} };
  flushTlb(gva?: bigint): void {
    this.flushes.push(gva);
  }

  translate(gva: bigint, access: Access, options: VirtualAccessOptions = {}): Translation {
    const found = this.#translate(BigInt.asUintN(64, gva), access, options);
    if (typeof found === 'number') return { ok: true, gpa: found };
    return { ok: false, fault: found ?? { gva, errorCode: this.#notPresent(access, options) } };
  }
  read(gva: bigint, sizeBytes: number, options: VirtualAccessOptions = {}): ReadResult {
    const bytes = new Uint8Array(sizeBytes);
    for (const piece of pieces(gva, sizeBytes)) {
      const where = this.translate(piece.gva, 'read', options);
      if (!where.ok) return where;
      bytes.set(this.#memory.readBytes(where.gpa, piece.sizeBytes), piece.offset);
    }
    return { ok: true, bytes };
  }
  write(gva: bigint, bytes: Uint8Array, options: VirtualAccessOptions = {}): WriteResult {
    const places: { gpa: number; bytes: Uint8Array }[] = [];
    for (const piece of pieces(gva, bytes.length)) {
      const where = this.translate(piece.gva, 'write', options);
      if (!where.ok) return where;
      places.push({ gpa: where.gpa, bytes: bytes.subarray(piece.offset, piece.offset + piece.sizeBytes) });
    }
    for (const place of places) this.#memory.writeBytes(place.gpa, place.bytes);
    return { ok: true };
  }

  readWords(
    gvaLow: number,
    gvaHigh: number,
    into: Int32Array,
    count: number,
    options: VirtualAccessOptions = {},
  ): boolean {
    const found = this.read(addressOf(gvaLow, gvaHigh), count * 4, options);
    if (found.ok) new Uint8Array(into.buffer, into.byteOffset).set(found.bytes);
    return found.ok;
  }
  writeWords(
    gvaLow: number,
    gvaHigh: number,
    from: Int32Array,
    count: number,
    options: VirtualAccessOptions = {},
  ): boolean {
    const bytes = new Uint8Array(from.buffer, from.byteOffset, count * 4);
    return this.write(addressOf(gvaLow, gvaHigh), bytes, options).ok;
  }

  externalInterrupt: (() => number | undefined) | undefined = undefined;
  requestInterrupt(vector: number): boolean {
    this.requested.push(vector);
    return true;
  }
  switchWorld(assist: Assist | undefined, registers: WorldRegisters): void {
    this.assist = assist;
    Object.assign(this, registers);
  }
  readMsr(index: number): bigint | undefined {
    return this.msrs.get(index);
  }
  writeMsr(index: number, value: bigint): boolean {
    if (!this.msrs.has(index)) return false;
    this.msrs.set(index, value);
    return true;
  }
  writeControlRegister(cr: 0 | 3 | 4 | 8, value: bigint): boolean {
    if (cr !== 8) this[`cr${cr}`] = value;
    return true;
  }
  acknowledgeInterrupt(): number {
    throw new RangeError('no chip has sent an interrupt');
  }
  acknowledgeNmi(): void {
    this.nmiBlocked = true;
  }
  takeInjected(): DeliveredEvent | undefined {
    const event = this.injected.pop();
    return event && { source: 'exception', vector: event.vector, errorCode: event.errorCode };
  }
  inject(vector: number, errorCode?: number): void {
    this.injected.push(errorCode === undefined ? { vector } : { vector, errorCode });
  }
  readDevice(gpa: number, sizeBytes: 1 | 2 | 4): number {
    return (this.device.get(gpa) ?? 0xffffffff) % 256 ** sizeBytes;
  }
  writeDevice(gpa: number, sizeBytes: 1 | 2 | 4, value: number): void {
    this.device.set(gpa, (value >>> 0) % 256 ** sizeBytes);
  }
  raiseLocalTimerInterrupt(): void {
    this.localTimerInterrupts++;
  }
  kick(): void {
    this.kicks++;
  }
  wake(): void {
    this.blocked = false;
  }

  #notPresent(access: Access, options: VirtualAccessOptions): number {
    const user = options.as === 'user' || (options.as === undefined && this.cpl === 3);
    return (access === 'read' ? 0 : faultBit[access]) | (user ? faultBit.user : 0);
  }
}

function addressOf(low: number, high: number): bigint {
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}

/** A virtual range cut at page borders. */
function* pieces(gva: bigint, sizeBytes: number): Generator<{ gva: bigint; offset: number; sizeBytes: number }> {
  for (let offset = 0; offset < sizeBytes; ) {
    const at = BigInt.asUintN(64, gva + BigInt(offset));
    const toBorder = pageSizeBytes - Number(at % BigInt(pageSizeBytes));
    const piece = Math.min(toBorder, sizeBytes - offset);
    yield { gva: at, offset, sizeBytes: piece };
    offset += piece;
  }
}
