import type { CodeValue, DirectCode, Quad, Word } from '@polyvisor/plugin-api';
import {
  CELLS,
  CPL,
  CR3,
  EFLAGS_SYSTEM,
  FAULT_ADDRESS,
  FAULT_ERROR_CODE,
  GPR,
  INTERRUPT_WAITS,
  KERNEL_GS_BASE,
  LEVELS,
  RIP,
  ROOTS,
  SEGMENT_ACCESS,
  SEGMENT_BASE,
  SEGMENT_SELECTOR,
  type Slot,
  TLB,
} from '../cpu/state.ts';
import type { Builder } from '../ir/builder.ts';
import type { AccessBytes, Value } from '../ir/types.ts';
import { ARITHMETIC_FLAGS, packFlags, unpackArithmeticFlags } from './flags.ts';
import { nextRip } from './operands.ts';
import { loadFlat } from './segment-slots.ts';
import { changeLevel } from './semantics/levels.ts';
import { port, portBytes } from './semantics/ports.ts';
import type { InstructionShape } from './types.ts';

type Type = 'i32' | 'i64';
const GS = 5;

/** What plug-ins build with, as IR of the instruction, or the fault, that their code stands before. */
export class BuilderCode implements DirectCode {
  readonly #b: Builder;
  readonly #shape: InstructionShape | undefined;

  /** @param shape of the instruction; undefined: it is a fault that the code stands before */
  constructor(builder: Builder, shape: InstructionShape | undefined) {
    this.#b = builder;
    this.#shape = shape;
  }

