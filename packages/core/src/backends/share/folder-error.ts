/** A refusal of the host's file system. */
export class FolderError extends Error {
  /** Linux's number (errno(3)). */
  readonly errno: number;
  constructor(errno: number, message: string) {
    super(message);
    this.name = 'FolderError';
    this.errno = errno;
  }
}
