import { PolyvisorError } from '@polyvisor/plugin-api';
import { type Btf, BtfKind } from '../loader/image/btf.ts';
import { latin1 } from '../loader/image/byte-reader.ts';
import { typesOf } from './kernel-types.ts';
import type { RunningKernel } from './running-kernel.ts';
import { offsetOf } from './struct-layout.ts';

const LIST = 'modules';
const MODULE = 'module';
/** Bounds for what the guest's memory says. */
const MOST_MODULES = 4096;
const MOST_SECTIONS = 512;
const MOST_TEXT_BYTES = 64n << 20n;
const MOST_SECTION_BYTES = 1n << 20n;
const NAME_BYTES = 56;

interface Range {
  readonly first: bigint;
  readonly end: bigint;
}

/** A kernel module that the guest has loaded, as far as it can be told from others. */
export interface PresentModule {
  /** Of its struct module. */
  readonly address: bigint;
  /** Its initialisation has not ended yet: the code for that is there. */
  readonly coming: boolean;
  /** Its address and where its code begins. */
  readonly key: string;
}

/** A kernel module that the guest has loaded. */
export interface GuestModule extends PresentModule {
  readonly name: string;
  readonly text: Range;
  /** Code for the initialisation; freed afterwards. */
  readonly initText: Range;
  /** Where its sections lie, with where the next one begins. */
  readonly sections: ReadonlyMap<string, Range>;
}

/** Where the kernel's types put what is read (Linux, include/linux/module.h, kernel/module/sysfs.c). */
interface Layout {
  readonly list: number;
  readonly name: number;
  readonly state: number;
  readonly text: RangeLayout;
  readonly initText: RangeLayout;
  readonly sections: { readonly pointer: number; readonly count: number; readonly first: number };
  readonly section: { readonly sizeBytes: number; readonly name: number; readonly address: number };
  readonly states: { readonly live: number; readonly coming: number; readonly unformed: number };
}
interface RangeLayout {
  readonly base: number;
  readonly sizeBytes: number;
}

/** The guest's list of kernel modules, read anew each time: it is the guest's, and so is what it says. */
export class GuestModules {
  readonly #kernel: RunningKernel;
  readonly #list: bigint;
  readonly #layout: Layout;

  /** `undefined`: the kernel has no list of modules, or no types by which it could be read. */
  static of(kernel: RunningKernel): GuestModules | undefined {
    const list = kernel.symbol(LIST);
    const btf = typesOf(kernel.elf);
    const layout = btf && layoutOf(btf);
    return list === undefined || !layout ? undefined : new GuestModules(kernel, list, layout);
  }

  private constructor(kernel: RunningKernel, list: bigint, layout: Layout) {
    this.#kernel = kernel;
    this.#list = list;
    this.#layout = layout;
  }

