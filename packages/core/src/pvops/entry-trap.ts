import { branch } from './code.ts';
import type { RunningKernel } from './running-kernel.ts';

const ENDBR_BYTES = 4;
/**
 * What the function tracer leaves at a function's start (Linux, arch/x86/include/asm/nops.h): the NOP of five bytes that the
 * SDM recommends (vol. 2B, table 4-12), and in 32-bit code LEA ESI, [ESI+0] with a prefix.
 */
const TRACER_NOPS = [
  [0x0f, 0x1f, 0x44, 0x00, 0x00],
  [0x3e, 0x8d, 0x74, 0x26, 0x00],
] as const;
const NOP_BYTES = 5;

/** A call of ours at the start of one of the kernel's functions, in place of the function tracer's nop. */
export class EntryTrap {
  readonly #kernel: RunningKernel;
  /** Where the function starts; `undefined`: there is none. */
  readonly #start: bigint | undefined;
  readonly #handler: bigint;
  #nop: { readonly at: bigint; readonly bytes: readonly number[] } | undefined;

  /** `handler` is called with the function's arguments in their registers, and has to keep all of them. */
  constructor(kernel: RunningKernel, symbol: string, handler: bigint) {
    this.#kernel = kernel;
    this.#start = kernel.symbol(symbol);
    this.#handler = handler;
  }

  /** Whether the call is there, or can be. */
  get isPossible(): boolean {
    return this.#nop !== undefined || this.#findNop() !== undefined;
  }

  arm(on: boolean): void {
    if (on === (this.#nop !== undefined)) return;
    const nop = on ? this.#findNop() : this.#nop;
    if (nop === undefined) return;
    this.#nop = on ? nop : undefined;
    this.#kernel.write(nop.at, Uint8Array.from(on ? branch('call', nop.at, this.#handler) : nop.bytes));
  }

  /** At the function's start, or behind its ENDBR or what the kernel has made of it. */
  #findNop() {
    const start = this.#start;
    const code = start === undefined ? undefined : this.#kernel.read(start, ENDBR_BYTES + NOP_BYTES);
    if (start === undefined || !code) return undefined;
    for (const skip of [0, ENDBR_BYTES]) {
      const bytes = TRACER_NOPS.find((nop) => nop.every((byte, i) => code[skip + i] === byte));
      if (bytes) return { at: start + BigInt(skip), bytes };
    }
    return undefined;
  }
}
