import { type ElfImage, PolyvisorError } from '@polyvisor/plugin-api';
import { symbolsInSteps } from '../loader/image/elf-symbols.ts';
import { IMAGE_EXIT_CODE } from '../loader/image/image-error.ts';
import { allAtOnce, type Steps } from '../loader/image/steps.ts';
import type { SymbolTable } from '../loader/image/symbol-table.ts';
import { KernelImage } from './kernel-image.ts';
import { typesInSteps } from './kernel-types.ts';
import { prototypeByName, slotsFromSymbols, slotsFromTypes } from './layout.ts';
import type { OpsSlot } from './model.ts';
import { findSites, opsAddressFromSites, type PatchSite, type RowShape, slotCountFromSites } from './sites.ts';
import { findStaticCalls } from './static-calls.ts';

/** What a kernel has put into a slot of its own accord. */
export interface Implementation {
  readonly address: bigint;
  /** All its names. */
  readonly symbols: readonly string[];
  /**
   * What its code does: `nop` returns at once, `identity` returns its argument, `trap` is not meant to be called,
   * `none` is a null pointer.
   */
  readonly kind: 'native' | 'nop' | 'identity' | 'trap' | 'none';
}

export interface KernelSlot extends OpsSlot {
  /** Where the pointer is linked; `undefined`: a static call's key, which no symbol names. */
  readonly pointerAddress: bigint | undefined;
  readonly implementation: Implementation;
  readonly sites: readonly PatchSite[];
}

/** The paravirt table of a kernel file and all that calls through it. */
export interface KernelOps {
  readonly wordBytes: 4 | 8;
  /** Where the table is linked, and how that is known. */
  readonly address: bigint;
  readonly foundBy: 'symbol' | 'sites';
  /** The table's, in its order. */
  readonly slots: readonly KernelSlot[];
  /** Static calls that stand for operations, as the clock does since Linux 5.13. */
  readonly staticCalls: readonly KernelSlot[];
  /** {@link slots}, then {@link staticCalls}. */
  readonly all: readonly KernelSlot[];
  /** Of the table. */
  readonly siteCount: number;
  /** Entries of the lists of sites that were not understood. */
  readonly unreadable: number;
  readonly symbols: SymbolTable;
  /** Of the rows of .altinstructions. */
  readonly rowShape: RowShape | undefined;
}

const TABLE_SYMBOL = 'pv_ops';

/**
 * Finds the table by its symbol (else by the operands of the calls through it), its layout by BTF (else by what it
 * holds), its call sites in the kernel's own patch tables. NOT IMPLEMENTED: kernels before 4.20, which had several
 * tables, and kernels since 6.8 that have no symbols of data.
 * Throws `PolyvisorError` PV5003 for a kernel without such a table, PV2001 for one that is damaged.
 */
export function findKernelOps(elf: ElfImage): KernelOps {
  return allAtOnce(kernelOpsInSteps(elf));
}

/** {@link findKernelOps} in steps, the types of {@link typesOf} included. */
export function* kernelOpsInSteps(elf: ElfImage): Steps<KernelOps> {
  const image = new KernelImage(elf);
  const symbols = yield* symbolsInSteps(elf);
  const bySymbol = symbols.address(TABLE_SYMBOL);
  const address = bySymbol ?? (yield* opsAddressFromSites(image));
  if (address === undefined) throw noOps(symbols.size);
  const btf = yield* typesInSteps(elf);
  const end = bySymbol === undefined ? undefined : symbols.nextAddress(bySymbol);
  const slots = (btf && slotsFromTypes(btf, image.wordBytes)) ?? slotsByContent(image, symbols, address, end);
  if (slots.length === 0) throw refuse(`what lies at ${TABLE_SYMBOL} holds no pointers to code`);
  const slotCount = Math.max(...slots.map(({ index }) => index + 1));
  yield;
  const { sites, unreadable, rowShape } = yield* findSites(image, address, slotCount);
  const bySlot = new Map<number, PatchSite[]>(slots.map(({ index }) => [index, []]));
  for (const site of sites) bySlot.get(site.slot)?.push(site);
  const kernelSlots: KernelSlot[] = [];
  for (const slot of slots) {
    yield;
    const pointerAddress = address + BigInt(slot.index * image.wordBytes);
    const implementation = implementationOf(image, symbols, image.wordAt(pointerAddress) ?? 0n);
    const prototype = slot.prototype ?? (btf && prototypeByName(btf, implementation.symbols));
    kernelSlots.push({ ...slot, pointerAddress, prototype, implementation, sites: bySlot.get(slot.index) ?? [] });
  }
  const names = new Set(kernelSlots.map(({ name }) => name));
  const found = yield* findStaticCalls(image, symbols, slotCount, names);
  const staticCalls = found.calls.map(({ target, ...call }): KernelSlot => {
    const implementation = implementationOf(image, symbols, target);
    const prototype = btf && prototypeByName(btf, implementation.symbols);
    return { ...call, heldIn: 'staticCall', namedBy: 'symbol', convention: 'c', prototype, implementation };
  });
  return {
    ...{ wordBytes: image.wordBytes, address, siteCount: sites.length, symbols, rowShape },
    unreadable: unreadable + found.unreadable,
    foundBy: bySymbol === undefined ? 'sites' : 'symbol',
    ...{ slots: kernelSlots, staticCalls, all: [...kernelSlots, ...staticCalls] },
  };
}