  // ---- values ----
  word(value: number): Word {
    return word(this.#b.i32(value));
  }
  quad(value: bigint): Quad {
    return quad(this.#b.i64(value));
  }
  add<T extends Type>(a: CodeValue<T>, b: CodeValue<T>): CodeValue<T> {
    return same(a, this.#b.add(irOf(a), irOf(b)));
  }
  and<T extends Type>(a: CodeValue<T>, b: CodeValue<T>): CodeValue<T> {
    return same(a, this.#b.and(irOf(a), irOf(b)));
  }
  or<T extends Type>(a: CodeValue<T>, b: CodeValue<T>): CodeValue<T> {
    return same(a, this.#b.or(irOf(a), irOf(b)));
  }
  shiftLeft(value: Word, bits: number): Word {
    return word(this.#b.shl(irOf(value), this.#b.i32(bits)));
  }
  shiftRight<T extends Type>(value: CodeValue<T>, bits: number): CodeValue<T> {
    const b = this.#b;
    return same(value, b.shrU(irOf(value), value.type === 'i64' ? b.i64(bits) : b.i32(bits)));
  }
  equal<T extends Type>(a: CodeValue<T>, b: CodeValue<T>): Word {
    return word(this.#b.eq(irOf(a), irOf(b)));
  }
  below<T extends Type>(a: CodeValue<T>, b: CodeValue<T>): Word {
    return word(this.#b.ltU(irOf(a), irOf(b)));
  }
  not(condition: Word): Word {
    return word(this.#b.eqz(irOf(condition)));
  }
  select<T extends Type>(condition: Word, a: CodeValue<T>, b: CodeValue<T>): CodeValue<T> {
    return same(a, this.#b.select(irOf(condition), irOf(a), irOf(b)));
  }
  lowWord(value: Quad): Word {
    return word(this.#b.wrap(irOf(value)));
  }
  toQuad(value: Word): Quad {
    return quad(this.#b.extendU(irOf(value)));
  }
  canonical(address: Quad): Quad {
    const b = this.#b;
    return quad(b.shrS(b.shl(irOf(address), b.i64(16)), b.i64(16)));
  }
  keep<T extends Type>(value: CodeValue<T>): () => CodeValue<T> {
    const variable = this.#b.variable(irOf(value));
    return () => same(value, this.#b.current(variable));
  }
  when(condition: Word, then: () => void): void {
    this.#b.when(irOf(condition), then);
  }

  // ---- the processor ----
  register(index: number): Quad {
    return quad(this.#b.getFixed(placeIn(GPR, index).offset, 8));
  }
  setRegister(index: number, value: Quad): void {
    this.#b.setFixed(placeIn(GPR, index).offset, 8, irOf(value));
  }
  flags(): Word {
    return word(packFlags(this.#b));
  }
  setFlags(value: Word): void {
    const b = this.#b;
    const image = b.variable(irOf(value));
    b.set(EFLAGS_SYSTEM, b.or(b.and(b.current(image), b.i32(~ARITHMETIC_FLAGS)), b.i32(2)));
    unpackArithmeticFlags(b, b.current(image));
  }
  selector(index: number): Word {
    return word(this.#b.and(this.#b.get(placeIn(SEGMENT_SELECTOR, index)), this.#b.i32(0xffff)));
  }
  setSelector(index: number, value: Word): void {
    this.#b.set(placeIn(SEGMENT_SELECTOR, index), irOf(value));
  }
  accessRights(index: number): Word {
    return word(this.#b.get(placeIn(SEGMENT_ACCESS, index)));
  }
  level(): Word {
    return word(this.#b.get(CPL));
  }
  interruptWaits(): Word {
    return word(this.#b.get(INTERRUPT_WAITS));
  }
  vector(): Word {
    if (!this.#shape) throw new Error('vector: there is no INT n');
    return word(this.#b.wrap(this.#b.and(this.#b.immediate(), this.#b.i64(0xff))));
  }
  port(): Word {
    const b = this.#b;
    return word(b.wrap(b.extendU(port(b, this.#input, 1))));
  }
  portBytes(): 1 | 2 | 4 {
    return portBytes(this.#input);
  }
  get #input(): InstructionShape {
    if (!this.#shape?.encoding.name.startsWith('IN ')) throw new Error('port, portBytes: there is no IN');
    return this.#shape;
  }
  nextRip(): Quad {
    if (!this.#shape) throw new Error('nextRip: a page fault is at an instruction, and none is done');
    return quad(nextRip(this.#b, this.#shape));
  }
  faultRip(): Quad {
    return quad(this.#fault(RIP));
  }
  faultAddress(): Quad {
    return quad(this.#fault(FAULT_ADDRESS));
  }
  errorCode(): Word {
    return word(this.#fault(FAULT_ERROR_CODE));
  }
  #fault(slot: Slot): Value {
    if (this.#shape) throw new Error('faultRip, faultAddress, errorCode: there is no page fault');
    return this.#b.get(slot);
  }
  swapGs(): void {
    const b = this.#b;
    const base = b.variable(b.get(SEGMENT_BASE[GS]));
    b.set(SEGMENT_BASE[GS], b.get(KERNEL_GS_BASE));
    b.set(KERNEL_GS_BASE, b.current(base));
  }
  cell(index: number): Quad {
    return quad(this.#b.get(placeIn(CELLS, index)));
  }
  setCell(index: number, value: Quad): void {
    this.#b.set(placeIn(CELLS, index), irOf(value));
  }

  // ---- memory ----
  reach(root: 0 | 1 | 'present' | 'supervisor', address: Quad, sizeBytes: number, access: 'read' | 'write'): Word {
    if (!Number.isInteger(sizeBytes) || sizeBytes < 1 || sizeBytes > 4096)
      throw new RangeError(`a place of ${sizeBytes} bytes: 1 to 4,096`);
    const b = this.#b;
    const place = b.variable(b.i32(0));
    const bank = bankOf(root);
    b.when(b.get(bank), () => b.assign(place, b.reach(b.get(bank), irOf(address), sizeBytes, access)));
    return word(b.current(place));
  }
  place(cell: number): Word {
    return this.lowWord(this.cell(cell));
  }
  load(place: Word, offsetBytes: number, sizeBytes: 1 | 4): Word;
  load(place: Word, offsetBytes: number, sizeBytes: 8): Quad;
  load(place: Word, offsetBytes: number, sizeBytes: 1 | 4 | 8): CodeValue {
    return this.#b.loadReached(irOf(place), offsetBytes, sizeBytes) as CodeValue;
  }
  store(place: Word, offsetBytes: number, sizeBytes: AccessBytes, value: CodeValue): void {
    this.#b.storeReached(irOf(place), offsetBytes, sizeBytes, irOf(value));
  }
  invalidatePage(address: Quad): void {
    this.#b.helper('invlpg', [irOf(address)]);
  }
  hasRoots(): Word {
    const b = this.#b;
    return word(b.and(b.ne(b.get(ROOTS[0].bank), b.i32(0)), b.ne(b.get(ROOTS[1].bank), b.i32(0))));
  }
  switchRoot(root: 0 | 1): void {
    this.#b.set(CR3, this.#b.get(ROOTS[root].cr3));
    this.#b.set(TLB, this.#b.get(ROOTS[root].bank));
  }
  enterLevel(level: 0 | 1 | 2): void {
    changeLevel(this.#b, 'kernel');
    this.#b.set(CPL, this.#b.i32(level));
  }
  loadFlatSegment(index: 1 | 2, selector: Word, accessRights: Word): void {
    loadFlat(this.#b, index, irOf(selector), irOf(accessRights));
  }
  jump(rip: Quad): void {
    this.#b.jump(irOf(rip));
  }
}

const irOf = (value: CodeValue): Value => value as Value;
const word = (value: Value): Word => value as Word;
const quad = (value: Value): Quad => value as Quad;
const same = <T extends Type>(_like: CodeValue<T>, value: Value): CodeValue<T> => value as unknown as CodeValue<T>;

function bankOf(root: 0 | 1 | 'present' | 'supervisor'): Slot {
  if (root === 'present') return TLB;
  return root === 'supervisor' ? LEVELS.kernel.bank : ROOTS[root].bank;
}

function placeIn<T>(list: readonly T[], index: number): T {
  const found = list[index];
  if (found === undefined) throw new RangeError(`there is none of number ${index}: 0 to ${list.length - 1}`);
  return found;
}