  /** How many of those in the list make no sense; 0 too if that cannot be read at this moment. */
  senseless(): number {
    return this.#listed()?.filter(({ address }) => !this.at(address)).length ?? 0;
  }
  /** Which modules there are, those that make no sense included; `undefined`: the list cannot be read at this moment. */
  present(): PresentModule[] | undefined {
    const { states, text } = this.#layout;
    return this.#listed()?.map(({ address, state }) => ({
      ...{ address, coming: state === states.coming },
      key: keyOf(address, this.#word(address + BigInt(text.base))),
    }));
  }

  #listed(): { readonly address: bigint; readonly state: number | undefined }[] | undefined {
    const { list, state: offset, states } = this.#layout;
    const listed: { address: bigint; state: number | undefined }[] = [];
    let node = this.#word(this.#list);
    for (let count = 0; node !== undefined && node !== this.#list; count++) {
      if (count > MOST_MODULES) return undefined;
      const address = node - BigInt(list);
      const state = this.#int(address + BigInt(offset));
      if (state !== states.unformed) listed.push({ address, state });
      node = this.#word(node);
    }
    return node === undefined ? undefined : listed;
  }

  /** The module of a struct module; `undefined`: there is none that makes sense. */
  at(address: bigint): GuestModule | undefined {
    const { name, state, states, text, initText } = this.#layout;
    const title = this.#text(address + BigInt(name), NAME_BYTES);
    const now = this.#int(address + BigInt(state));
    const range = this.#range(address, text);
    const init = this.#range(address, initText);
    if (!title || now === undefined || !range || !init) return undefined;
    const sections = this.#sections(address, [range, init]);
    const key = keyOf(address, range.first);
    return (
      sections && { address, key, name: title, coming: now === states.coming, text: range, initText: init, sections }
    );
  }

  #range(module: bigint, { base, sizeBytes }: RangeLayout): Range | undefined {
    const first = this.#word(module + BigInt(base));
    const size = this.#int(module + BigInt(sizeBytes));
    if (first === undefined || size === undefined || size < 0 || BigInt(size) > MOST_TEXT_BYTES) return undefined;
    return { first, end: first === 0n ? 0n : first + BigInt(size) };
  }

  #sections(module: bigint, ranges: readonly Range[]): Map<string, Range> | undefined {
    const { sections, section } = this.#layout;
    const table = this.#word(module + BigInt(sections.pointer));
    const count = table ? this.#int(table + BigInt(sections.count)) : 0;
    if (table === undefined || count === undefined || count < 0 || count > MOST_SECTIONS) return undefined;
    const found: { readonly name: string; readonly first: bigint }[] = [];
    for (let i = 0; i < count; i++) {
      const entry = table + BigInt(sections.first + i * section.sizeBytes);
      const pointer = this.#word(entry + BigInt(section.name));
      const name = pointer && this.#text(pointer, NAME_BYTES);
      const first = this.#word(entry + BigInt(section.address));
      if (!name || first === undefined) return undefined;
      found.push({ name, first });
    }
    const borders = [...found.map(({ first }) => first), ...ranges.map(({ end }) => end)];
    borders.sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
    const endOf = (first: bigint) => {
      const most = first + MOST_SECTION_BYTES;
      return borders.find((at) => at > first && at < most) ?? most;
    };
    return new Map(found.map(({ name, first }) => [name, { first, end: endOf(first) }]));
  }

  #word(gva: bigint): bigint | undefined {
    return this.#kernel.readWordNow(gva);
  }
  #int(gva: bigint): number | undefined {
    const bytes = this.#kernel.readNow(gva, 4);
    return bytes && new DataView(bytes.buffer, bytes.byteOffset).getInt32(0, true);
  }
  #text(gva: bigint, mostBytes: number): string | undefined {
    // What ends before a page does must not fail because of the next page.
    const bytes = this.#kernel.readNow(gva, mostBytes) ?? this.#kernel.readNow(gva, 4096 - Number(gva & 0xfffn));
    const sizeBytes = bytes?.indexOf(0) ?? -1;
    return bytes && sizeBytes >= 0 ? latin1(bytes.subarray(0, sizeBytes)) : undefined;
  }
}

const keyOf = (address: bigint, textFirst: bigint | undefined) => `${address}:${textFirst}`;

/** `undefined`: the types are others than are known here. */
function layoutOf(btf: Btf): Layout | undefined {
  const state = btf.find(BtfKind.ENUM, 'module_state');
  const entry = btf.find(BtfKind.STRUCT, 'module_sect_attr');
  if (state === undefined || entry === undefined || btf.find(BtfKind.STRUCT, MODULE) === undefined) return undefined;
  const enumerator = (name: string) => btf.enumerator(state, `MODULE_STATE_${name}`);
  const [live, coming, unformed] = ['LIVE', 'COMING', 'UNFORMED'].map(enumerator);
  if (live === undefined || coming === undefined || unformed === undefined) return undefined;
  try {
    const at = (...path: string[]) => offsetOf(btf, MODULE, path);
    return {
      ...{ list: at('list'), name: at('name'), state: at('state'), states: { live, coming, unformed } },
      ...textLayout(btf),
      sections: {
        pointer: at('sect_attrs'),
        count: offsetOf(btf, 'module_sect_attrs', ['nsections']),
        first: offsetOf(btf, 'module_sect_attrs', ['attrs']),
      },
      section: {
        sizeBytes: btf.structSizeBytes(entry),
        name: offsetOf(btf, 'module_sect_attr', ['battr', 'attr', 'name']),
        address: offsetOf(btf, 'module_sect_attr', ['address']),
      },
    };
  } catch (error) {
    if (error instanceof PolyvisorError) return undefined;
    throw error;
  }
}

/** Since 6.4 `mem` is an array of kinds of memory; before, there were two areas, which begin with code. */
function textLayout(btf: Btf): Pick<Layout, 'text' | 'initText'> {
  const kinds = btf.find(BtfKind.ENUM, 'mod_mem_type');
  const area = (path: string[], size: string) => ({
    base: offsetOf(btf, MODULE, [...path, 'base']),
    sizeBytes: offsetOf(btf, MODULE, [...path, size]),
  });
  if (kinds === undefined) {
    return { text: area(['core_layout'], 'text_size'), initText: area(['init_layout'], 'text_size') };
  }
  const memory = btf.find(BtfKind.STRUCT, 'module_memory');
  const member = (name: string) => {
    const first =
      offsetOf(btf, MODULE, ['mem']) + (btf.enumerator(kinds, name) ?? 0) * btf.structSizeBytes(memory ?? 0);
    const within = (field: string) => first + offsetOf(btf, 'module_memory', [field]);
    return { base: within('base'), sizeBytes: within('size') };
  };
  return { text: member('MOD_TEXT'), initText: member('MOD_INIT_TEXT') };
}
