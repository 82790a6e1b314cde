/** A file of the host's behind a disk. Every call may throw what the host's file system has to say. */
export interface HostFile {
  readonly sizeBytes: number;
  /** Fill `into` from `offsetBytes`; answers how many bytes there were. */
  read(offsetBytes: number, into: Uint8Array): number;
  /** Write all of `bytes`. */
  write(offsetBytes: number, bytes: Uint8Array): void;
  /** On stable storage when it returns. */
  sync(): void;
}
