import { StoreError } from './errors.ts';
import { Quota } from './limits.ts';

/** The domain to which nothing is denied. */
export const PRIVILEGED = 0;

export interface Permission {
  readonly domid: number;
  readonly read: boolean;
  readonly write: boolean;
}

/** The first entry names the owner, and what all domains without an entry of their own may do. Never empty. */
export type Permissions = readonly Permission[];

export function ownerOf(permissions: Permissions): number {
  return permissions[0].domid;
}

export function mayAccess(permissions: Permissions, domid: number, want: 'read' | 'write'): boolean {
  if (domid === PRIVILEGED || domid === ownerOf(permissions)) return true;
  const own = permissions.find((entry, index) => index > 0 && entry.domid === domid);
  return (own ?? permissions[0])[want];
}

/** What a new node gets: its parent's permissions; an unprivileged creator owns what it creates. */
export function inherit(parent: Permissions, creator: number): Permissions {
  if (creator === PRIVILEGED) return parent;
  return [{ ...parent[0], domid: creator }, ...parent.slice(1)];
}

const LETTERS: Readonly<Record<string, Omit<Permission, 'domid'>>> = {
  n: { read: false, write: false },
  r: { read: true, write: false },
  w: { read: false, write: true },
  b: { read: true, write: true },
};

/** `r1`: a letter and a domid. */
export function parsePermissions(words: readonly string[]): Permissions {
  if (words.length === 0) throw new StoreError('EINVAL');
  if (words.length > Quota.PERMISSIONS) throw new StoreError('ENOSPC');
  return words.map((word) => {
    const rights = LETTERS[word[0]];
    if (rights === undefined || !/^[0-9]{1,5}$/.test(word.slice(1))) throw new StoreError('EINVAL');
    return { domid: Number(word.slice(1)), ...rights };
  });
}

export function formatPermissions(permissions: Permissions): string[] {
  return permissions.map(({ domid, read, write }) => `${read ? (write ? 'b' : 'r') : write ? 'w' : 'n'}${domid}`);
}
