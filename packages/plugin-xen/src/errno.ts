/** Xen's errno values (public/errno.h), negative as a hypercall returns them. */
export const EPERM = -1n;
export const ENOENT = -2n;
export const ESRCH = -3n;
export const ENXIO = -6n;
export const E2BIG = -7n;
export const ENOMEM = -12n;
export const EACCES = -13n;
export const EFAULT = -14n;
export const EBUSY = -16n;
export const EEXIST = -17n;
export const ENODEV = -19n;
export const EINVAL = -22n;
export const ENOSPC = -28n;
export const ERANGE = -34n;
export const ENOSYS = -38n;
export const EOPNOTSUPP = -95n;
export const ETIME = -62n;
