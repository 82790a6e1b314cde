import { createCipheriv, randomFillSync } from 'node:crypto';
import type { EntropyBackend } from '@polyvisor/plugin-api';

/** The host's random numbers; under `icount` a fixed sequence, so that a run can be repeated. */
export function entropyFor(clock: 'icount' | 'wall'): EntropyBackend {
  if (clock === 'wall') return { fill: (into) => void randomFillSync(into) };
  const sequence = createCipheriv('aes-256-ctr', new Uint8Array(32), new Uint8Array(16));
  return { fill: (into) => into.set(sequence.update(new Uint8Array(into.length))) };
}
