import { Domid } from '../hypercall/domid.ts';
import { StoreError } from './errors.ts';
import { MAX_PAYLOAD_BYTES } from './limits.ts';
import { absolutePath, domainPath } from './path.ts';
import { formatPermissions, parsePermissions } from './permissions.ts';
import type { StoreView } from './store.ts';
import type { WatchEvent, Watches } from './watches.ts';
import { decode, encode, joinStrings, type MessageHeader, StoreMessage, splitStrings } from './wire.ts';

/** The client whose request is served. */
export interface Requester {
  readonly domid: number;
  readonly watches: Watches;
  /** DEBUG's `print`. */
  readonly log: (message: string) => void;
  tell(event: WatchEvent): void;
  startTransaction(): number;
  endTransaction(id: number, commit: boolean): void;
  /** RESET_WATCHES: as if the client had just connected. */
  reset(): void;
}

interface RequestContext {
  readonly connection: Requester;
  readonly header: MessageHeader;
  readonly payload: Uint8Array;
}

/** A request type; the answer is the reply's payload. `usesTree`: it sees and changes the tree, in a transaction or not. */
type Request =
  | { readonly usesTree: true; run(context: RequestContext, view: StoreView): Uint8Array }
  | { readonly usesTree: false; run(context: RequestContext): Uint8Array };

const ACKNOWLEDGED = encode('OK\0');

/** The payload's first string as an absolute path. */
function path({ connection, payload }: RequestContext): string {
  const strings = splitStrings(payload);
  if (strings.length === 0) throw new StoreError('EINVAL');
  return absolutePath(strings[0], connection.domid);
}

function strings(context: RequestContext, least: number): string[] {
  const found = splitStrings(context.payload);
  if (found.length < least) throw new StoreError('EINVAL');
  return found;
}

function domid(context: RequestContext): number {
  const [word] = strings(context, 1);
  if (!/^[0-9]{1,5}$/.test(word)) throw new StoreError('EINVAL');
  return Number(word);
}

function onTree(run: (context: RequestContext, view: StoreView) => Uint8Array | undefined): Request {
  return { usesTree: true, run: (context, view) => run(context, view) ?? ACKNOWLEDGED };
}

function onConnection(run: (context: RequestContext) => Uint8Array | undefined): Request {
  return { usesTree: false, run: (context) => run(context) ?? ACKNOWLEDGED };
}

const privilegedOnly = onConnection(() => {
  throw new StoreError('EACCES');
});

function directory(context: RequestContext, view: StoreView): Uint8Array {
  const node = view.read(context.connection.domid, path(context));
  return joinStrings([...node.children.keys()]);
}

/** IN path, byte offset. OUT the node's generation, then whole names from the offset, an empty name after the last. */
function directoryPart(context: RequestContext, view: StoreView): Uint8Array {
  const offsetText = strings(context, 2)[1];
  if (!/^[0-9]{1,9}$/.test(offsetText)) throw new StoreError('EINVAL');
  const node = view.read(context.connection.domid, path(context));
  const names = joinStrings([...node.children.keys()]);
  const generation = joinStrings([String(node.generation)]);
  const room = MAX_PAYLOAD_BYTES - generation.length - 1;
  const rest = names.subarray(Number(offsetText));
  const fits = rest.length <= room ? rest.length : rest.subarray(0, room).lastIndexOf(0) + 1;
  const last = fits === rest.length ? [0] : [];
  return Uint8Array.from([...generation, ...rest.subarray(0, fits), ...last]);
}

function write(context: RequestContext, view: StoreView): undefined {
  const end = context.payload.indexOf(0);
  if (end < 0) throw new StoreError('EINVAL');
  const at = absolutePath(decode(context.payload.subarray(0, end)), context.connection.domid);
  view.write(context.connection.domid, at, context.payload.slice(end + 1));
}

function setPermissions(context: RequestContext, view: StoreView): undefined {
  const [, ...words] = strings(context, 2);
  view.setPermissions(context.connection.domid, path(context), parsePermissions(words));
}

function watch(context: RequestContext): undefined {
  const [where, token, depth] = strings(context, 2);
  context.connection.tell(context.connection.watches.add(where, token, depth));
}

function endTransaction({ connection, header, payload }: RequestContext): undefined {
  const word = decode(payload);
  if (word !== 'T\0' && word !== 'F\0') throw new StoreError('EINVAL');
  connection.endTransaction(header.transactionId, word === 'T\0');
}

function control(context: RequestContext): undefined {
  const [command, ...message] = strings(context, 1);
  if (command !== 'print') throw new StoreError('EACCES');
  context.connection.log(message.join(' ').replace(/[^\x20-\x7e]/g, '?'));
}

/**
 * By message type (docs/misc/xenstore.txt). Types that are not here, those added after Xen 4.17 among them,
 * answer ENOSYS.
 */
export const REQUESTS: ReadonlyMap<number, Request> = new Map<number, Request>([
  [StoreMessage.CONTROL, onConnection(control)],
  [StoreMessage.DIRECTORY, onTree(directory)],
  [StoreMessage.DIRECTORY_PART, onTree(directoryPart)],
  [StoreMessage.READ, onTree((context, view) => view.read(context.connection.domid, path(context)).value)],
  [StoreMessage.WRITE, onTree(write)],
  [
    StoreMessage.MKDIR,
    onTree((context, view) => {
      view.mkdir(context.connection.domid, path(context));
      return undefined;
    }),
  ],
  [
    StoreMessage.RM,
    onTree((context, view) => {
      view.remove(context.connection.domid, path(context));
      return undefined;
    }),
  ],
  [
    StoreMessage.GET_PERMS,
    onTree((context, view) =>
      joinStrings(formatPermissions(view.read(context.connection.domid, path(context)).permissions)),
    ),
  ],
  [StoreMessage.SET_PERMS, onTree(setPermissions)],
  [StoreMessage.WATCH, onConnection(watch)],
  [
    StoreMessage.UNWATCH,
    onConnection((context) => {
      const [where, token] = strings(context, 2);
      context.connection.watches.remove(where, token);
      return undefined;
    }),
  ],
  [
    StoreMessage.RESET_WATCHES,
    onConnection(({ connection }) => {
      connection.reset();
      return undefined;
    }),
  ],
  [
    StoreMessage.TRANSACTION_START,
    onConnection(({ connection, header }) => {
      if (header.transactionId !== 0) throw new StoreError('EBUSY');
      return joinStrings([String(connection.startTransaction())]);
    }),
  ],
  [StoreMessage.TRANSACTION_END, onConnection(endTransaction)],
  [
    StoreMessage.GET_DOMAIN_PATH,
    onConnection((context) => {
      const id = domid(context);
      return joinStrings([domainPath(id === Domid.SELF ? context.connection.domid : id)]);
    }),
  ],
  [
    StoreMessage.IS_DOMAIN_INTRODUCED,
    onConnection((context) => {
      const id = domid(context);
      const isThere = id === Domid.SELF || id === Domid.CONTROL || id === context.connection.domid;
      return joinStrings([isThere ? 'T' : 'F']);
    }),
  ],
  [StoreMessage.INTRODUCE, privilegedOnly],
  [StoreMessage.RELEASE, privilegedOnly],
  [StoreMessage.RESUME, privilegedOnly],
  [StoreMessage.SET_TARGET, privilegedOnly],
]);
