import { EXIT_RECORD, FAULT_ADDRESS, FAULT_ERROR_CODE, FAULT_VECTOR } from '../../../packages/core/src/cpu/state.ts';
import { Engine } from '../../../packages/core/src/engine/engine.ts';
import { ExitCode } from '../../../packages/core/src/engine/exit-code.ts';
import { EngineMemory } from '../../../packages/core/src/engine/memory.ts';
import { IDLE_HELPERS } from '../../../packages/core/src/engine/testing/test-bench.ts';
import { INSTRUCTION_EXITS } from '../../../packages/core/src/isa/instruction-exit.ts';
import { MachineVcpu } from '../../../packages/core/src/machine/vcpu.ts';
import { Pte } from '../../../packages/core/src/memory/walk.ts';
import type { CaseMode, ExpandedCase, Patch } from '../case.ts';
import { PAGE_SIZE_BYTES, REGIONS, Rights } from '../layout.ts';
import { type CaseRunner, MAX_STEPS, type RunResult } from '../runner.ts';
import { CR4_VALUE, StateBlock } from './state-block.ts';

const RAM_SIZE_BYTES = 4 << 20;
const TABLES_GPA = 0x1000;
const REGIONS_GPA = 0x200000;
const NO_EXECUTE = 1n << 63n;
const UNDEFINED_OPCODE = 6;
const BREAKPOINT = 3;

interface MappedPage {
  readonly address: number;
  readonly host: number;
  readonly writable: boolean;
  readonly initial: Uint8Array;
  readonly before: Uint8Array;
}

/** How the engine is entered: so many instructions at a time, or one by one; and how it runs them. */
export interface Entry {
  readonly budget?: number;
  readonly step?: boolean;
  /** All code is compiled into regions the first time that it is reached. */
  readonly regions?: boolean;
}

/** The engine on a vCPU with page tables, at CPL 3. */
export class EngineRunner implements CaseRunner {
  readonly name: string;
  readonly #entry: Entry;
  readonly #memory = new EngineMemory(RAM_SIZE_BYTES);
  readonly #pages = new Map<number, MappedPage>();
  readonly #engine: Engine;
  readonly #vcpu: MachineVcpu;
  readonly #state: StateBlock;
  #mode: CaseMode | undefined;
  #patched: readonly Patch[] = [];

