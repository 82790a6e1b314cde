import { StoreError } from './errors.ts';
import { Quota } from './limits.ts';
import { lookup, nearest, replace, type StoreNode, walk } from './node.ts';
import { inherit, mayAccess, ownerOf, type Permissions, PRIVILEGED } from './permissions.ts';

/** A change that watches are told of: of this path, or (removal) of everything that was below it too. */
export interface Change {
  readonly path: string;
  /** Paths that went with a removal, the top one not among them. */
  readonly removed: readonly string[];
}

/** The store at one moment. */
interface Snapshot {
  readonly root: StoreNode;
  /** Nodes owned by unprivileged domains, by domid. */
  readonly owned: ReadonlyMap<number, number>;
  /** Counts changes. */
  readonly generation: number;
}

const EMPTY = new Uint8Array(0);

/**
 * A view of the store that one caller reads and changes: the store itself, or a transaction's copy. All paths are
 * absolute and well-formed. Refusals are {@link StoreError}.
 */
export class StoreView {
  #snapshot: Snapshot;
  readonly #base: Snapshot;
  readonly changes: Change[] = [];

  constructor(snapshot: Snapshot) {
    this.#snapshot = snapshot;
    this.#base = snapshot;
  }

  get snapshot(): Snapshot {
    return this.#snapshot;
  }
  /** What it started from. */
  get base(): Snapshot {
    return this.#base;
  }

  read(domid: number, path: string): StoreNode {
    return this.#get(domid, path, 'read');
  }

  exists(path: string): boolean {
    return lookup(this.#snapshot.root, path) !== undefined;
  }

  write(domid: number, path: string, value: Uint8Array): void {
    if (domid !== PRIVILEGED && value.length > Quota.VALUE_BYTES) throw new StoreError('ENOSPC');
    this.#make(domid, path, (node) => ({ ...node, value }));
  }

  /** Make `path` if it is not there; `false`: it was. */
  mkdir(domid: number, path: string): boolean {
    const there = lookup(this.#snapshot.root, path);
    if (there !== undefined) {
      if (!mayAccess(there.permissions, domid, 'write')) throw new StoreError('EACCES');
      return false;
    }
    this.#make(domid, path, (node) => node);
    return true;
  }

  /** Remove `path` and all below it; `false`: it was not there, but its parent was. */
  remove(domid: number, path: string): boolean {
    if (path === '/') throw new StoreError('EINVAL');
    const { root, owned } = this.#snapshot;
    const node = lookup(root, path);
    if (node === undefined) {
      const parent = path.slice(0, path.lastIndexOf('/')) || '/';
      this.#get(domid, parent, 'read');
      return false;
    }
    if (!mayAccess(node.permissions, domid, 'write')) throw new StoreError('EACCES');
    const removed: string[] = [];
    const counts = new Map(owned);
    for (const [at, gone] of walk(node, path)) {
      if (at !== path) removed.push(at);
      adjust(counts, ownerOf(gone.permissions), -1);
    }
    this.#commit(
      replace(
        root,
        path,
        (parent) => parent,
        () => undefined,
      ),
      counts,
      { path, removed },
    );
    return true;
  }

  setPermissions(domid: number, path: string, permissions: Permissions): void {
    const node = this.#get(domid, path, 'write');
    const owner = ownerOf(node.permissions);
    const newOwner = ownerOf(permissions);
    if (domid !== PRIVILEGED) {
      if (domid !== owner) throw new StoreError('EACCES');
      if (newOwner !== owner) throw new StoreError('EPERM');
    }
    const counts = new Map(this.#snapshot.owned);
    adjust(counts, owner, -1);
    adjust(counts, newOwner, 1);
    const root = replace(
      this.#snapshot.root,
      path,
      (parent) => parent,
      (old) => ({ ...old, permissions, generation: this.#nextGeneration }),
    );
    this.#commit(root, counts, { path, removed: [] });
  }

  get #nextGeneration(): number {
    return this.#snapshot.generation + 1;
  }

  #get(domid: number, path: string, want: 'read' | 'write'): StoreNode {
    const node = lookup(this.#snapshot.root, path);
    if (node === undefined) {
      // Whether a node exists is told only to those who may look at where it would be.
      const ancestor = nearest(this.#snapshot.root, path);
      throw new StoreError(mayAccess(ancestor.permissions, domid, want) ? 'ENOENT' : 'EACCES');
    }
    if (!mayAccess(node.permissions, domid, want)) throw new StoreError('EACCES');
    return node;
  }

  /** Change a node, making it and its missing parents first. */
  #make(domid: number, path: string, change: (node: StoreNode) => StoreNode): void {
    const { root, owned } = this.#snapshot;
    if (!mayAccess(nearest(root, path).permissions, domid, 'write')) throw new StoreError('EACCES');
    const counts = new Map(owned);
    const generation = this.#nextGeneration;
    const create = (parent: StoreNode): StoreNode => {
      const permissions = inherit(parent.permissions, domid);
      adjust(counts, ownerOf(permissions), 1);
      return { value: EMPTY, permissions, children: new Map(), generation };
    };
    const changed = replace(root, path, create, (node) => ({ ...change(node), generation }));
    if (domid !== PRIVILEGED && (counts.get(domid) ?? 0) > Quota.NODES) throw new StoreError('ENOSPC');
    this.#commit(changed, counts, { path, removed: [] });
  }

  #commit(root: StoreNode, owned: ReadonlyMap<number, number>, change: Change): void {
    this.#snapshot = { root, owned, generation: this.#nextGeneration };
    this.changes.push(change);
  }
}

function adjust(counts: Map<number, number>, domid: number, by: number): void {
  if (domid !== PRIVILEGED) counts.set(domid, (counts.get(domid) ?? 0) + by);
}

/** The store: its current state, and who listens to changes of it. */
export class Store {
  #snapshot: Snapshot;
  readonly #listeners = new Set<(changes: readonly Change[]) => void>();

  constructor() {
    const permissions: Permissions = [{ domid: PRIVILEGED, read: false, write: false }];
    const root: StoreNode = { value: EMPTY, permissions, children: new Map(), generation: 0 };
    this.#snapshot = { root, owned: new Map(), generation: 0 };
  }

  /** A view to work on; nothing of it counts until {@link commit}. */
  view(): StoreView {
    return new StoreView(this.#snapshot);
  }

  /** Make a view's changes the store's; `false`: the store has changed since the view was taken. */
  commit(view: StoreView): boolean {
    if (view.changes.length === 0) return true;
    if (view.base !== this.#snapshot) return false;
    this.#snapshot = view.snapshot;
    const changes = view.changes.slice();
    for (const listener of this.#listeners) listener(changes);
    return true;
  }

  /** Told of every committed change, in order. */
  onChange(listener: (changes: readonly Change[]) => void): void {
    this.#listeners.add(listener);
  }

  /** The toolstack's own read; `undefined`: no such node. */
  get(path: string): Uint8Array | undefined {
    return lookup(this.#snapshot.root, path)?.value;
  }

  /** The toolstack's own write, as the privileged domain. */
  set(path: string, value: string, permissions?: Permissions): void {
    const view = this.view();
    view.write(PRIVILEGED, path, new TextEncoder().encode(value));
    if (permissions !== undefined) view.setPermissions(PRIVILEGED, path, permissions);
    this.commit(view);
  }
}
