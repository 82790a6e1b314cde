import { StoreError } from './errors.ts';
import { MAX_ABSOLUTE_PATH, MAX_RELATIVE_PATH } from './limits.ts';

/** Base of a domain's relative paths. */
export function domainPath(domid: number): string {
  return `/local/domain/${domid}`;
}

const WELL_FORMED = /^(\/|(\/[A-Za-z0-9_@-]+)+)$/;
const SPECIAL = /^@[A-Za-z0-9_/@-]+$/;

/** The absolute path a client means; a path without a leading `/` is below its own domain's. */
export function absolutePath(path: string, domid: number): string {
  const isRelative = !path.startsWith('/');
  if (path === '' || path.length > (isRelative ? MAX_RELATIVE_PATH : MAX_ABSOLUTE_PATH)) throw new StoreError('EINVAL');
  const absolute = isRelative ? `${domainPath(domid)}/${path}` : path;
  if (!WELL_FORMED.test(absolute)) throw new StoreError('EINVAL');
  return absolute;
}

/** `@introduceDomain`, `@releaseDomain` and the like. */
export function isSpecial(path: string): boolean {
  return SPECIAL.test(path);
}

/** How many levels `path` is below `above`: 0 itself; `undefined`: not below it. */
export function levelsBelow(path: string, above: string): number | undefined {
  if (path === above) return 0;
  const prefix = above === '/' ? '/' : `${above}/`;
  if (!path.startsWith(prefix)) return undefined;
  return path.slice(prefix.length).split('/').length;
}
