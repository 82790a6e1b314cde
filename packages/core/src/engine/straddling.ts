import { FAULT_ADDRESS } from '../cpu/state.ts';
import { PENDING_GPA_OFFSET, SCRATCH_OFFSET } from '../memory/layout.ts';
import { WalkAccess } from '../memory/walk.ts';
import type { EngineMemory } from './memory.ts';
import { WALK_MMIO } from './memory-code.ts';

const PAGE_BYTES = 4096;

/** What accesses of two pages, one of them device memory at least, need of an engine. */
interface StraddlingHost {
  readonly memory: EngineMemory;
  /** Of the vCPU's state block. */
  readonly base: number;
  walk(gva: bigint, access: number): number;
  mmioRead(gpa: number, into: Uint8Array): void;
  mmioWrite(gpa: number, bytes: Uint8Array): void;
  /** Bytes of guest RAM have been written. */
  written(hostAddress: number, sizeBytes: number): void;
}

/** Bytes `from` to `end` of an access: where in device memory (gpa) or in guest RAM (host address) they lie. */
interface Part {
  readonly device: boolean;
  readonly at: number;
  readonly from: number;
  readonly end: number;
}

/**
 * Between scratch and memory at the linear address in the pending gpa's place: each page gets an access of its own, the lower
 * one first (SDM vol. 3A, 9.1.1: such an access is not one on the bus). Generated code has translated both and met no fault.
 */
export function straddlingAccess(host: StraddlingHost): Record<'read' | 'write', (sizeBytes: number) => void> {
  const { memory, base } = host;
  const { view, bytes } = memory;
  const scratch = base + SCRATCH_OFFSET;
  const parts = (sizeBytes: number, access: number): Part[] => {
    const first = view.getBigInt64(base + PENDING_GPA_OFFSET, true);
    const cut = PAGE_BYTES - Number(first & 0xfffn);
    return [0, cut].map((from) => {
      const gva = first + BigInt(from);
      const page = host.walk(gva, access);
      const device = page === WALK_MMIO;
      const gpa = () => Number(view.getBigUint64(base + FAULT_ADDRESS.offset, true));
      return { device, at: device ? gpa() : page + Number(gva & 0xfffn), from, end: from === 0 ? cut : sizeBytes };
    });
  };
  return {
    read(sizeBytes) {
      for (const { device, at, from, end } of parts(sizeBytes, WalkAccess.read)) {
        const into = bytes.subarray(scratch + from, scratch + end);
        if (device) host.mmioRead(at, into);
        else into.set(bytes.subarray(at, at + into.length));
      }
    },
    write(sizeBytes) {
      const all = bytes.slice(scratch, scratch + sizeBytes);
      for (const { device, at, from, end } of parts(sizeBytes, WalkAccess.write)) {
        const part = all.subarray(from, end);
        if (device) host.mmioWrite(at, part);
        else {
          bytes.set(part, at);
          host.written(at, part.length);
        }
      }
    },
  };
}
