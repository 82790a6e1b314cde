import { readSymbols, type SymbolTable } from '@polyvisor/core';
import { type Entry, type GuestImage, type MissingDoor, PolyvisorError } from '@polyvisor/plugin-api';
import { ExitCode } from '../exit-codes.ts';

/** A hypervisor interface that a kernel takes up after it has booted by another door; it shows only in its symbols. */
interface Capability {
  readonly name: string;
  readonly abi: string;
  /** Any of them shows that the kernel was built with it; the first is where it begins. */
  readonly symbols: readonly string[];
  readonly plugin: string;
  /** What makes the kernel take it up. */
  readonly how: string;
  /** The same for somebody who has asked for it by `--entry`. */
  readonly instead: string;
}

/** A door that a kernel opens by itself, after it has come in through another one. */
export interface InsideDoor extends Omit<Entry, 'priority'> {
  readonly how: string;
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
    how: 'no --entry: the kernel opens it itself once it runs, if it is started through a native door with --plugin vmi',
    instead:
      'start it through a native door, as with --entry native, and with --plugin vmi=rom:native, trap, xen or a file',
  },
];

/** What the image's own symbols say; a kernel without symbols cannot be told. */
export function findCapabilities(image: GuestImage): {
  readonly inside: readonly InsideDoor[];
  readonly missing: readonly MissingDoor[];
} {
  const symbols = symbolsOf(image);
  const inside: InsideDoor[] = [];
  const missing: MissingDoor[] = [];
  for (const { name, abi, symbols: wanted, plugin, how } of CAPABILITIES) {
    if (typeof symbols === 'string') {
      missing.push({ name, abi, reason: symbols });
      continue;
    }
    const [found] = wanted.flatMap((symbol) => {
      const address = symbols.address(symbol);
      return address === undefined ? [] : [{ address, foundIn: `symbol ${symbol}` }];
    });
    if (found) inside.push({ name, abi, ...found, plugin, how });
    else missing.push({ name, abi, reason: `no symbol ${wanted.join(' or ')}` });
  }
  return { inside, missing };
}

/**
 * Somebody asks by `--entry` for an interface that is taken up later, and no door of the image (`doors`) has that name.
 * @throws PolyvisorError PV2012
 */
export function refuseInsideDoor(image: GuestImage, doors: readonly Entry[], wanted: string | undefined): void {
  const capability = CAPABILITIES.find(({ name }) => name === wanted);
  if (!capability || doors.some(({ name }) => name === wanted)) return;
  const { inside } = findCapabilities(image);
  const opens = inside.some(({ name }) => name === wanted)
    ? 'the kernel opens it itself once it runs'
    : 'a kernel that has it opens it itself once it runs';
  const message = `no ${wanted} door into ${image.name} (${capability.abi}: ${opens})`;
  throw new PolyvisorError('PV2012', message, capability.instead, ExitCode.IMAGE);
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
