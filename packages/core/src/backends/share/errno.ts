/** Linux error numbers that a reply may carry (errno(3)). */
export const Errno = {
  EPERM: 1,
  ENOENT: 2,
  EBADF: 9,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  EMFILE: 24,
  EROFS: 30,
  ENAMETOOLONG: 36,
  EPROTO: 71,
  EOPNOTSUPP: 95,
} as const;
