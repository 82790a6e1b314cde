import { CR4, DR } from '../../cpu/state.ts';
import type { MachineVcpu } from '../vcpu.ts';

/** DR6, what has happened (SDM vol. 3B, 18.2.3): B0 to B3 below these. */
export const Dr6 = { BD: 1 << 13, BS: 1 << 14 } as const;
const B0_TO_B3 = 15;
/** DR7 (SDM vol. 3B, 18.2.4): two enable bits for each breakpoint from bit 0 on, GD, four bits for each from 16 on. */
const DR7_ENABLES = 0xff;
export const DR7_GD = 1 << 13;
const BREAKPOINTS = [0, 1, 2, 3] as const;
const CR4_DE = 8;

/** What a breakpoint waits for: R/Wn. */
const Kind = { execute: 0, write: 1, port: 2, readWrite: 3 } as const;
/** Bytes by LENn. */
const LENGTHS = [1, 2, 8, 4] as const;

/** Linear address of the first byte, and how an instruction reached it. */
export interface DataAccess {
  readonly address: bigint;
  readonly sizeBytes: number;
  readonly write: boolean;
}

interface Breakpoint {
  readonly kind: number;
  readonly first: bigint;
  readonly sizeBytes: number;
}

/** Whether DR7 enables any. */
export const breakpointsEnabled = (vcpu: MachineVcpu): boolean => (vcpu.slotHalf(DR[7], 0) & DR7_ENABLES) !== 0;

/** Bits B0 to B3 of those enabled breakpoints for which `matches` holds. */
function hits(vcpu: MachineVcpu, matches: (breakpoint: Breakpoint) => boolean): number {
  const control = vcpu.slotHalf(DR[7], 0);
  let bits = 0;
  for (const index of BREAKPOINTS) {
    if (!(control & (3 << (2 * index)))) continue;
    const settings = (control >>> (16 + 4 * index)) & 15;
    const sizeBytes = LENGTHS[settings >> 2];
    // The low address bits that the length covers are ignored (18.2.5).
    const first = vcpu.slot64(DR[index]) & ~BigInt(sizeBytes - 1);
    if (matches({ kind: settings & 3, first, sizeBytes })) bits |= 1 << index;
  }
  return bits;
}

const overlaps = ({ first, sizeBytes }: Breakpoint, address: bigint, bytes: number): boolean =>
  address < first + BigInt(sizeBytes) && first < address + BigInt(bytes);

/** Of an instruction that begins at a linear address. */
export function instructionHits(vcpu: MachineVcpu, linear: bigint): number {
  return hits(vcpu, ({ kind, first }) => kind === Kind.execute && first === linear);
}

export function dataHits(vcpu: MachineVcpu, accesses: readonly DataAccess[]): number {
  const watched = (kind: number, write: boolean) => kind === Kind.readWrite || (kind === Kind.write && write);
  return hits(vcpu, (breakpoint) =>
    accesses.some(
      ({ address, sizeBytes, write }) => watched(breakpoint.kind, write) && overlaps(breakpoint, address, sizeBytes),
    ),
  );
}

/** Of IN and OUT; only with CR4.DE. */
export function portHits(vcpu: MachineVcpu, port: number, sizeBytes: number): number {
  if (!(vcpu.slotHalf(CR4, 0) & CR4_DE)) return 0;
  return hits(vcpu, (breakpoint) => breakpoint.kind === Kind.port && overlaps(breakpoint, BigInt(port), sizeBytes));
}

/** Whether one is enabled that waits for data: memory that is read or written. */
export function watchesData(vcpu: MachineVcpu): boolean {
  return hits(vcpu, ({ kind }) => kind === Kind.write || kind === Kind.readWrite) !== 0;
}

/** Add what has happened to DR6. Bits of earlier breakpoints go when there are new ones; no others are ever cleared. */
export function reportInDr6(vcpu: MachineVcpu, bits: number): void {
  vcpu.latestDebug = { conditions: bits, dr6: vcpu.slot64(DR[6]) };
  const kept = bits & B0_TO_B3 ? ~BigInt(B0_TO_B3) : ~0n;
  vcpu.setSlot64(DR[6], (vcpu.slot64(DR[6]) & kept) | BigInt(bits));
}
/** MOV to or from a debug register raises #DB first: "general detect". */
export const detectsAccess = (vcpu: MachineVcpu): boolean => (vcpu.slotHalf(DR[7], 0) & DR7_GD) !== 0;
/** A debug exception is delivered: its handler may use the debug registers. */
export function allowAccess(vcpu: MachineVcpu): void {
  vcpu.setSlot64(DR[7], vcpu.slot64(DR[7]) & ~BigInt(DR7_GD));
}
