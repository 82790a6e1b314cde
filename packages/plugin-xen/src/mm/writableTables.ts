import { Gpr, SegmentIndex } from '@polyvisor/plugin-api';
import { instructionAddress } from '../cpu/segments.ts';
import type { XenVcpu } from '../domain.ts';
import { HIGH, LOW } from '../halves.ts';
import { PAGE_BYTES } from '../layout.ts';
import type { PvDomain } from '../pvDomain.ts';
import { type Computed, compute, setZero, step, withCarry, withZero } from './compute.ts';
import { decodeMemoryWrite, MAX_INSTRUCTION_BYTES, type MemoryWrite } from './decode.ts';
import { entryFrame, PTE_PRESENT } from './entries.ts';
import { FrameType, Owner } from './frames.ts';
import { OK } from './pageTables.ts';
import { l1EntryOf } from './vaMapping.ts';

/** VMASST_TYPE_writable_pagetables (public/xen.h). */
const VMASST_WRITABLE_PAGETABLES = 1 << 2;
const RFLAGS_CF = 1;
const RFLAGS_DF = 1n << 10n;

/**
 * A guest kernel wrote to a read-only mapping of one of its L1 tables: carry the instruction out with the
 * entry validated, as mmu_update would. `false`: not such a case, the fault is the guest's.
 */
export function emulateTableWrite(domain: PvDomain, vcpu: XenVcpu, gva: bigint): boolean {
  if ((domain.vmAssist & VMASST_WRITABLE_PAGETABLES) === 0) return false;
  const table = writtenTable(domain, vcpu, gva);
  if (table === undefined) return false;
  const write = writeAt(vcpu);
  const offset = Number(gva & 0xfffn);
  if (write === undefined || (offset & (write.sizeBytes - 1)) !== 0) return false;
  const index = table * 1024 + (offset >>> 2);
  const done = write.word
    ? writeWord(domain, vcpu, write, write.word, index)
    : write.pair
      ? writePair(domain, vcpu, write, write.pair, index)
      : new Emulation(domain, vcpu, write, table * PAGE_BYTES + offset).run();
  if (done) domain.host.count('writablePageTables');
  return done;
}

/** The frame behind a read-only mapping, if it is an L1 table in use. */
function writtenTable(domain: PvDomain, vcpu: XenVcpu, gva: bigint): number | undefined {
  const at = l1EntryOf(domain, vcpu, gva);
  if (at < 0) return undefined;
  const { words } = domain.memory;
  if ((words[at] & 3) !== PTE_PRESENT) return undefined;
  const mfn = entryFrame(words[at], words[at + 1]);
  const { frames } = domain.mm;
  const isTable = frames.isGuest(mfn) && frames.owner[mfn] === Owner.GUEST && frames.typeOf(mfn) === FrameType.L1;
  return isTable && frames.typeCount(mfn) > 0 ? mfn : undefined;
}

/** A write as it was decoded, and in words if it is a frequent one: of 32-bit code, of an entry in 64-bit code. */
interface DecodedWrite extends MemoryWrite {
  readonly word: WordWrite | undefined;
  readonly pair: PairWrite | undefined;
}
/** MOV and XCHG of a whole entry: the other operand is a register, or -1 and an immediate. */
interface PairWrite {
  readonly kind: 'mov' | 'xchg';
  readonly register: number;
  readonly lo: number;
  readonly hi: number;
}

function pairWrite({ sizeBytes, operation: { kind }, source }: MemoryWrite, mode: 32 | 64): PairWrite | undefined {
  if (mode !== 64 || sizeBytes !== 8 || source === undefined || (kind !== 'mov' && kind !== 'xchg')) return undefined;
  if ('register' in source) return { kind, register: source.register, lo: 0, hi: 0 };
  const half = (shift: bigint) => Number(BigInt.asIntN(32, source.immediate >> shift));
  return { kind, register: -1, lo: half(0n), hi: half(32n) };
}

