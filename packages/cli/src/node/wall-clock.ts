/**
 * Time of day at the start of a machine under `--clock icount`, 2025-01-01T00:00:00Z: a run must
 * not depend on when it takes place.
 */
const FIXED_EPOCH_NS = 1_735_689_600_000_000_000n;

/** The host's clocks, as the machine sees them. */
export function wallClockFor(kind: 'icount' | 'wall'): { nowNs(): number; epochNs(): bigint } {
  return {
    nowNs: () => performance.now() * 1e6,
    epochNs: () => (kind === 'icount' ? FIXED_EPOCH_NS : BigInt(Date.now()) * 1_000_000n),
  };
}
