import type { HostFile } from '../../ports/host-file.ts';

/** A file in memory that can be made to fail. */
export class FakeHostFile implements HostFile {
  readonly sizeBytes: number;
  bytes: Uint8Array;
  syncs = 0;
  failWith: string | undefined;

  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes;
    this.bytes = new Uint8Array(sizeBytes);
  }
  read(offsetBytes: number, into: Uint8Array): number {
    this.#check();
    const part = this.bytes.subarray(offsetBytes, offsetBytes + into.length);
    into.set(part);
    return part.length;
  }
  write(offsetBytes: number, bytes: Uint8Array): void {
    this.#check();
    this.bytes.set(bytes, offsetBytes);
  }
  sync(): void {
    this.#check();
    this.syncs++;
  }
  #check(): void {
    if (this.failWith !== undefined) throw new Error(this.failWith);
  }
}