/** Carry such a write out on the entry whose lower half has this index in guest memory. */
function writePair(
  { memory: { words }, mm }: PvDomain,
  { cpu }: XenVcpu,
  { length }: MemoryWrite,
  { kind, register, ...immediate }: PairWrite,
  index: number,
): boolean {
  const { gprHalves, ripHalves } = cpu;
  const [oldLo, oldHi] = [words[index], words[index + 1]];
  const lo = register < 0 ? immediate.lo : gprHalves[2 * register];
  const hi = register < 0 ? immediate.hi : gprHalves[2 * register + 1];
  if (mm.tables.update(index >>> 10, (index & 1023) >>> 1, lo, hi, false) !== OK) return false;
  if (kind === 'xchg') {
    gprHalves[2 * register] = oldLo;
    gprHalves[2 * register + 1] = oldHi;
  }
  const next = (ripHalves[LOW] >>> 0) + length;
  cpu.setRip(next | 0, next > 0xffff_ffff ? ripHalves[HIGH] + 1 : ripHalves[HIGH]);
  return true;
}
/** MOV, XCHG, and the bit instructions on a doubleword: the other operand is a register, or -1 and an immediate. */
interface WordWrite {
  readonly kind: 'mov' | 'xchg' | 'bts' | 'btr' | 'btc';
  readonly register: number;
  readonly immediate: number;
}

function wordWrite({ sizeBytes, operation, source }: MemoryWrite, mode: 32 | 64): WordWrite | undefined {
  if (mode !== 32 || sizeBytes !== 4 || source === undefined) return undefined;
  const kind = operation.kind === 'bit' ? operation.name : operation.kind;
  if (kind !== 'mov' && kind !== 'xchg' && kind !== 'bts' && kind !== 'btr' && kind !== 'btc') return undefined;
  if ('register' in source) return { kind, register: source.register, immediate: 0 };
  return { kind, register: -1, immediate: Number(BigInt.asIntN(32, source.immediate)) };
}

function decode(code: Uint8Array, mode: 32 | 64): DecodedWrite | undefined {
  const write = decodeMemoryWrite(code, mode);
  return write && { ...write, word: wordWrite(write, mode), pair: pairWrite(write, mode) };
}

/** Carry such a write out on the word of this index in guest memory: {@link Emulation} for what comes thousands of times. */
function writeWord(
  domain: PvDomain,
  { cpu }: XenVcpu,
  { length }: MemoryWrite,
  { kind, register, immediate }: WordWrite,
  index: number,
): boolean {
  const { words } = domain.memory;
  const old = words[index];
  const source = register < 0 ? immediate : cpu.gprHalves[2 * register];
  const bit = 1 << (source & 31);
  const value = kind === 'bts' ? old | bit : kind === 'btr' ? old & ~bit : kind === 'btc' ? old ^ bit : source;
  if (!storeHalf(domain, index, value)) return false;
  if (kind === 'xchg') {
    cpu.gprHalves[2 * register] = old;
    cpu.gprHalves[2 * register + 1] = 0;
  } else if (kind !== 'mov') cpu.eflags = (old & bit) === 0 ? cpu.eflags & ~RFLAGS_CF : cpu.eflags | RFLAGS_CF;
  cpu.setRip((cpu.ripHalves[0] + length) | 0, 0);
  return true;
}

/**
 * Change half an entry through page-table validation. The upper half first, before the lower half that fits it: the entry is
 * absent in between (Xen's ptwr_emulated_update).
 */
function storeHalf({ memory: { words }, mm }: PvDomain, index: number, value: number): boolean {
  const isUpper = (index & 1) !== 0;
  const lo = isUpper ? words[index - 1] : value;
  const hi = isUpper ? value : words[index + 1];
  const mfn = index >>> 10;
  const slot = (index & 1023) >>> 1;
  if (mm.tables.update(mfn, slot, lo, hi, false) === OK) return true;
  return isUpper && mm.tables.update(mfn, slot, lo & ~PTE_PRESENT, hi, false) === OK;
}

/** An instruction as it was found, by the words that it is in, whole; a kernel writes its tables in a few places only. */
interface Found {
  readonly words: Int32Array;
  readonly mode: 32 | 64;
  readonly write: DecodedWrite | undefined;
}
const FOUND_WORDS = 5;
const MOST_FOUND = 512;
const found = new Map<number, Found>();
const words = new Int32Array(FOUND_WORDS);

/** The write at RIP. What was decoded before holds as long as the bytes are the same, whoever's they are. */
function writeAt(vcpu: XenVcpu): DecodedWrite | undefined {
  const at = instructionAddress(vcpu);
  const mode = vcpu.ring1 ? 32 : 64;
  const low = Number(at & 0xffff_ffffn) | 0;
  const inWord = low & 3;
  if (!vcpu.cpu.readWords(low - inWord, Number(at >> 32n) | 0, words, FOUND_WORDS)) {
    const code = readCode(vcpu, at);
    return code && decode(code, mode);
  }
  const before = found.get(low);
  if (before?.mode === mode && isSame(before.words)) return before.write;
  const own = words.slice();
  const write = decode(new Uint8Array(own.buffer, inWord, MAX_INSTRUCTION_BYTES), mode);
  if (found.size >= MOST_FOUND) found.clear();
  found.set(low, { words: own, mode, write });
  return write;
}

