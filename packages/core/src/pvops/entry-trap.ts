import { branch } from './code.ts';
import type { RunningKernel } from './running-kernel.ts';

const ENDBR_BYTES = 4;
/** What the function tracer leaves at a function's start (SDM vol. 2B, table 4-12). */
const TRACER_NOP = [0x0f, 0x1f, 0x44, 0x00, 0x00] as const;

/** A call of ours at the start of one of the kernel's functions, in place of the function tracer's nop. */
export class EntryTrap {
  readonly #kernel: RunningKernel;
  readonly #symbol: string;
  readonly #handler: bigint;
  #at: bigint | undefined;

  /** `handler` is called with the function's arguments in their registers, and has to keep all of them. */
  constructor(kernel: RunningKernel, symbol: string, handler: bigint) {
    this.#kernel = kernel;
    this.#symbol = symbol;
    this.#handler = handler;
  }

  /** Whether the call is there, or can be. */
  get isPossible(): boolean {
    return this.#at !== undefined || this.#nop() !== undefined;
  }

  arm(on: boolean): void {
    if (on === (this.#at !== undefined)) return;
    const at = on ? this.#nop() : this.#at;
    if (at === undefined) return;
    this.#at = on ? at : undefined;
    this.#kernel.write(at, Uint8Array.from(on ? branch('call', at, this.#handler) : TRACER_NOP));
  }

  /** At the function's start, or behind its ENDBR64 or what the kernel has made of it. */
  #nop(): bigint | undefined {
    const start = this.#kernel.symbol(this.#symbol);
    const code = start === undefined ? undefined : this.#kernel.read(start, ENDBR_BYTES + TRACER_NOP.length);
    if (start === undefined || !code) return undefined;
    const skip = [0, ENDBR_BYTES].find((offset) => TRACER_NOP.every((byte, i) => code[offset + i] === byte));
    return skip === undefined ? undefined : start + BigInt(skip);
  }
}
