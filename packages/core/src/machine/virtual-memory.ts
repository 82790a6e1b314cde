import type { Access, ReadResult, Translation, VirtualAccessOptions, WriteResult } from '@polyvisor/plugin-api';
import { FAULT_ADDRESS, FAULT_ERROR_CODE, FAULT_VECTOR, MMU_FLAGS } from '../cpu/state.ts';
import type { Engine } from '../engine/engine.ts';
import { WALK_FAULT, WALK_MMIO } from '../engine/memory-code.ts';
import { MmuFlag, SECOND_LEVEL_FAULT, WalkAccess } from '../memory/walk.ts';
import { SecondLevelRefusal } from './second-level.ts';
import { NO_WORDS, SUPERVISOR_CLEARS, WordAccess } from './word-access.ts';

/** Guest memory as a vCPU's page tables show it, for TypeScript: what `Vcpu` says of these methods (plugin-api). */
export class VirtualMemory {
  readonly #engine: Engine;
  readonly #wordAccess: WordAccess;
  /** MMU_FLAGS, as an index of words. */
  readonly #mmuFlags: number;

  constructor(engine: Engine) {
    this.#engine = engine;
    this.#wordAccess = new WordAccess(engine);
    this.#mmuFlags = (engine.base + MMU_FLAGS.offset) >>> 2;
  }

  /** Walk with the rights that `options` name; TLB and registers stay as they are. */
  #walk(gva: bigint, access: number, options: VirtualAccessOptions | undefined, probe = false): number {
    if (!options?.as && !probe) return this.#engine.walk(gva, access);
    const { words } = this.#engine.memory;
    const flags = words[this.#mmuFlags];
    let changed = flags | (probe ? MmuFlag.PROBE : 0);
    if (options?.as === 'user') changed |= MmuFlag.USER;
    else if (options?.as) changed &= ~SUPERVISOR_CLEARS;
    words[this.#mmuFlags] = changed;
    const host = this.#engine.walk(gva, access);
    words[this.#mmuFlags] = flags;
    return host;
  }
  #fault() {
    const { view } = this.#engine.memory;
    this.#refuse();
    const errorCode = view.getInt32(this.#engine.base + FAULT_ERROR_CODE.offset, true);
    return { ok: false as const, fault: { gva: this.#faultAddress, errorCode } };
  }

  /** A fault of the second level is none that the guest sees. */
  #refuse(): void {
    const { base, memory } = this.#engine;
    if (memory.words[(base + FAULT_VECTOR.offset) >>> 2] === SECOND_LEVEL_FAULT) throw new SecondLevelRefusal();
  }

  get #faultAddress(): bigint {
    return this.#engine.memory.view.getBigUint64(this.#engine.base + FAULT_ADDRESS.offset, true);
  }

  translate(gva: bigint, access: Access, options?: VirtualAccessOptions): Translation {
    const host = this.#walk(gva, WalkAccess[access], options, true);
    if (host === WALK_FAULT) return this.#fault();
    if (host === WALK_MMIO) return { ok: true, gpa: Number(this.#faultAddress) };
    return { ok: true, gpa: host - this.#engine.memory.layout.ram + Number(gva & 0xfffn) };
  }

  read(gva: bigint, sizeBytes: number, options?: VirtualAccessOptions): ReadResult {
    const bytes = new Uint8Array(sizeBytes);
    for (let done = 0; done < sizeBytes; ) {
      const at = BigInt.asUintN(64, gva + BigInt(done));
      const offset = Number(at & 0xfffn);
      const chunk = Math.min(sizeBytes - done, 4096 - offset);
      const host = this.#walk(at, WalkAccess.read, options);
      if (host === WALK_FAULT || host === WALK_MMIO) return this.#fault();
      copyBytes(this.#engine.memory.bytes, host + offset, bytes, done, chunk);
      done += chunk;
    }
    return { ok: true, bytes };
  }

  write(gva: bigint, bytes: Uint8Array, options?: VirtualAccessOptions): WriteResult {
    const first = Number(gva & 0xfffn);
    if (first + bytes.length <= 4096) return this.#writeWithinPage(gva, first, bytes, options);
    const places: { host: number; from: number; to: number }[] = [];
    for (let done = 0; done < bytes.length; ) {
      const at = BigInt.asUintN(64, gva + BigInt(done));
      const offset = Number(at & 0xfffn);
      const chunk = Math.min(bytes.length - done, 4096 - offset);
      const host = this.#walk(at, WalkAccess.write, options);
      if (host === WALK_FAULT || host === WALK_MMIO) return this.#fault();
      places.push({ host: host + offset, from: done, to: done + chunk });
      done += chunk;
    }
    for (const { host, from, to } of places) {
      copyBytes(bytes, from, this.#engine.memory.bytes, host, to - from);
      this.#engine.code.written(host, to - from);
    }
    return { ok: true };
  }

  #writeWithinPage(
    gva: bigint,
    offset: number,
    bytes: Uint8Array,
    options: VirtualAccessOptions | undefined,
  ): WriteResult {
    const host = this.#walk(BigInt.asUintN(64, gva), WalkAccess.write, options);
    if (host === WALK_FAULT || host === WALK_MMIO) return this.#fault();
    copyBytes(bytes, 0, this.#engine.memory.bytes, host + offset, bytes.length);
    this.#engine.code.written(host + offset, bytes.length);
    return WRITTEN;
  }

  readWords(gvaLow: number, gvaHigh: number, into: Int32Array, count: number, options?: VirtualAccessOptions): boolean {
    const host = this.#wordAccess.place(gvaLow, gvaHigh, count, WalkAccess.read, options);
    if (host > 0) return this.#wordAccess.load(host, into, count);
    if (host === NO_WORDS) return this.#noWords();
    const found = this.read(fromHalves(gvaLow, gvaHigh), count * 4, options);
    if (found.ok) new Uint8Array(into.buffer, into.byteOffset).set(found.bytes);
    return found.ok;
  }
  #noWords(): false {
    this.#refuse();
    return false;
  }
  writeWords(
    gvaLow: number,
    gvaHigh: number,
    from: Int32Array,
    count: number,
    options?: VirtualAccessOptions,
  ): boolean {
    const host = this.#wordAccess.place(gvaLow, gvaHigh, count, WalkAccess.write, options);
    if (host > 0) return this.#wordAccess.store(host, from, count);
    if (host === NO_WORDS) return this.#noWords();
    const bytes = new Uint8Array(from.buffer, from.byteOffset, count * 4);
    return this.write(fromHalves(gvaLow, gvaHigh), bytes, options).ok;
  }
}

const WRITTEN: WriteResult = { ok: true };
/** Below this, a loop is faster than setting up a typed-array copy on shared memory. */
const SHORT_COPY_BYTES = 96;

function copyBytes(from: Uint8Array, at: number, to: Uint8Array, toAt: number, sizeBytes: number): void {
  if (sizeBytes > SHORT_COPY_BYTES) {
    to.set(from.subarray(at, at + sizeBytes), toAt);
    return;
  }
  for (let i = 0; i < sizeBytes; i++) to[toAt + i] = from[at + i];
}

function fromHalves(low: number, high: number): bigint {
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}