function isSame(before: Int32Array): boolean {
  for (let i = 0; i < FOUND_WORDS; i++) if (before[i] !== words[i]) return false;
  return true;
}

/** Up to 15 bytes at RIP; fewer when the next page is absent. */
function readCode(vcpu: XenVcpu, at: bigint): Uint8Array | undefined {
  const { cpu } = vcpu;
  const whole = cpu.read(at, MAX_INSTRUCTION_BYTES);
  if (whole.ok) return whole.bytes;
  const toPageEnd = PAGE_BYTES - Number(at & 0xfffn);
  const part = toPageEnd < MAX_INSTRUCTION_BYTES ? cpu.read(at, toPageEnd) : whole;
  return part.ok ? part.bytes : undefined;
}

class Emulation {
  readonly #domain: PvDomain;
  readonly #vcpu: XenVcpu;
  readonly #write: MemoryWrite;
  readonly #gpa: number;
  readonly #bits: bigint;
  readonly #mask: bigint;

  constructor(domain: PvDomain, vcpu: XenVcpu, write: MemoryWrite, gpa: number) {
    this.#domain = domain;
    this.#vcpu = vcpu;
    this.#write = write;
    this.#gpa = gpa;
    this.#bits = BigInt(write.sizeBytes * 8);
    this.#mask = (1n << this.#bits) - 1n;
  }

  run(): boolean {
    const { operation } = this.#write;
    const old = this.#load();
    switch (operation.kind) {
      case 'mov':
        return this.#finish({ value: this.#source(), flags: this.#flags });
      case 'xchg': {
        const value = this.#source();
        return this.#finish({ value, flags: this.#flags }, old);
      }
      case 'xadd':
        return this.#finish(compute('add', old, this.#source(), this.#bits, this.#flags), old);
      case 'cmpxchg':
        return this.#compareExchange(old);
      case 'cmpxchg8b':
        return this.#compareExchangePair(old);
      case 'arithmetic':
        return this.#finish(compute(operation.name, old, this.#source(), this.#bits, this.#flags));
      case 'inc':
      case 'dec':
        return this.#finish(step(operation.kind, old, this.#bits, this.#flags));
      case 'not':
        return this.#finish({ value: ~old & this.#mask, flags: this.#flags });
      case 'neg':
        return this.#finish(compute('sub', 0n, old, this.#bits, this.#flags));
      case 'bit':
        return this.#bitOperation(operation.name, old);
      case 'stos':
      case 'movs':
        return this.#string(operation.kind, operation.repeated);
    }
  }

