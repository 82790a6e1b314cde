/** Names that an ERROR reply carries (public/io/xs_wire.h, xsd_errors). */
export type StoreErrorName =
  | 'EINVAL'
  | 'EACCES'
  | 'EEXIST'
  | 'ENOENT'
  | 'ENOSPC'
  | 'ENOSYS'
  | 'EBUSY'
  | 'EAGAIN'
  | 'E2BIG'
  | 'EPERM';

/** A request that is refused; the reply carries its name. */
export class StoreError extends Error {
  readonly errno: StoreErrorName;
  constructor(errno: StoreErrorName) {
    super(errno);
    this.name = 'StoreError';
    this.errno = errno;
  }
}
