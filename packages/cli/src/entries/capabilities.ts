import { readSymbols, type SymbolTable } from '@polyvisor/core';
import { type EntrySearch, type GuestImage, PolyvisorError } from '@polyvisor/plugin-api';

/** A hypervisor interface that a kernel takes up after it has booted by another door; it shows only in its symbols. */
interface Capability {
  readonly name: string;
  readonly abi: string;
  /** Any of them shows that the kernel was built with it; the first is where it begins. */
  readonly symbols: readonly string[];
  readonly plugin: string;
  /** Why it is no door to be entered, and what to do instead. */
  readonly reason: string;
}

/**
 * VMI: arch/x86/kernel/vmi_32.c probes for a ROM in vmi_init (2.6.21 to 2.6.36).
 */
const CAPABILITIES: readonly Capability[] = [
  {
    name: 'vmi',
    abi: 'VMI, registered after a native boot',
    symbols: ['vmi_init', 'activate_vmi'],
    plugin: 'vmi',
    reason: 'the kernel takes it up when it has entered through a native door with --plugin vmi',
  },
];

/** What the image's own symbols say; a kernel without symbols cannot be told. */
export function findCapabilities(image: GuestImage): Required<EntrySearch> {
  const symbols = symbolsOf(image);
  const closed: Required<EntrySearch>['closed'][number][] = [];
  const missing: EntrySearch['missing'][number][] = [];
  for (const { name, abi, symbols: wanted, plugin, reason } of CAPABILITIES) {
    if (typeof symbols === 'string') {
      missing.push({ name, abi, reason: symbols });
      continue;
    }
    const [found] = wanted.flatMap((symbol) => {
      const address = symbols.address(symbol);
      return address === undefined ? [] : [{ address, foundIn: `symbol ${symbol}` }];
    });
    if (found) closed.push({ name, abi, ...found, plugin, reason });
    else missing.push({ name, abi, reason: `no symbol ${wanted.join(' or ')}` });
  }
  return { entries: [], closed, missing };
}

/** The symbols, or why there are none. */
function symbolsOf({ elf }: GuestImage): SymbolTable | string {
  if (!elf) return 'no ELF image whose symbols would tell';
  try {
    const table = readSymbols(elf);
    return table.size > 0 ? table : 'the image carries no symbols that would tell';
  } catch (error) {
    // Doors are worth listing whatever state the symbols are in.
    if (error instanceof PolyvisorError) return `the image's symbols cannot be read: ${error.message}`;
    throw error;
  }
}
