/** For tests: one vCPU in 64-bit mode on a bare engine, and page tables to build by hand. */
import { EXIT_RECORD, FAULT_ADDRESS, FAULT_ERROR_CODE, FAULT_VECTOR } from '../../cpu/state.ts';
import { INSTRUCTION_EXITS } from '../../isa/instruction-exit.ts';
import { MachineMemory } from '../../machine/guest-memory.ts';
import { MachineVcpu } from '../../machine/vcpu.ts';
import { RECORD_BYTES } from '../../memory/layout.ts';
import { Pte } from '../../memory/walk.ts';
import { Engine, type EngineHost, type EngineOptions } from '../engine.ts';
import { ExitCode } from '../exit-code.ts';
import { EngineMemory } from '../memory.ts';

export const CODE64 = { selector: 8, base: 0n, limit: 0xffffffff, accessRights: 0xa09b } as const;
const MIB = 1 << 20;
const NAMES = Object.fromEntries(Object.entries(ExitCode).map(([name, code]) => [code, name])) as Record<
  number,
  keyof typeof ExitCode
>;

/** Bytes from hexadecimal digits; blanks are for the reader. */
export function hex(text: string): Uint8Array {
  return Uint8Array.from(text.replace(/\s/g, '').match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

/** How a run ended; RIP is at the instruction for faults and instruction exits. */
export interface Stop {
  readonly why: keyof typeof ExitCode;
  /** Instruction exits: which. */
  readonly exit?: string;
  readonly vector?: number;
  readonly errorCode?: number;
  /** Page faults: the address. */
  readonly address?: bigint;
  readonly rip: bigint;
  readonly executed: number;
}

export interface BenchOptions extends EngineOptions {
  readonly ramBytes?: number;
  readonly host?: Partial<EngineHost>;
  /** At most so many decoded records and code pages. */
  readonly room?: { readonly records: number; readonly pages: number };
  /** Memory is new: do not touch all of it. */
  readonly fresh?: boolean;
}

/** What needs a machine around the engine does nothing. */
export const IDLE_HELPERS: EngineHost['helpers'] = {
  rdtsc: () => -1,
  random: () => -1,
  invlpg: () => -1,
  writeCr3: () => -1,
};

export class TestBench {
  readonly memory: EngineMemory;
  readonly engine: Engine;
  readonly vcpu: MachineVcpu;
  readonly ram: MachineMemory;

  constructor(options: BenchOptions = {}) {
    this.memory = new EngineMemory(options.ramBytes ?? 8 * MIB);
    if (options.room) shrink(this.memory, options.room);
    const host: EngineHost = {
      mmioRead: (_gpa, into) => into.fill(0xff),
      mmioWrite: () => {},
      helpers: IDLE_HELPERS,
      ...options.host,
    };
    this.engine = new Engine(this.memory, host, { hot: [], regions: false, ...options });
    this.ram = new MachineMemory(
      this.memory,
      (hostAddress, size) => this.engine.code.written(hostAddress, size),
      (writes, again) => this.engine.codeWritten(writes, again),
    );
    this.vcpu = new MachineVcpu(0, this.engine);
    this.reset(options.fresh);
  }

  /** Registers, memory and everything cached as at first; paging is off. */
  reset(fresh = false): void {
    const { vcpu } = this;
    if (!fresh) this.ram.fill(0, this.ram.sizeBytes, 0);
    this.engine.code.flush();
    vcpu.gpr.fill(0n);
    vcpu.rflags = 2n;
    vcpu.cr0 = 0x11n;
    vcpu.cr2 = 0n;
    vcpu.cr3 = 0n;
    vcpu.cr4 = 0n;
    vcpu.efer = 0x500n;
    vcpu.setSegment(1, CODE64);
    vcpu.cpl = 0;
    vcpu.flushTlb();
  }

  /** Paging on with this root, with write protection and NX. */
  page(root: number): void {
    const { vcpu } = this;
    vcpu.cr4 = 0x620n;
    vcpu.efer = 0xd01n;
    vcpu.cr3 = BigInt(root);
    vcpu.cr0 = 0x80010011n;
  }

  put(gpa: number, code: string): this {
    this.ram.writeBytes(gpa, hex(code));
    return this;
  }

  /** Run from `rip` (default: where it is). */
  run(rip?: bigint, budget = 10_000): Stop {
    return this.#go(rip, budget, () => this.engine.run());
  }
  step(rip?: bigint, budget = 10_000): Stop {
    return this.#go(rip, budget, () => this.engine.step());
  }

  #go(rip: bigint | undefined, budget: number, go: () => number): Stop {
    const { engine, vcpu } = this;
    if (rip !== undefined) vcpu.rip = rip;
    engine.budget = budget;
    const why = NAMES[go()];
    const executed = budget - engine.budget;
    const { view } = this.memory;
    const { base } = engine;
    if (why === 'instruction') {
      engine.rewindToRecord();
      return { why, exit: INSTRUCTION_EXITS[engine.exitDetail], rip: vcpu.rip, executed };
    }
    if (why !== 'fault') return { why, rip: vcpu.rip, executed };
    if (view.getUint32(base + EXIT_RECORD.offset, true) !== 0) engine.rewindToRecord();
    const vector = view.getInt32(base + FAULT_VECTOR.offset, true);
    const errorCode = view.getInt32(base + FAULT_ERROR_CODE.offset, true);
    const address = view.getBigUint64(base + FAULT_ADDRESS.offset, true);
    return {
      why,
      vector,
      rip: vcpu.rip,
      executed,
      ...(errorCode < 0 ? {} : { errorCode }),
      ...(vector === 14 ? { address } : {}),
    };
  }
}

/** The layout only names limits: lower ones fit as well. */
function shrink(memory: EngineMemory, room: { records: number; pages: number }): void {
  const { layout } = memory;
  const smaller = { ...layout, recordsEnd: layout.records + room.records * RECORD_BYTES, entryTableCount: room.pages };
  Object.assign(memory, { layout: smaller });
}

/** Every place that is reached becomes a region at once, and soon a larger one. */
export const FORCED_REGIONS = { threshold: 1, batch: 1, growAfter: 2 } as const;

const ENTRIES_MASK = 0x000ffffffffff000n;

/** 4-level page tables, made as pages are mapped. Tables are taken from `free` upwards. */
export class PageTables {
  readonly root: number;
  readonly #ram: MachineMemory;
  #free: number;
  constructor(ram: MachineMemory, free: number) {
    this.#ram = ram;
    this.root = free;
    this.#free = free + 4096;
  }
  /** gpa of the entry that maps `gva` at a level (1: 4 KiB pages), with tables down to it. */
  entry(gva: bigint, level = 1): number {
    let table = this.root;
    for (let at = 4; ; at--) {
      const entry = table + Number((gva >> BigInt(12 + 9 * (at - 1))) & 511n) * 8;
      if (at === level) return entry;
      let next = this.#ram.read64(entry);
      if (!(next & 1n)) {
        next = BigInt(this.#free) | BigInt(Pte.present | Pte.write | Pte.user);
        this.#free += 4096;
        this.#ram.write64(entry, next);
      }
      table = Number(next & ENTRIES_MASK);
    }
  }
  /** Map a page; `bits` besides the address, present included. */
  map(gva: bigint, gpa: number, bits: bigint | number = Pte.present | Pte.write | Pte.user, level = 1): void {
    this.#ram.write64(this.entry(gva, level), BigInt(gpa) | BigInt(bits) | (level > 1 ? BigInt(Pte.large) : 0n));
  }
  unmap(gva: bigint): void {
    this.#ram.write64(this.entry(gva), 0n);
  }
  /** Map [from, to) to itself. */
  identity(from: number, to: number, bits: bigint | number = Pte.present | Pte.write | Pte.user): void {
    for (let page = from; page < to; page += 4096) this.map(BigInt(page), page, bits);
  }
}
