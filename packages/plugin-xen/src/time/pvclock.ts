/**
 * The arithmetic of struct vcpu_time_info (public/xen.h):
 * `system_time + (((tsc − tsc_timestamp) << tsc_shift) × tsc_to_system_mul >> 32)` nanoseconds.
 */
export interface PvclockScale {
  /** 32-bit binary fraction with its top bit set. */
  readonly multiplier: number;
  /** −32 … 31; negative shifts right. */
  readonly shift: number;
}

const NS_PER_SECOND = 1_000_000_000n;
const TOP_BIT = 1n << 31n;

/** The most exact scale for a counter of `tscHz` ticks a second. */
export function pvclockScale(tscHz: number): PvclockScale {
  const hz = BigInt(Math.max(1, Math.round(tscHz)));
  let shift = 0;
  let multiplier = (NS_PER_SECOND << 32n) / hz;
  while (multiplier >= 1n << 32n) multiplier = (NS_PER_SECOND << 32n) / (hz << BigInt(++shift));
  while (multiplier < TOP_BIT) multiplier = ((NS_PER_SECOND << 32n) << BigInt(-(--shift))) / hz;
  return { multiplier: Number(multiplier), shift };
}

/** Nanoseconds for `ticks`, rounded as a guest rounds. */
export function scaleTicks(ticks: bigint, scale: PvclockScale): bigint {
  const shifted = scale.shift >= 0 ? ticks << BigInt(scale.shift) : ticks >> BigInt(-scale.shift);
  return (shifted * BigInt(scale.multiplier)) >> 32n;
}
