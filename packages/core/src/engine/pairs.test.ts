import { expect, it } from 'vitest';
import { GPR, RIP } from '../cpu/state.ts';
import { MachineVcpu } from '../machine/vcpu.ts';
import { Engine } from './engine.ts';
import { ExitCode } from './exit-code.ts';
import { HOT_INSTRUCTIONS } from './hot.ts';
import { EngineMemory } from './memory.ts';
import { IDLE_HELPERS } from './testing/test-bench.ts';

const CODE = 0x4000;
const STACK = 0x8000;
const HLT = 'f4';
const host = { mmioRead() {}, mmioWrite() {}, helpers: IDLE_HELPERS };

const bytesOf = (hex: string) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));

/** A deterministic stream of 32-bit numbers (xorshift). */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

class Bench {
  readonly #memory = new EngineMemory(1 << 20);
  readonly #engine: Engine;
  readonly #vcpu: MachineVcpu;
  constructor(hot: readonly string[]) {
    this.#engine = new Engine(this.#memory, host, { hot });
    this.#vcpu = new MachineVcpu(0, this.#engine);
    this.#vcpu.efer = 0x500n;
    this.#vcpu.setSegment(1, { selector: 8, base: 0n, limit: 0xffffffff, accessRights: 0xa09b });
  }
  /** Run the bytes with registers and flags from `seed`; what can be seen afterwards. */
  run(code: Uint8Array, seed: number): unknown {
    const { layout, bytes } = this.#memory;
    const next = numbers(seed);
    for (let i = 0; i < 0x4000; i++) bytes[layout.ram + i] = next();
    bytes.fill(0xf4, layout.ram + CODE - 256, layout.ram + CODE + 1024);
    bytes.set(code, layout.ram + CODE);
    this.#engine.code.written(layout.ram + CODE - 256, 1280);
    // Small values, so that most memory operands lie in memory.
    for (let i = 0; i < 16; i++) this.#vcpu.gpr[i] = BigInt(next() & (i & 1 ? 0xfff : 0xf));
    this.#vcpu.gpr[4] = BigInt(STACK);
    this.#vcpu.rflags = BigInt(next() & 0x8d5) | 2n;
    this.#vcpu.rip = BigInt(CODE);
    this.#engine.budget = 8;
    const code0 = this.#engine.run();
    if (code0 === ExitCode.fault || code0 === ExitCode.instruction) this.#engine.rewindToRecord();
    const registers = Array.from(GPR, (_, i) => this.#vcpu.gpr[i]);
    return {
      code: code0,
      rip: this.#vcpu.slot64(RIP),
      registers,
      flags: this.#vcpu.rflags,
      budget: this.#engine.budget,
    };
  }
}

it('a pair of instructions in one handler does what they do one by one', () => {
  const pairs = HOT_INSTRUCTIONS.filter((example) => example.includes('+'));
  expect(pairs.length).toBeGreaterThan(20);
  const fused = new Bench(HOT_INSTRUCTIONS);
  const plain = new Bench([]);
  for (const pair of pairs) {
    const code = bytesOf(pair.replaceAll('q:', '').replace('+', '') + HLT);
    for (let seed = 1; seed <= 20; seed++) {
      expect(fused.run(code, seed * 7919), `${pair}, seed ${seed}`).toEqual(plain.run(code, seed * 7919));
    }
  }
});