function noOps(symbolCount: number): PolyvisorError {
  const symbol = symbolCount === 0 ? 'the kernel carries no symbols' : `the kernel has no symbol ${TABLE_SYMBOL}`;
  return refuse(`${symbol} and no .parainstructions, by which its paravirt table would be found`);
}

function refuse(what: string): PolyvisorError {
  const fix =
    'give a kernel of 4.20 or later, with CONFIG_PARAVIRT, and with CONFIG_KALLSYMS_ALL if it is 6.8 or later';
  return new PolyvisorError('PV5003', what, fix, IMAGE_EXIT_CODE);
}

/** More than any table has had; what is beyond is not the table. */
const LARGEST_TABLE_BYTES = 4096;

/**
 * Without types: up to the next symbol of data, as far as there are pointers to code or null pointers; without such
 * symbols, as far as there are pointers to code. At least up to the last slot that is called.
 */
function slotsByContent(image: KernelImage, symbols: SymbolTable, address: bigint, end: bigint | undefined): OpsSlot[] {
  const { wordBytes } = image;
  const sizeBytes = Math.min(LARGEST_TABLE_BYTES, end === undefined ? LARGEST_TABLE_BYTES : Number(end - address));
  const called = slotCountFromSites(image);
  const pointers: bigint[] = [];
  let count = 0;
  for (let at = 0; at + wordBytes <= sizeBytes; at += wordBytes) {
    const pointer = image.wordAt(address + BigInt(at));
    const isCode = pointer !== undefined && image.isCode(pointer);
    const goesOn = pointers.length < called || isCode || (end !== undefined && pointer === 0n);
    if (pointer === undefined || !goesOn) break;
    pointers.push(pointer);
    if (isCode || pointers.length <= called) count = pointers.length;
  }
  return slotsFromSymbols(pointers.slice(0, count).map((pointer) => symbols.namesAt(pointer)));
}

function implementationOf(image: KernelImage, symbols: SymbolTable, address: bigint): Implementation {
  return { address, symbols: symbols.namesAt(address), kind: kindOf(image, symbols, address) };
}

const RETURN_THUNK = '__x86_return_thunk';
const FUNCTION_TRACER = '__fentry__';
const CODE_BYTES = 24;

/** By the first instructions: ENDBR, the call of the function tracer, moves of the argument, return (SDM vol. 2). */
function kindOf(image: KernelImage, symbols: SymbolTable, address: bigint): Implementation['kind'] {
  if (address === 0n) return 'none';
  const code = image.bytesAt(address, CODE_BYTES);
  if (!code) return 'native';
  let at = 0;
  const is = (...bytes: readonly number[]) => bytes.every((byte, index) => code[at + index] === byte);
  const goesTo = (name: string) => {
    if (at + 5 > code.length) return false;
    const distance = new DataView(code.buffer, code.byteOffset, code.byteLength).getInt32(at + 1, true);
    return symbols.namesAt(image.wrap(address + BigInt(at + 5 + distance))).includes(name);
  };
  if (is(0xf3, 0x0f, 0x1e, 0xfa) || is(0xf3, 0x0f, 0x1e, 0xfb)) at += 4;
  if (is(0xe8) && goesTo(FUNCTION_TRACER)) at += 5;
  if (is(0x0f, 0x0b)) return 'trap';
  const moves = is(0x48, 0x89, 0xf8);
  if (moves) at += 3;
  const returns = is(0xc3) || (is(0xe9) && goesTo(RETURN_THUNK));
  if (!returns) return 'native';
  return moves ? 'identity' : 'nop';
}
