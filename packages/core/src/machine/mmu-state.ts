import { Flag } from '../isa/flags.ts';
import { MmuFlag } from '../memory/walk.ts';

const Cr0 = { WP: 1 << 16, PG: 1 << 31 } as const;
const Cr4 = { PSE: 1 << 4, PAE: 1 << 5, SMEP: 1 << 20, SMAP: 1 << 21 } as const;
const Efer = { LMA: 1 << 10, NXE: 1 << 11 } as const;

/** What the page walk depends on besides CR3 and memory: the low halves of registers. */
interface PagingControls {
  readonly cr0: number;
  readonly cr4: number;
  readonly efer: number;
  readonly eflags: number;
  readonly cpl: number;
  readonly hasSecondLevel: boolean;
}

/** MMU_FLAGS for these registers (SDM vol. 3A, 4.1.1 and 4.6). */
export function mmuFlags({ cr0, cr4, efer, eflags, cpl, hasSecondLevel }: PagingControls): number {
  const fourLevel = (efer & Efer.LMA) !== 0;
  const pae = (cr4 & Cr4.PAE) !== 0;
  return (
    (cr0 & Cr0.PG ? MmuFlag.PAGING : 0) |
    (fourLevel ? MmuFlag.FOUR_LEVEL : pae ? MmuFlag.PAE : cr4 & Cr4.PSE ? MmuFlag.PSE : 0) |
    (cr0 & Cr0.WP ? MmuFlag.WRITE_PROTECT : 0) |
    (efer & Efer.NXE && (fourLevel || pae) ? MmuFlag.NO_EXECUTE : 0) |
    (cr4 & Cr4.SMEP ? MmuFlag.SMEP : 0) |
    (cr4 & Cr4.SMAP && !(eflags & Flag.AC) ? MmuFlag.SMAP : 0) |
    (cpl === 3 ? MmuFlag.USER : 0) |
    (hasSecondLevel ? MmuFlag.SECOND_LEVEL : 0)
  );
}

/** Whether CR3 names four PDPTEs that the processor keeps in registers (SDM vol. 3A, 4.4.1). */
export const usesPdptes = (flags: number): boolean =>
  (flags & (MmuFlag.PAGING | MmuFlag.PAE)) === (MmuFlag.PAGING | MmuFlag.PAE);

const MANNERS = 256;
const MODES = 8;
/** MMU_FLAGS are below this, and numbers of address spaces below that. */
const FLAGS = 2048;
export const ADDRESS_SPACES = 256;

/**
 * Keys of TLB banks: the root's number, and a small number for each manner of access (MMU flags and code mode) that
 * has been met, so that keys of page-aligned roots stay small integers.
 */
export class BankKeys {
  readonly #manners = new Map<number, number>();
  readonly #exhausted: () => void;
  /** Whose keys are asked for. It counts with PAE paging, whose upper entries each vCPU keeps as it has loaded them. */
  vcpu = 0;
  /** Of whose translations: {@link Assist.addressSpace}. */
  addressSpace = 0;
  /** Several vCPUs ask for them. */
  readonly isShared: boolean;
  /** `exhausted`: keys given so far will mean something else; forget all banks. */
  constructor(exhausted: () => void, isShared = false) {
    this.#exhausted = exhausted;
    this.isShared = isShared;
  }
  /** So many manners can be asked for without those before losing their meaning. */
  makeRoom(manners: number): void {
    if (this.#manners.size + manners <= MANNERS) return;
    this.#manners.clear();
    this.#exhausted();
  }
  /** The part of a key that does not come from CR3. */
  manner(flags: number, mode: number): number {
    const withVcpu = flags + (usesPdptes(flags) ? this.vcpu * FLAGS : 0);
    const both = (withVcpu * ADDRESS_SPACES + this.addressSpace) * MODES + mode;
    let manner = this.#manners.get(both);
    if (manner === undefined) {
      this.makeRoom(1);
      manner = this.#manners.size;
      this.#manners.set(both, manner);
    }
    return manner;
  }
}
/** Number of the root that CR3 names, given in halves. PAE roots are aligned to 32 bytes only: several may share a page. */
export const rootNumber = (low: number, high: number, flags: number): number =>
  flags & MmuFlag.PAE ? low >>> 5 : (low >>> 12) + (high & 0xfffff) * 0x100000;
export const bankKey = (root: number, manner: number): number => root * MANNERS + manner;
export const rootOfKey = (key: number): number => Math.floor(key / MANNERS);
