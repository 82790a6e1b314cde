import type { XenDomain } from '../domain.ts';
import type { GrantTable } from '../grant/grantTable.ts';
import { Domid } from '../hypercall/domid.ts';
import { PAGE_BYTES } from '../layout.ts';

/** A granted page that stays in use until it is released. */
export interface MappedPage {
  readonly gpa: number;
  release(): void;
}

/**
 * The guest's pages as the control domain reaches them: by grant references, which may be any number. Every access
 * looks at the grant anew, and no page that serves as a page table is written.
 */
export class ForeignPages {
  readonly #domain: XenDomain;
  readonly #table: GrantTable;

  constructor(domain: XenDomain, table: GrantTable) {
    this.#domain = domain;
    this.#table = table;
  }

  /** A part of a granted page; `undefined`: not granted. */
  read(ref: number, offset: number, sizeBytes: number): Uint8Array | undefined {
    const mfn = this.#resolve(ref, offset, sizeBytes, false);
    return mfn === undefined ? undefined : this.#domain.memory.readBytes(mfn * PAGE_BYTES + offset, sizeBytes);
  }

  /** `false`: not granted for writing. */
  write(ref: number, offset: number, bytes: Uint8Array): boolean {
    const { memory, mm } = this.#domain;
    const mfn = this.#resolve(ref, offset, bytes.length, true);
    if (mfn === undefined || !mm.takeWritable(mfn)) return false;
    memory.writeBytes(mfn * PAGE_BYTES + offset, bytes);
    mm.releaseWritable(mfn);
    return true;
  }

  /** A whole page for reading and writing, marked as in use; `undefined`: not granted so. */
  map(ref: number): MappedPage | undefined {
    const { mm } = this.#domain;
    const mfn = this.#resolve(ref, 0, PAGE_BYTES, true);
    if (mfn === undefined || !mm.takeWritable(mfn)) return undefined;
    this.#table.markInUse(ref, true);
    return {
      gpa: mfn * PAGE_BYTES,
      release: () => {
        this.#table.markInUse(ref, false);
        mm.releaseWritable(mfn);
      },
    };
  }

  /** Several pages, all or none. */
  mapAll(refs: readonly number[]): MappedPage[] | undefined {
    const pages: MappedPage[] = [];
    for (const ref of refs) {
      const page = this.map(ref);
      if (page === undefined) {
        for (const mapped of pages) mapped.release();
        return undefined;
      }
      pages.push(page);
    }
    return pages;
  }

  #resolve(ref: number, offset: number, sizeBytes: number, write: boolean): number | undefined {
    const mfn = this.#table.permitted(ref, Domid.CONTROL, { offset, sizeBytes, write });
    return mfn !== undefined && this.#domain.mm.isGuestFrame(mfn) ? mfn : undefined;
  }
}
