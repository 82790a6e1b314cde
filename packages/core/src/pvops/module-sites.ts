import type { Steps } from '../loader/image/steps.ts';
import type { GuestModule } from './guest-modules.ts';
import type { LiveSite } from './live-site.ts';
import type { RunningKernel } from './running-kernel.ts';
import { alternativeRows, type ModuleSite, type RowShape } from './sites.ts';

const PAGE = 4096n;
const CALL = 0xe8;
const JMP = 0xe9;
const SHORTEST_BYTES = 5;
/** What a direct call of an alternative is before the kernel makes of it the call of what the slot has (since Linux 6.8). */
const PLACEHOLDER = 'BUG_func';

const SITES_A_STEP = 128;

/** Slots by the code that the kernel has put into their sites; `undefined`: into those of more than one. */
export type SlotsByCode = ReadonlyMap<string, number | undefined>;

/** Of the kernel's own sites, as it has them. */
export function* slotsByCode(sites: readonly LiveSite[]): Steps<SlotsByCode> {
  const slots = new Map<string, number | undefined>();
  for (const [i, { original, slot }] of sites.entries()) {
    if ((i + 1) % SITES_A_STEP === 0) yield;
    if (!isDirect(original)) learn(slots, keyOf(original), slot);
  }
  return slots;
}

/** The sites of kernel modules, by the tables that these carry; the kernel has gone through them when it loaded the module. */
export class ModuleSites {
  readonly #kernel: RunningKernel;
  readonly #shape: RowShape | undefined;
  readonly #slotByCode: SlotsByCode;
  /** Likewise by where they lead. */
  readonly #slotByTarget = new Map<bigint, number | undefined>();

  /** `previous`: what the kernel's table has, by slot. */
  constructor(
    kernel: RunningKernel,
    slotByCode: SlotsByCode,
    previous: readonly (readonly [slot: number, target: bigint])[],
  ) {
    this.#kernel = kernel;
    this.#shape = kernel.ops.rowShape;
    this.#slotByCode = slotByCode;
    for (const [slot, target] of previous) learn(this.#slotByTarget, target, slot);
  }

  /** `unknown`: sites whose slot is not known. */
  of(module: GuestModule): { readonly sites: ModuleSite[]; readonly unknown: number } {
    const paravirt = this.#read(module, '.parainstructions');
    const alternatives = this.#shape && this.#read(module, '.altinstructions');
    const sites = new Map<bigint, ModuleSite>();
    for (const site of this.#parainstructions(paravirt, module)) sites.set(site.gva, site);
    let unknown = 0;
    for (const { gva, sizeBytes } of this.#alternatives(module, alternatives)) {
      if (sites.has(gva)) continue;
      const slot = this.#slotOf(gva, sizeBytes);
      if (slot === undefined) unknown++;
      else sites.set(gva, { gva, sizeBytes, slot, listedIn: '.altinstructions' });
    }
    return { sites: [...sites.values()], unknown };
  }

  #isCode(module: GuestModule, gva: bigint): boolean {
    const { text, initText, coming } = module;
    return (gva >= text.first && gva < text.end) || (coming && gva >= initText.first && gva < initText.end);
  }

  *#parainstructions(table: Table | undefined, module: GuestModule): Generator<ModuleSite> {
    const { wordBytes } = this.#kernel;
    const { slots } = this.#kernel.ops;
    const bytes = table?.bytes ?? new Uint8Array();
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 0; at + 2 * wordBytes <= bytes.length; at += 2 * wordBytes) {
      const gva = wordBytes === 8 ? view.getBigUint64(at, true) : BigInt(view.getUint32(at, true));
      const [slot, sizeBytes] = [bytes[at + wordBytes], bytes[at + wordBytes + 1]];
      const isSite = sizeBytes >= SHORTEST_BYTES && this.#isCode(module, gva);
      if (isSite && slots.some(({ index }) => index === slot)) {
        yield { gva, sizeBytes, slot, listedIn: '.parainstructions' };
      }
    }
  }

  /** Alternatives of a call through the table: one of their rows is a direct call, in the file of a placeholder. */
  *#alternatives(module: GuestModule, table: Table | undefined): Generator<Pick<ModuleSite, 'gva' | 'sizeBytes'>> {
    const placeholder = this.#kernel.symbol(PLACEHOLDER);
    if (!table || !this.#shape || placeholder === undefined) return;
    const wrap = (address: bigint) => this.#kernel.wrap(address);
    for (const { address: gva, sizeBytes, alternative } of alternativeRows(
      table.bytes,
      table.first,
      this.#shape,
      wrap,
    )) {
      const { replacementAddress, replacementBytes } = alternative;
      if (replacementBytes !== SHORTEST_BYTES || sizeBytes < SHORTEST_BYTES || !this.#isCode(module, gva)) continue;
      const code = this.#kernel.readNow(replacementAddress, replacementBytes);
      if (code?.[0] === CALL && this.#target(replacementAddress, code) === placeholder) yield { gva, sizeBytes };
    }
  }

  #slotOf(gva: bigint, sizeBytes: number): number | undefined {
    const code = this.#kernel.readNow(gva, sizeBytes);
    if (!code) return undefined;
    return isDirect(code) ? this.#slotByTarget.get(this.#target(gva, code)) : this.#slotByCode.get(keyOf(code));
  }
  #target(gva: bigint, code: Uint8Array): bigint {
    const distance = new DataView(code.buffer, code.byteOffset, code.byteLength).getInt32(1, true);
    return this.#kernel.wrap(gva + BigInt(SHORTEST_BYTES + distance));
  }

  /** A section's bytes, as far as they are mapped. */
  #read({ sections }: GuestModule, name: string): Table | undefined {
    const range = sections.get(name);
    if (!range) return undefined;
    const { first, end } = range;
    const pages: Uint8Array[] = [];
    for (let at = first; at < end; ) {
      const next = (at / PAGE + 1n) * PAGE;
      const page = this.#kernel.readNow(at, Number((next < end ? next : end) - at));
      if (!page) break;
      pages.push(page);
      at = next;
    }
    const bytes = new Uint8Array(pages.reduce((sum, { length }) => sum + length, 0));
    let to = 0;
    for (const page of pages) {
      bytes.set(page, to);
      to += page.length;
    }
    return { first, bytes };
  }
}

interface Table {
  readonly first: bigint;
  readonly bytes: Uint8Array;
}

const isDirect = (code: Uint8Array) => code[0] === CALL || code[0] === JMP;
const keyOf = (code: Uint8Array) => code.join();

function learn<Key>(known: Map<Key, number | undefined>, key: Key, slot: number): void {
  known.set(key, !known.has(key) || known.get(key) === slot ? slot : undefined);
}
