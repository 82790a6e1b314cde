import type { L1Entries, XenVcpu } from '../domain.ts';
import type { PvDomain } from '../pvDomain.ts';
import { FrameType } from './frames.ts';
import { OK } from './pageTables.ts';
import { l1EntryOf } from './vaMapping.ts';

const ENTRY_BYTES = 8;
const ENTRIES_PER_TABLE = 512;

/** L1 entries of a PV guest, for operations other than its own updates; each entry keeps its references as ever. */
export class PvL1Entries implements L1Entries {
  readonly #domain: PvDomain;

  constructor(domain: PvDomain) {
    this.#domain = domain;
  }

  find(vcpu: XenVcpu, address: bigint, by: 'gva' | 'machineAddress'): number | undefined {
    if (by === 'gva') {
      const words = l1EntryOf(this.#domain, vcpu, address);
      return words < 0 ? undefined : words >>> 1;
    }
    const { mm, memory } = this.#domain;
    if (address % BigInt(ENTRY_BYTES) !== 0n || address < 0n || address >= BigInt(memory.sizeBytes)) return undefined;
    const entry = Number(address) / ENTRY_BYTES;
    const mfn = Math.floor(entry / ENTRIES_PER_TABLE);
    const isTable = mm.isGuestFrame(mfn) && mm.frames.typeOf(mfn) === FrameType.L1 && mm.frames.typeCount(mfn) > 0;
    return isTable ? entry : undefined;
  }

  read(entry: number): { lo: number; hi: number } {
    const { words } = this.#domain.memory;
    return { lo: words[entry * 2], hi: words[entry * 2 + 1] };
  }

  replace(entry: number, lo: number, hi: number): boolean {
    const { mm } = this.#domain;
    if (mm.tables.update(Math.floor(entry / ENTRIES_PER_TABLE), entry % ENTRIES_PER_TABLE, lo, hi, false) !== OK)
      return false;
    mm.flushAll();
    return true;
  }

  move(from: number, to: number): void {
    this.#domain.mm.tables.moveL1(from * 2, to * 2);
    this.#domain.mm.flushAll();
  }

  hold(mfn: number, write: boolean): boolean {
    const { mm } = this.#domain;
    if (write) return mm.takeWritable(mfn);
    if (!mm.isGuestFrame(mfn)) return false;
    mm.frames.refs[mfn]++;
    return true;
  }

  release(mfn: number, write: boolean): void {
    const { mm } = this.#domain;
    if (write) mm.releaseWritable(mfn);
    else mm.frames.put(mfn);
  }
}
