import { closeSync, constants, fstatSync, fsyncSync, openSync, readSync, writeSync } from 'node:fs';
import type { HostFile } from '@polyvisor/core';

/** A regular file, open until it is closed. Throws what the file system says. */
export class NodeHostFile implements HostFile {
  readonly sizeBytes: number;
  readonly #descriptor: number;

  constructor(path: string, writable: boolean) {
    // Without O_NONBLOCK the opening of a FIFO would wait for its other end.
    this.#descriptor = openSync(path, (writable ? constants.O_RDWR : constants.O_RDONLY) | constants.O_NONBLOCK);
    const status = fstatSync(this.#descriptor);
    if (!status.isFile()) {
      this.close();
      throw new Error(status.isDirectory() ? 'is a directory' : 'is no regular file');
    }
    this.sizeBytes = status.size;
  }

  read(offsetBytes: number, into: Uint8Array): number {
    let done = 0;
    while (done < into.length) {
      const count = readSync(this.#descriptor, into, done, into.length - done, offsetBytes + done);
      if (count === 0) break;
      done += count;
    }
    return done;
  }

  write(offsetBytes: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      done += writeSync(this.#descriptor, bytes, done, bytes.length - done, offsetBytes + done);
    }
  }

  sync(): void {
    fsyncSync(this.#descriptor);
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}
