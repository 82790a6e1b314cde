import type { Permissions } from './permissions.ts';

/**
 * A node of the store. Nodes never change: a change makes new nodes along its path, so that a transaction's
 * snapshot is one reference.
 */
export interface StoreNode {
  readonly value: Uint8Array;
  readonly permissions: Permissions;
  readonly children: ReadonlyMap<string, StoreNode>;
  /** Which change made this version; DIRECTORY_PART shows it. */
  readonly generation: number;
}

/** Names of the nodes on the way to an absolute path; the root has none. */
export function pathParts(path: string): readonly string[] {
  return path === '/' ? [] : path.slice(1).split('/');
}

export function lookup(root: StoreNode, path: string): StoreNode | undefined {
  let node: StoreNode | undefined = root;
  for (const part of pathParts(path)) {
    node = node.children.get(part);
    if (node === undefined) return undefined;
  }
  return node;
}

/** The node at `path`, or its nearest ancestor that exists. */
export function nearest(root: StoreNode, path: string): StoreNode {
  let node = root;
  for (const part of pathParts(path)) {
    const child = node.children.get(part);
    if (child === undefined) return node;
    node = child;
  }
  return node;
}

/**
 * A tree in which `path` is what `change` makes of it; missing nodes on the way are made by `create` from their
 * parent. `change` answering `undefined` removes the node.
 */
export function replace(
  root: StoreNode,
  path: string,
  create: (parent: StoreNode) => StoreNode,
  change: (node: StoreNode) => StoreNode | undefined,
): StoreNode {
  const parts = pathParts(path);
  const chain: StoreNode[] = [root];
  for (const part of parts) {
    const parent = chain[chain.length - 1];
    chain.push(parent.children.get(part) ?? create(parent));
  }
  let child = change(chain[parts.length]);
  for (let depth = parts.length - 1; depth >= 0; depth--) {
    const children = new Map(chain[depth].children);
    if (child === undefined) children.delete(parts[depth]);
    else children.set(parts[depth], child);
    child = { ...chain[depth], children };
  }
  return child ?? root;
}

/** Every node from `node` down with its path; parents first. */
export function* walk(node: StoreNode, path: string): Generator<readonly [path: string, node: StoreNode]> {
  const pending: [string, StoreNode][] = [[path, node]];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    yield next;
    const prefix = next[0] === '/' ? '' : next[0];
    for (const [name, child] of next[1].children) pending.push([`${prefix}/${name}`, child]);
  }
}
