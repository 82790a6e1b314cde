import { Domid } from '../hypercall/domid.ts';
import { domainPath } from './path.ts';
import type { Permissions } from './permissions.ts';
import type { Store } from './store.ts';

/** What the toolstack knows of the domain when it introduces it to the store. */
export interface DomainFacts {
  readonly domid: number;
  readonly name: string;
  readonly uuid: string;
  readonly vcpus: number;
  readonly memoryKiB: number;
  readonly maxMemoryKiB: number;
  readonly storePort: number;
  readonly storeMfn: number;
  /** `undefined`: the guest's console is not Xen's. */
  readonly console: ConsoleFacts | undefined;
}

export interface ConsoleFacts {
  readonly port: number;
  readonly mfn: number;
}

/** The console daemon stops keeping output of a guest nobody reads at this size. */
const CONSOLE_LIMIT_BYTES = 1_048_576;

/**
 * The nodes of a new PV domain (docs/misc/xenstore-paths): its own directory, which it may read but not write, with
 * those parts in it that are the guest's.
 */
export function writeInitialTree(store: Store, facts: DomainFacts): void {
  const home = domainPath(facts.domid);
  const readable: Permissions = [
    { domid: Domid.CONTROL, read: false, write: false },
    { domid: facts.domid, read: true, write: false },
  ];
  const owned: Permissions = [{ domid: facts.domid, read: false, write: false }];
  store.set(`/vm/${facts.uuid}`, '', readable);
  for (const [path, value] of vmNodes(facts)) store.set(`/vm/${facts.uuid}/${path}`, value, readable);
  store.set(home, '', readable);
  for (const [path, value] of homeNodes(facts)) store.set(`${home}/${path}`, value, readable);
  for (const path of GUEST_NODES) store.set(`${home}/${path}`, '', owned);
}

function vmNodes(facts: DomainFacts): readonly (readonly [path: string, value: string])[] {
  return [
    ['name', facts.name],
    ['uuid', facts.uuid],
  ];
}

/** Nodes the guest only reads. */
function homeNodes(facts: DomainFacts): readonly (readonly [path: string, value: string])[] {
  const cpus = Array.from({ length: facts.vcpus }, (_, id) => [
    [`cpu/${id}`, ''] as const,
    [`cpu/${id}/availability`, 'online'] as const,
  ]).flat();
  return [
    ['vm', `/vm/${facts.uuid}`],
    ['name', facts.name],
    ['domid', String(facts.domid)],
    ['cpu', ''],
    ...cpus,
    ['memory', ''],
    ['memory/static-max', String(facts.maxMemoryKiB)],
    ['memory/target', String(facts.memoryKiB)],
    ['memory/videoram', '0'],
    ['device', ''],
    ['control', ''],
    ['control/platform-feature-multiprocessor-suspend', '1'],
    ['control/platform-feature-xs_reset_watches', '1'],
    ['store', ''],
    ['store/port', String(facts.storePort)],
    ['store/ring-ref', String(facts.storeMfn)],
    ...(facts.console ? consoleNodes(facts.console) : []),
  ];
}

function consoleNodes({ port, mfn }: ConsoleFacts): readonly (readonly [path: string, value: string])[] {
  return [
    ['console', ''],
    ['console/backend-id', String(Domid.CONTROL)],
    ['console/type', 'xenconsoled'],
    ['console/output', 'pty'],
    ['console/tty', ''],
    ['console/limit', String(CONSOLE_LIMIT_BYTES)],
    ['console/port', String(port)],
    ['console/ring-ref', String(mfn)],
  ];
}

/** Nodes that belong to the guest. */
const GUEST_NODES = [
  'control/shutdown',
  'control/feature-poweroff',
  'control/feature-reboot',
  'control/feature-suspend',
  'control/sysrq',
  'data',
  'drivers',
  'feature',
  'attr',
  'error',
] as const;
