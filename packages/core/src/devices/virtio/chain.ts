import type { DeviceMemory } from './memory.ts';

/** A piece of guest memory that a descriptor names. */
export interface Segment {
  readonly gpa: number;
  readonly sizeBytes: number;
}

/** A request: what the device may read, and, after it, what it may write. Both lie inside guest memory. */
export class Chain {
  /** Index of the first descriptor. */
  readonly head: number;
  readonly #memory: DeviceMemory;
  readonly #readable: readonly Segment[];
  readonly #writable: readonly Segment[];
  readonly readableBytes: number;
  readonly writableBytes: number;

  constructor(memory: DeviceMemory, head: number, readable: readonly Segment[], writable: readonly Segment[]) {
    this.#memory = memory;
    this.head = head;
    this.#readable = readable;
    this.#writable = writable;
    this.readableBytes = total(readable);
    this.writableBytes = total(writable);
  }

  /** A copy of readable bytes; shorter where there are no more. */
  read(offset: number, sizeBytes: number): Uint8Array {
    const bytes = new Uint8Array(Math.max(0, Math.min(sizeBytes, this.readableBytes - offset)));
    spread(this.#readable, offset, bytes.length, (gpa, at, partBytes) =>
      bytes.set(this.#memory.readBytes(gpa, partBytes), at),
    );
    return bytes;
  }

  /** Write into the writable part; answers how much there was room for. */
  write(offset: number, bytes: Uint8Array): number {
    const sizeBytes = Math.max(0, Math.min(bytes.length, this.writableBytes - offset));
    spread(this.#writable, offset, sizeBytes, (gpa, at, partBytes) =>
      this.#memory.writeBytes(gpa, bytes.subarray(at, at + partBytes)),
    );
    return sizeBytes;
  }
}

function total(segments: readonly Segment[]): number {
  return segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

/** The pieces of `sizeBytes` bytes from `offset` on; `at` counts from the first of them. */
function spread(
  segments: readonly Segment[],
  offset: number,
  sizeBytes: number,
  part: (gpa: number, at: number, partBytes: number) => void,
): void {
  let skip = offset;
  let at = 0;
  for (const segment of segments) {
    if (at === sizeBytes) return;
    if (skip >= segment.sizeBytes) {
      skip -= segment.sizeBytes;
      continue;
    }
    const partBytes = Math.min(segment.sizeBytes - skip, sizeBytes - at);
    part(segment.gpa + skip, at, partBytes);
    at += partBytes;
    skip = 0;
  }
}
