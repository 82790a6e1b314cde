import { type BlockBackend, SECTOR_BYTES } from '@polyvisor/plugin-api';
import type { HostFile } from '../../ports/host-file.ts';

/** `rw`: writes go to the file; `ro`: there are none; `overlay`: writes stay in memory, the file is only read. */
export type DiskMode = 'rw' | 'ro' | 'overlay';

export interface FileDiskOptions {
  readonly name: string;
  readonly mode: DiskMode;
  /** Told once, at the first failure of the host's file: one line for the operator. */
  readonly onFailure: (message: string) => void;
}

/** A raw image file as a disk. Bytes beyond the last whole sector are not part of it. */
export class FileDisk implements BlockBackend {
  readonly name: string;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly #file: HostFile;
  readonly #onFailure: (message: string) => void;
  /** Written sectors by number, in `overlay` mode. */
  readonly #overlay: Map<number, Uint8Array> | undefined;
  #failed = false;

  constructor(file: HostFile, options: FileDiskOptions) {
    this.name = options.name;
    this.sizeBytes = Math.floor(file.sizeBytes / SECTOR_BYTES) * SECTOR_BYTES;
    this.readOnly = options.mode === 'ro';
    this.#file = file;
    this.#onFailure = options.onFailure;
    this.#overlay = options.mode === 'overlay' ? new Map() : undefined;
  }

  read(offsetBytes: number, into: Uint8Array): boolean {
    if (!this.#covers(offsetBytes, into.length)) return false;
    const done = this.#try('read', () => {
      // A file that has become shorter has no zeros to offer: what is missing is an error.
      const got = this.#file.read(offsetBytes, into);
      if (got < into.length) throw new Error(`the file ends ${into.length - got} bytes too early`);
    });
    if (done && this.#overlay !== undefined) this.#lay(this.#overlay, offsetBytes, into);
    return done;
  }

  write(offsetBytes: number, bytes: Uint8Array): boolean {
    if (this.readOnly || !this.#covers(offsetBytes, bytes.length)) return false;
    const overlay = this.#overlay;
    if (overlay === undefined) return this.#try('written', () => this.#file.write(offsetBytes, bytes));
    for (let at = 0; at < bytes.length; at += SECTOR_BYTES) {
      overlay.set((offsetBytes + at) / SECTOR_BYTES, bytes.slice(at, at + SECTOR_BYTES));
    }
    return true;
  }

  flush(): boolean {
    return this.readOnly || this.#overlay !== undefined || this.#try('flushed', () => this.#file.sync());
  }

  /** Whole sectors inside the disk. */
  #covers(offsetBytes: number, sizeBytes: number): boolean {
    return (
      Number.isSafeInteger(offsetBytes) &&
      offsetBytes >= 0 &&
      offsetBytes % SECTOR_BYTES === 0 &&
      sizeBytes % SECTOR_BYTES === 0 &&
      offsetBytes + sizeBytes <= this.sizeBytes
    );
  }

  #lay(overlay: ReadonlyMap<number, Uint8Array>, offsetBytes: number, into: Uint8Array): void {
    if (overlay.size === 0) return;
    for (let at = 0; at < into.length; at += SECTOR_BYTES) {
      const sector = overlay.get((offsetBytes + at) / SECTOR_BYTES);
      if (sector !== undefined) into.set(sector, at);
    }
  }

  #try(what: string, run: () => void): boolean {
    try {
      run();
      return true;
    } catch (error) {
      if (!this.#failed) this.#onFailure(`disk ${this.name} cannot be ${what}: ${(error as Error).message}`);
      this.#failed = true;
      return false;
    }
  }
}
