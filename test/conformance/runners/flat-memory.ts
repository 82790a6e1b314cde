import type { EvaluatedFault, EvaluationMemory } from '../../../packages/core/src/ir/evaluate.ts';
import type { Patch } from '../case.ts';
import { PAGE_SIZE_BYTES, REGIONS, Rights } from '../layout.ts';

const PAGE_FAULT = 14;
const GENERAL_PROTECTION = 13;
/** Page-fault error code bits (SDM vol. 3A, 4.7). */
const Code = { present: 1, write: 2, user: 4, fetch: 16 } as const;

interface Page {
  readonly rights: number;
  readonly bytes: Uint8Array;
  readonly initial: Uint8Array;
  /** Content when the case began. */
  readonly before: Uint8Array;
  touched: boolean;
  /** Range of offsets that the case has written: what there is to compare. */
  firstWritten: number;
  endWritten: number;
}

/** The cases' memory as a user-mode program sees it: pages with rights, and page faults. */
export class FlatMemory implements EvaluationMemory {
  readonly #pages = new Map<bigint, Page>();

  constructor() {
    for (const { address, bytes, rights } of REGIONS) {
      for (let at = 0; at < bytes.length; at += PAGE_SIZE_BYTES) {
        const initial = bytes.subarray(at, at + PAGE_SIZE_BYTES);
        const page = {
          rights,
          initial,
          bytes: initial.slice(),
          before: initial.slice(),
          touched: false,
          firstWritten: PAGE_SIZE_BYTES,
          endWritten: 0,
        };
        this.#pages.set(BigInt((address + at) / PAGE_SIZE_BYTES), page);
      }
    }
  }

  /** Start a case: initial content plus its patches. */
  begin(patches: readonly Patch[]): void {
    for (const page of this.#pages.values()) {
      if (!page.touched) continue;
      page.bytes.set(page.initial);
      page.before.set(page.initial);
      page.touched = false;
      page.firstWritten = PAGE_SIZE_BYTES;
      page.endWritten = 0;
    }
    for (const { address, bytes } of patches) {
      for (let i = 0; i < bytes.length; i++) {
        const page = this.#pageOf(BigInt(address + i)) as Page;
        const at = (address + i) % PAGE_SIZE_BYTES;
        page.bytes[at] = bytes[i];
        page.before[at] = bytes[i];
        page.touched = true;
      }
    }
  }

  /** What has changed since {@link begin}, as runs of bytes. */
  changes(): Patch[] {
    const found: Patch[] = [];
    for (const [number, page] of this.#pages) {
      for (let i = page.firstWritten; i < page.endWritten; i++) {
        if (page.bytes[i] === page.before[i]) continue;
        let end = i + 1;
        while (end < page.endWritten && page.bytes[end] !== page.before[end]) end++;
        found.push({ address: Number(number) * PAGE_SIZE_BYTES + i, bytes: page.bytes.slice(i, end) });
        i = end;
      }
    }
    return found;
  }

  #pageOf(address: bigint): Page | undefined {
    return this.#pages.get(address >> 12n);
  }

  /** The fault of an access, lowest byte first. */
  check(address: bigint, sizeBytes: number, access: 'read' | 'write' | 'fetch'): EvaluatedFault | undefined {
    const last = BigInt.asUintN(64, address + BigInt(sizeBytes - 1));
    for (const at of address >> 12n === last >> 12n ? [address] : [address, last & ~0xfffn]) {
      if (BigInt.asUintN(64, BigInt.asIntN(48, at)) !== at)
        return { vector: GENERAL_PROTECTION, errorCode: 0, address: at };
      const page = this.#pageOf(at);
      const needed = access === 'read' ? Rights.read : access === 'write' ? Rights.write : Rights.execute;
      if (page && page.rights & needed) continue;
      const kind = access === 'write' ? Code.write : access === 'fetch' ? Code.fetch : 0;
      return { vector: PAGE_FAULT, errorCode: (page ? Code.present : 0) | kind | Code.user, address: at };
    }
    return undefined;
  }

  byteAt(address: bigint): number {
    return (this.#pageOf(address) as Page).bytes[Number(address & 0xfffn)];
  }
  load(address: bigint, sizeBytes: number): Uint8Array | EvaluatedFault {
    const fault = this.check(address, sizeBytes, 'read');
    if (fault) return fault;
    return Uint8Array.from({ length: sizeBytes }, (_, i) => this.byteAt(BigInt.asUintN(64, address + BigInt(i))));
  }
  checkWrite(address: bigint, sizeBytes: number): EvaluatedFault | undefined {
    return this.check(address, sizeBytes, 'write');
  }
  store(address: bigint, bytes: Uint8Array): EvaluatedFault | undefined {
    const fault = this.check(address, bytes.length, 'write');
    if (fault) return fault;
    for (let i = 0; i < bytes.length; i++) {
      const at = BigInt.asUintN(64, address + BigInt(i));
      const page = this.#pageOf(at) as Page;
      const offset = Number(at & 0xfffn);
      page.touched = true;
      page.firstWritten = Math.min(page.firstWritten, offset);
      page.endWritten = Math.max(page.endWritten, offset + 1);
      page.bytes[offset] = bytes[i];
    }
    return undefined;
  }
}
