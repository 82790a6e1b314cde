import type { Steps } from '../loader/image/steps.ts';
import type { SymbolTable } from '../loader/image/symbol-table.ts';
import { BRANCH_BYTES, directTarget } from './code.ts';
import type { KernelImage } from './kernel-image.ts';
import type { OpsGroup } from './model.ts';
import type { PatchSite } from './sites.ts';

/**
 * Operations that Linux has taken out of the table and made static calls of (arch/x86/kernel/paravirt.c, since 5.13), by the
 * names that they had in it.
 */
const OPERATIONS: readonly { readonly call: string; readonly name: string; readonly group: OpsGroup }[] = [
  { call: 'pv_sched_clock', name: 'time.sched_clock', group: 'time' },
  { call: 'pv_steal_clock', name: 'time.steal_clock', group: 'time' },
];

/** Linux, include/linux/static_call_types.h: of each call a key, whose first word points to the function, and a trampoline. */
const KEY = '__SCK__';
const TRAMPOLINE = '__SCT__';
const SITES_START = '__start_static_call_sites';
const SITES_END = '__stop_static_call_sites';
/** A function that only kernels have whose sites branch to the function itself, and not to the trampoline. */
const INLINE_ONLY = 'static_call_text_reserved';
/** struct static_call_site: two signed 32-bit offsets, each relative to itself; the key's has flags in its lowest bits. */
const ENTRY_BYTES = 8;
const KEY_FLAGS = 3n;
const MOST_BYTES = 1 << 20;
const ENTRIES_A_STEP = 256;

/** A static call that stands for an operation. */
interface StaticCall {
  readonly index: number;
  readonly name: string;
  readonly group: OpsGroup;
  /** What the kernel's file has in it. */
  readonly target: bigint;
  /** Of its key; `undefined`: the kernel has no symbols of data. */
  readonly pointerAddress: bigint | undefined;
  /** Its trampoline is the first one. */
  readonly sites: readonly PatchSite[];
}

interface StaticCalls {
  readonly calls: readonly StaticCall[];
  /** Entries of the list of sites that name one of these, and are no branch to its trampoline. */
  readonly unreadable: number;
}

/**
 * Operations that are static calls, numbered from `firstIndex` on, less those that the table has. At boot a 64-bit kernel makes each site of .static_call_sites branch to the function itself;
 * a 32-bit one has no such list, and its calls go by the trampoline. Left out are calls of whose sites not all can be known.
 */
export function* findStaticCalls(
  image: KernelImage,
  symbols: SymbolTable,
  firstIndex: number,
  inTable: ReadonlySet<string>,
): Steps<StaticCalls> {
  const list = yield* siteList(image, symbols);
  if (!list && symbols.address(INLINE_ONLY) !== undefined) return { calls: [], unreadable: 0 };
  const calls: StaticCall[] = [];
  let unreadable = 0;
  for (const { call, name, group } of OPERATIONS) {
    yield;
    const trampoline = symbols.address(TRAMPOLINE + call);
    const pointerAddress = symbols.address(KEY + call);
    if (trampoline === undefined || inTable.has(name) || (list && pointerAddress === undefined)) continue;
    const leads = branchTarget(image, trampoline);
    const target = pointerAddress === undefined ? leads : image.wordAt(pointerAddress);
    if (leads === undefined || target === undefined || !image.isCode(target)) continue;
    const index = firstIndex + calls.length;
    const listed = [...new Set(pointerAddress === undefined ? [] : list?.get(pointerAddress))];
    const branches = listed.filter((address) => branchTarget(image, address) === trampoline);
    unreadable += listed.length - branches.length;
    const sites = [
      siteAt(index, trampoline, '.static_call.text'),
      ...branches.map((address) => siteAt(index, address, '.static_call_sites')),
    ];
    calls.push({ index, name, group, target, pointerAddress, sites });
  }
  return { calls, unreadable };
}

function siteAt(slot: number, address: bigint, listedIn: PatchSite['listedIn']): PatchSite {
  return { address, sizeBytes: BRANCH_BYTES, slot, listedIn, alternatives: [] };
}

/** Where the branch at an address leads; `undefined`: there is none. */
function branchTarget(image: KernelImage, address: bigint): bigint | undefined {
  const code = image.isCode(address) ? image.bytesAt(address, BRANCH_BYTES) : undefined;
  const target = code && directTarget(address, code);
  return target === undefined ? undefined : image.wrap(target);
}

/** Addresses of sites by that of the key; `undefined`: there is no such list. */
function* siteList(
  image: KernelImage,
  symbols: SymbolTable,
): Steps<ReadonlyMap<bigint, readonly bigint[]> | undefined> {
  const first = symbols.address(SITES_START);
  const end = symbols.address(SITES_END);
  if (first === undefined || end === undefined || end < first || end - first > MOST_BYTES) return undefined;
  const bytes = image.bytesAt(first, Number(end - first));
  if (bytes?.length !== Number(end - first)) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const sites = new Map<bigint, bigint[]>();
  for (let at = 0; at + ENTRY_BYTES <= bytes.length; at += ENTRY_BYTES) {
    if ((at / ENTRY_BYTES + 1) % ENTRIES_A_STEP === 0) yield;
    const here = first + BigInt(at);
    const key = image.wrap(here + 4n + BigInt(view.getInt32(at + 4, true))) & ~KEY_FLAGS;
    const known = sites.get(key) ?? [];
    sites.set(key, known);
    known.push(image.wrap(here + BigInt(view.getInt32(at, true))));
  }
  return sites;
}
