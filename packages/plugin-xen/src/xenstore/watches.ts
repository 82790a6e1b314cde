import { StoreError } from './errors.ts';
import { Quota } from './limits.ts';
import { absolutePath, domainPath, isSpecial, levelsBelow } from './path.ts';
import type { Change } from './store.ts';

interface Watch {
  /** As the client wrote it. */
  readonly given: string;
  readonly path: string;
  readonly token: string;
  /** Levels below `path` that count. */
  readonly depth: number;
}

/** What a WATCH_EVENT says. */
export interface WatchEvent {
  readonly path: string;
  readonly token: string;
}

/** One client's watches. */
export class Watches {
  readonly #domid: number;
  #watches: Watch[] = [];

  constructor(domid: number) {
    this.#domid = domid;
  }

  /** Answers the event that every new watch starts with. */
  add(given: string, token: string, depthText?: string): WatchEvent {
    const path = isSpecial(given) ? given : absolutePath(given, this.#domid);
    if (depthText !== undefined && !/^[0-9]{1,5}$/.test(depthText)) throw new StoreError('EINVAL');
    if (this.#find(given, token) >= 0) throw new StoreError('EEXIST');
    if (this.#watches.length >= Quota.WATCHES) throw new StoreError('ENOSPC');
    const depth = depthText === undefined ? Number.POSITIVE_INFINITY : Number(depthText);
    this.#watches.push({ given, path, token, depth });
    return { path: given, token };
  }

  remove(given: string, token: string): void {
    const index = this.#find(given, token);
    if (index < 0) throw new StoreError('ENOENT');
    this.#watches.splice(index, 1);
  }

  clear(): void {
    this.#watches = [];
  }

  /** The events a change gives; `mayRead`: whether the client may see a path. */
  *matching(change: Change, mayRead: (path: string) => boolean): Generator<WatchEvent> {
    for (const watch of this.#watches) {
      const levels = levelsBelow(change.path, watch.path);
      if (levels !== undefined && levels <= watch.depth) {
        if (mayRead(change.path)) yield { path: this.#shown(watch, change.path), token: watch.token };
      } else if (change.removed.includes(watch.path)) yield { path: watch.given, token: watch.token };
    }
  }

  #find(given: string, token: string): number {
    return this.#watches.findIndex((watch) => watch.given === given && watch.token === token);
  }

  /** A watch on a relative path is told of relative paths. */
  #shown(watch: Watch, path: string): string {
    return watch.given.startsWith('/') ? path : path.slice(domainPath(this.#domid).length + 1);
  }
}
