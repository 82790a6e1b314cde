import { type OpsManifest, PolyvisorError } from '@polyvisor/plugin-api';
import { CALLEE_SAVE_BYTES, calleeSaveThunk } from './link/thunk.ts';
import type { LiveSite } from './live-site.ts';
import type { LiveSlots } from './live-slots.ts';
import type { TextPlace } from './module.ts';
import { moduleTitle } from './module-error.ts';
import type { RunningKernel } from './running-kernel.ts';
import type { TextMemory } from './text-memory.ts';

/** How far a branch with 32 bits of displacement leads, less what sites and thunks are long. */
const REACH = 2n ** 31n - 4096n;
const reaches = (from: bigint, to: bigint) => to - from < REACH && from - to < REACH;

/** Functions that the guest has already, as operations. */
export class GuestFunctions {
  readonly #kernel: RunningKernel;
  readonly #text: TextMemory;
  readonly #slots: LiveSlots;
  /** By the function that each leads to. */
  readonly #thunks = new Map<bigint, TextPlace>();

  constructor(kernel: RunningKernel, text: TextMemory, slots: LiveSlots) {
    this.#kernel = kernel;
    this.#text = text;
    this.#slots = slots;
  }

  /** Throws PV5026 if a slot's gate or one of its call sites does not reach the function for it. */
  checkReach({ name, version }: OpsManifest, table: ReadonlyMap<string, bigint>, sites: readonly LiveSite[]): void {
    // 32-bit code reaches every address.
    if (this.#kernel.wordBytes !== 8) return;
    for (const [slot, gva] of table) {
      const { gate, slot: own } = this.#slots.byName(slot);
      const calls = sites.filter((site) => site.slot === own.index);
      if ([gate, ...calls.map((site) => site.gva)].every((from) => reaches(from, gva))) continue;
      const what = `ops module ${moduleTitle(name, version, [slot])}: its function is out of reach of the kernel's calls`;
      throw new PolyvisorError('PV5026', what, 'place it where the kernel places its modules', 10);
    }
  }

  /** A C function, through a thunk where callers keep their registers; the same one each time. Throws PV5013. */
  callable(slot: string, gva: bigint): bigint {
    if (this.#slots.byName(slot).slot.convention !== 'calleeSave') return gva;
    let thunk = this.#thunks.get(gva);
    if (!thunk) {
      thunk = this.#text.allocateText(CALLEE_SAVE_BYTES);
      this.#thunks.set(gva, thunk);
      const width = this.#kernel.wordBytes === 8 ? 64 : 32;
      this.#kernel.machine.memory.writeBytes(thunk.gpa, calleeSaveThunk(width, thunk.gva, gva));
    }
    return thunk.gva;
  }
}
