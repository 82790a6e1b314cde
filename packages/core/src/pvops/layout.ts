import { type Btf, BtfKind, functionPrototype } from '../loader/image/btf.ts';
import { damagedImage } from '../loader/image/image-error.ts';
import { OPS_GROUPS, type OpsGroup, type OpsSlot } from './model.ts';

/** The struct that holds the whole table, and the one that stands around a pointer with a calling convention of its own. */
const TABLE_STRUCT = 'paravirt_patch_template';
const CALLEE_SAVE_STRUCT = 'paravirt_callee_save';
/** No table is larger. */
const MOST_SLOTS = 1024;
const DEEPEST = 8;

type Leaf = Pick<OpsSlot, 'index' | 'name' | 'convention'> & { readonly pointer: number | undefined };

/** The slots as the kernel's types lay them out; `undefined`: these know no such table. */
export function slotsFromTypes(btf: Btf, wordBytes: number): OpsSlot[] | undefined {
  const table = btf.find(BtfKind.STRUCT, TABLE_STRUCT);
  if (table === undefined) return undefined;
  const leaves: Leaf[] = [];
  collect(btf, table, { path: [], bitOffset: 0, wordBytes }, leaves);
  leaves.sort((a, b) => a.index - b.index);
  const overlap = leaves.find(({ index }, at) => leaves[at + 1]?.index === index);
  if (overlap) throw damagedImage(`BTF puts two members of ${TABLE_STRUCT} into one place, ${overlap.name}`);
  return leaves.map(({ index, name, convention, pointer }) => ({
    ...{ index, heldIn: 'table' as const, name, convention, namedBy: 'types' as const },
    group: groupOf(name),
    prototype: pointer === undefined ? undefined : prototypeOf(btf, pointer),
  }));
}

interface Place {
  readonly path: readonly string[];
  readonly bitOffset: number;
  readonly wordBytes: number;
}

/** Every pointer in a struct and the structs in it, by its place. */
function collect(btf: Btf, type: number, place: Place, leaves: Leaf[]): void {
  if (place.path.length > DEEPEST) return;
  for (const member of btf.members(type)) {
    const stripped = btf.strip(member.type);
    const inner = { ...place, path: [...place.path, member.name], bitOffset: place.bitOffset + member.bitOffset };
    const kind = btf.kind(stripped);
    const wrapped = kind === BtfKind.STRUCT && btf.name(stripped) === CALLEE_SAVE_STRUCT;
    if (kind === BtfKind.STRUCT && !wrapped) collect(btf, stripped, inner, leaves);
    else if (kind === BtfKind.PTR || wrapped) {
      const index = inner.bitOffset / 8 / place.wordBytes;
      if (!Number.isInteger(index) || index >= MOST_SLOTS) {
        throw damagedImage(`BTF puts ${inner.path.join('.')} of ${TABLE_STRUCT} at bit ${inner.bitOffset}`);
      }
      const name = inner.path.map(shortName).join('.');
      leaves.push({ index, name, convention: wrapped ? 'calleeSave' : 'c', pointer: wrapped ? undefined : stripped });
    }
  }
}

/** `pv_cpu_ops` was the table's part that is `cpu` now. */
function shortName(member: string): string {
  return member.replace(/^pv_(\w+)_ops$/, '$1');
}

function groupOf(name: string): OpsGroup {
  const [first] = name.split('.');
  return OPS_GROUPS.find((group) => group === first) ?? 'other';
}

function prototypeOf(btf: Btf, pointer: number): string | undefined {
  const target = btf.strip(btf.target(pointer));
  return btf.kind(target) === BtfKind.FUNC_PROTO ? btf.prototype(target) : undefined;
}

/** The prototype of the first of some functions that the types know. */
export function prototypeByName(btf: Btf, names: readonly string[]): string | undefined {
  for (const name of names) {
    const prototype = functionPrototype(btf, name);
    if (prototype !== undefined) return prototype;
  }
  return undefined;
}

/** `native_halt`, `pv_native_irq_enable`, `__raw_callee_save___native_vcpu_is_preempted`. */
/** Linux names so what PV_CALLEE_SAVE_REGS_THUNK makes, for slots whose callers keep their registers. */
const CALLEE_SAVE_THUNK = /^__raw_callee_save_/;
const NATIVE = /^(?:pv_|__raw_callee_save___|__)?native_(\w+)$/;

/**
 * The slots of a table of which only the size is known: each is named after the function that it holds if that is a
 * native implementation, else by its place.
 */
export function slotsFromSymbols(names: readonly (readonly string[])[]): OpsSlot[] {
  const taken = new Set<string>();
  return names.map((candidates, index) => {
    const [native] = candidates.flatMap((name) => NATIVE.exec(name)?.[1] ?? []);
    const bySymbol = native !== undefined && !taken.has(native);
    const name = bySymbol ? native : `slot${index}`;
    taken.add(name);
    const namedBy = bySymbol ? 'symbol' : 'index';
    const convention = candidates.some((symbol) => CALLEE_SAVE_THUNK.test(symbol)) ? 'calleeSave' : 'unknown';
    return { index, heldIn: 'table', name, group: 'other', namedBy, prototype: undefined, convention };
  });
}
