/** What the checks of a VM entry have in common. */
import type { GuestMemory } from '@polyvisor/plugin-api';
import { EntryControl, Secondary } from '../controls.ts';
import type { Vmcs } from '../vmcs.ts';

/** The controls as VM entry has read them. */
export interface Controls {
  readonly pin: number;
  readonly primary: number;
  /** 0 if they are not activated. */
  readonly secondary: number;
  readonly exit: number;
  readonly entry: number;
}

/** What is looked at. */
export interface Entry {
  readonly vmcs: Vmcs;
  readonly controls: Controls;
  readonly memory: GuestMemory;
  /** Bits of CR4 that the processor has, VMXE among them. */
  readonly cr4Bits: bigint;
  /** EFER.LMA at the entry. */
  readonly isHostLong: boolean;
}

/** True where the state is illegal; what it says is for the log. */
export type Check = readonly [what: string, isIllegal: (entry: Entry) => boolean];
export const firstOf = (checks: readonly Check[], entry: Entry): string | undefined =>
  checks.find(([, isIllegal]) => isIllegal(entry))?.[0];

export const Cr0 = { PE: 1n, NW: 1n << 29n, CD: 1n << 30n, PG: 1n << 31n } as const;
export const Cr4 = { PAE: 1n << 5n, PCIDE: 1n << 17n } as const;
export const Efer = { LME: 1n << 8n, LMA: 1n << 10n, KNOWN: 0xd01n } as const;
export const Rflags = { TF: 1n << 8n, IF: 1n << 9n, VM: 1n << 17n } as const;

const PHYSICAL_ADDRESS_BITS = 40n;
const PAGE_MASK = 0xfffn;
export const isBeyondPhysical = (address: bigint): boolean => address >> PHYSICAL_ADDRESS_BITS !== 0n;
export const isPage = (address: bigint): boolean => (address & PAGE_MASK) === 0n && !isBeyondPhysical(address);
export const isCanonical = (address: bigint): boolean => BigInt.asUintN(64, BigInt.asIntN(48, address)) === address;
export const isWide = (value: bigint): boolean => value >> 32n !== 0n;
export const has = (value: bigint, bits: bigint): boolean => (value & bits) !== 0n;

/** Memory types of IA32_PAT: UC, WC, WT, WP, WB, UC- (SDM vol. 3A, 11.12.2). */
const PAT_TYPES: ReadonlySet<number> = new Set([0, 1, 4, 5, 6, 7]);
export const isIllegalPat = (pat: bigint): boolean =>
  Array.from({ length: 8 }, (_, i) => Number((pat >> BigInt(8 * i)) & 0xffn)).some((type) => !PAT_TYPES.has(type));

export const isUnrestricted = ({ controls }: Entry): boolean =>
  (controls.secondary & Secondary.UNRESTRICTED_GUEST) !== 0;
export const usesEpt = ({ controls }: Entry): boolean => (controls.secondary & Secondary.ENABLE_EPT) !== 0;
export const isLongGuest = ({ controls }: Entry): boolean => (controls.entry & EntryControl.IA32E_MODE_GUEST) !== 0;
