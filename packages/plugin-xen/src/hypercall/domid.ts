import { EPERM, ESRCH } from '../errno.ts';

/** Domain ids (public/xen.h). */
export const Domid = {
  /** The control domain: the toolstack's, and both start-of-day rings' other end. There is no code in it. */
  CONTROL: 0,
  /** The guest's own: the first that a toolstack gives out. */
  GUEST: 1,
  /** From here on ids are reserved and name no domain. */
  FIRST_RESERVED: 0x7ff0,
  SELF: 0x7ff0,
} as const;

/** `true` when a guest names itself, by DOMID_SELF or by its number. */
export function isOwnDomid(domid: number): boolean {
  return domid === Domid.SELF || domid === Domid.GUEST;
}

/** What naming this domain as a target answers: 0 itself, -EPERM the control domain, -ESRCH nobody. */
export function targetDomainErrno(domid: number): bigint {
  if (isOwnDomid(domid)) return 0n;
  return domid === Domid.CONTROL ? EPERM : ESRCH;
}