  get #addressBits(): 32 | 64 {
    return this.#vcpu.ring1 ? 32 : 64;
  }

  get #flags(): bigint {
    return this.#vcpu.cpu.rflags;
  }

  #load(): bigint {
    const word = this.#domain.memory.read64(this.#gpa - (this.#gpa % 8));
    return (word >> BigInt((this.#gpa % 8) * 8)) & this.#mask;
  }

  /** Store through page-table validation; the other bytes of the entry stay. */
  #store(value: bigint): boolean {
    const { memory, mm } = this.#domain;
    const shift = BigInt((this.#gpa % 8) * 8);
    const entry =
      (memory.read64(this.#gpa - (this.#gpa % 8)) & ~(this.#mask << shift)) | ((value & this.#mask) << shift);
    const lo = Number(entry & 0xffff_ffffn) | 0;
    const hi = Number((entry >> 32n) & 0xffff_ffffn) | 0;
    const mfn = Math.floor(this.#gpa / PAGE_BYTES);
    const slot = (this.#gpa % PAGE_BYTES) >>> 3;
    if (mm.tables.update(mfn, slot, lo, hi, false) === OK) return true;
    // As {@link storeHalf}.
    const isUpperHalf = this.#vcpu.ring1 && this.#bits === 32n && this.#gpa % 8 === 4;
    return isUpperHalf && mm.tables.update(mfn, slot, lo & ~PTE_PRESENT, hi, false) === OK;
  }

  #source(): bigint {
    const { source } = this.#write;
    if (source === undefined) return 0n;
    if ('immediate' in source) return source.immediate & this.#mask;
    const value = this.#vcpu.cpu.gpr[source.register];
    return (source.highByte ? value >> 8n : value) & this.#mask;
  }

  /** Registers follow the rules of operand size: a 32-bit write clears the upper half. */
  #setRegister(register: number, highByte: boolean, value: bigint): void {
    const { gpr } = this.#vcpu.cpu;
    if (this.#write.sizeBytes >= 4) gpr[register] = value;
    else if (highByte) gpr[register] = (gpr[register] & ~0xff00n) | (value << 8n);
    else gpr[register] = (gpr[register] & ~this.#mask) | value;
  }

  /** Store, and on success set the source register (XCHG, XADD), flags and RIP. */
  #finish(computed: Computed, sourceAfter?: bigint): boolean {
    if (!this.#store(computed.value)) return false;
    const { source } = this.#write;
    if (sourceAfter !== undefined && source !== undefined && 'register' in source) {
      this.#setRegister(source.register, source.highByte, sourceAfter);
    }
    this.#retire(computed.flags);
    return true;
  }

  #retire(flags: bigint): void {
    const { cpu } = this.#vcpu;
    cpu.rflags = flags;
    cpu.rip = BigInt.asUintN(this.#addressBits, cpu.rip + BigInt(this.#write.length));
  }

  #compareExchange(old: bigint): boolean {
    const accumulator = this.#vcpu.cpu.gpr[Gpr.RAX] & this.#mask;
    const { flags } = compute('sub', accumulator, old, this.#bits, this.#flags);
    if (withZero(flags)) return this.#finish({ value: this.#source(), flags });
    this.#setRegister(Gpr.RAX, false, old);
    this.#retire(flags);
    return true;
  }

  /** CMPXCHG8B: EDX:EAX with the entry, ECX:EBX into it. */
  #compareExchangePair(old: bigint): boolean {
    const { gprHalves } = this.#vcpu.cpu;
    const pair = (high: number, low: number) =>
      (BigInt(gprHalves[2 * high] >>> 0) << 32n) | BigInt(gprHalves[2 * low] >>> 0);
    const isEqual = pair(Gpr.RDX, Gpr.RAX) === old;
    if (isEqual && !this.#store(pair(Gpr.RCX, Gpr.RBX))) return false;
    if (!isEqual) {
      this.#vcpu.cpu.gpr[Gpr.RAX] = old & 0xffff_ffffn;
      this.#vcpu.cpu.gpr[Gpr.RDX] = old >> 32n;
    }
    this.#retire(setZero(this.#flags, isEqual));
    return true;
  }

  /** The fault address already carries the part of a register's bit offset that is above the operand size. */
  #bitOperation(name: 'bts' | 'btr' | 'btc', old: bigint): boolean {
    const bit = 1n << (this.#source() & (this.#bits - 1n));
    const value = name === 'bts' ? old | bit : name === 'btr' ? old & ~bit : old ^ bit;
    return this.#finish({ value, flags: withCarry(this.#flags, (old & bit) !== 0n) });
  }

  /** One element; RIP stays on a REP instruction until RCX is 0. */
  #string(kind: 'stos' | 'movs', repeated: boolean): boolean {
    const { cpu } = this.#vcpu;
    const { gpr } = cpu;
    const size = BigInt(this.#write.sizeBytes);
    let value = gpr[Gpr.RAX] & this.#mask;
    if (kind === 'movs') {
      const base = this.#vcpu.ring1 ? cpu.segment(SegmentIndex.DS).base : 0n;
      const read = cpu.read(BigInt.asUintN(this.#addressBits, base + gpr[Gpr.RSI]), this.#write.sizeBytes);
      if (!read.ok) return false;
      value = 0n;
      for (let index = read.bytes.length - 1; index >= 0; index--) value = (value << 8n) | BigInt(read.bytes[index]);
    }
    if (!this.#store(value)) return false;
    const step = (this.#flags & RFLAGS_DF) === 0n ? size : -size;
    const moved = (register: number, by: bigint) => {
      gpr[register] = BigInt.asUintN(this.#addressBits, gpr[register] + by);
    };
    moved(Gpr.RDI, step);
    if (kind === 'movs') moved(Gpr.RSI, step);
    if (repeated) moved(Gpr.RCX, -1n);
    if (!repeated || gpr[Gpr.RCX] === 0n) this.#retire(this.#flags);
    return true;
  }
}