  constructor(entry: Entry = {}) {
    const tier = entry.regions ? 'tier 1' : 'tier 0';
    this.name = entry.step ? `${tier}, single steps` : entry.budget ? `${tier}, ${entry.budget} at a time` : tier;
    this.#entry = entry;
    this.#mapRegions();
    const host = {
      mmioRead: () => {},
      mmioWrite: () => {},
      helpers: IDLE_HELPERS,
    };
    this.#engine = new Engine(this.#memory, host, {
      regions: entry.regions ? { threshold: 1, batch: 1 } : false,
    });
    this.#vcpu = new MachineVcpu(0, this.#engine);
    this.#state = new StateBlock(this.#memory.view, this.#engine.base);
  }

  #mapRegions(): void {
    let nextTable = TABLES_GPA + PAGE_SIZE_BYTES;
    let nextPage = REGIONS_GPA;
    const { view, layout, bytes } = this.#memory;
    const descend = (table: number, index: number): number => {
      const at = layout.ram + table + index * 8;
      const entry = view.getBigUint64(at, true);
      if (entry & 1n) return Number(entry & 0xffffff000n);
      view.setBigUint64(at, BigInt(nextTable | Pte.present | Pte.write | Pte.user), true);
      nextTable += PAGE_SIZE_BYTES;
      return nextTable - PAGE_SIZE_BYTES;
    };
    for (const region of REGIONS) {
      for (let at = 0; at < region.bytes.length; at += PAGE_SIZE_BYTES) {
        const address = region.address + at;
        const directory = descend(descend(TABLES_GPA, 0), address >>> 30);
        const table = descend(directory, (address >>> 21) & 511);
        const writable = (region.rights & Rights.write) !== 0;
        const noExecute = region.rights & Rights.execute ? 0n : NO_EXECUTE;
        const entry = BigInt(nextPage | Pte.present | Pte.user | (writable ? Pte.write : 0)) | noExecute;
        view.setBigUint64(layout.ram + table + ((address >>> 12) & 511) * 8, entry, true);
        const initial = region.bytes.subarray(at, at + PAGE_SIZE_BYTES);
        const host = layout.ram + nextPage;
        bytes.set(initial, host);
        this.#pages.set(address, { address, host, writable, initial, before: initial.slice() });
        nextPage += PAGE_SIZE_BYTES;
      }
    }
  }

  #enter(mode: CaseMode): void {
    if (this.#mode === mode) return;
    this.#mode = mode;
    this.#state.enterUserMode(mode);
    this.#vcpu.cr4 = CR4_VALUE;
    this.#vcpu.cr3 = BigInt(TABLES_GPA);
    // The level has been put into its slot.
    this.#vcpu.updateMmu();
  }

  #write(address: number, bytes: Uint8Array, isPatch: boolean): void {
    for (let i = 0; i < bytes.length; i++) {
      const page = this.#pages.get((address + i) & ~0xfff) as MappedPage;
      const at = (address + i) & 0xfff;
      this.#memory.bytes[page.host + at] = isPatch ? bytes[i] : page.initial[at];
      page.before[at] = this.#memory.bytes[page.host + at];
      this.#engine.code.written(page.host + at, 1);
    }
  }

  run({ input, image, patches }: ExpandedCase): RunResult {
    for (const { address, bytes } of this.#patched) this.#write(address, bytes, false);
    for (const { address, bytes } of patches) this.#write(address, bytes, true);
    this.#patched = patches;
    this.#enter(input.mode);
    this.#state.load(image);
    const result = this.#ended(this.#go());
    this.#undoChanges();
    return result;
  }

  /** Enter the engine until it stops for good. */
  #go(): number {
    const { budget = MAX_STEPS, step = false } = this.#entry;
    const again = step ? ExitCode.stop : ExitCode.budget;
    let code: number = again;
    for (let left = MAX_STEPS; left > 0 && code === again; left -= step ? 1 : budget) {
      this.#engine.budget = budget;
      code = step ? this.#engine.step() : this.#engine.run();
    }
    return code;
  }

  #get32(slot: { offset: number }): number {
    return this.#memory.view.getInt32(this.#engine.base + slot.offset, true);
  }

  #ended(code: number): RunResult {
    if (code === ExitCode.fault) {
      if (this.#get32(EXIT_RECORD) !== 0) this.#engine.rewindToRecord();
      const cr2 = this.#memory.view.getBigUint64(this.#engine.base + FAULT_ADDRESS.offset, true);
      return this.#outcome(this.#get32(FAULT_VECTOR), Math.max(0, this.#get32(FAULT_ERROR_CODE)), cr2);
    }
    if (code !== ExitCode.instruction) return { kind: 'left', reason: `exit code ${code}` };
    this.#engine.rewindToRecord();
    const name = INSTRUCTION_EXITS[this.#engine.exitDetail];
    if (name === 'int3') {
      this.#state.rip += BigInt(this.#engine.exitLengthBytes - 1);
      return this.#outcome(BREAKPOINT, 0, 0n);
    }
    if (name === 'undefined') return this.#outcome(UNDEFINED_OPCODE, 0, 0n);
    return { kind: 'left', reason: name };
  }

  #outcome(vector: number, errorCode: number, address: bigint): RunResult {
    const changes = this.#changes();
    return {
      kind: 'ran',
      outcome: { vector, errorCode, cr2: vector === 14 ? address : 0n, image: this.#state.read(), changes },
    };
  }

  #changes(): Patch[] {
    const { bytes } = this.#memory;
    const found: Patch[] = [];
    for (const { address, host, writable, before } of this.#pages.values()) {
      if (!writable || Buffer.compare(bytes.subarray(host, host + PAGE_SIZE_BYTES), before) === 0) continue;
      for (let i = 0; i < PAGE_SIZE_BYTES; i++) {
        if (bytes[host + i] !== before[i])
          found.push({ address: address + i, bytes: bytes.slice(host + i, host + i + 1) });
      }
    }
    return found;
  }

  #undoChanges(): void {
    const { bytes } = this.#memory;
    for (const { host, writable, before } of this.#pages.values()) {
      if (!writable || Buffer.compare(bytes.subarray(host, host + PAGE_SIZE_BYTES), before) === 0) continue;
      bytes.set(before, host);
      this.#engine.code.written(host, PAGE_SIZE_BYTES);
    }
  }
}
