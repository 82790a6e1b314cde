import type { RegionName } from './link/layout.ts';
import type { LinkedObject } from './link/link.ts';
import type { TextPlace } from './module.ts';
import { type LinkGuest, linkOpsObject, type OpsObject } from './object-module.ts';

/** Memory for modules; `text` for code and constants, `data` for what the guest may write. Throws PV5013. */
export interface ModuleMemory {
  allocate(region: RegionName, sizeBytes: number): TextPlace;
  write(place: TextPlace, bytes: Uint8Array): void;
}

interface Placed {
  readonly file: Uint8Array;
  readonly places: Readonly<Record<RegionName, TextPlace>>;
}

/**
 * Modules in guest code, each at its place. A file that comes again goes to where it was, with its variables as at first:
 * changing to and fro needs no more memory, and a task that was preempted in it goes on in the same code.
 */
export class PlacedObjects {
  readonly #memory: ModuleMemory;
  readonly #placed: Placed[] = [];

  constructor(memory: ModuleMemory) {
    this.#memory = memory;
  }

  /** Links a module and writes it into the guest. Throws PV5013 (no room), and what `linkOpsObject` throws: nothing is written. */
  place(module: OpsObject, guest: LinkGuest): LinkedObject {
    const places = this.#placed.find(({ file }) => sameBytes(file, module.file))?.places ?? this.#allocate(module);
    const linked = linkOpsObject(module, guest, { text: places.text.gva, data: places.data.gva });
    for (const region of ['text', 'data'] as const) this.#memory.write(places[region], linked.regions[region].bytes);
    return linked;
  }

  /** Kept even if linking fails then, for the next try. */
  #allocate({ layout, file }: OpsObject): Placed['places'] {
    const place = (region: RegionName): TextPlace => {
      const { sizeBytes, alignBytes } = layout.regions[region];
      const whole = this.#memory.allocate(region, sizeBytes + alignBytes);
      const skipBytes = whole.gpa % alignBytes === 0 ? 0 : alignBytes - (whole.gpa % alignBytes);
      return { gva: whole.gva + BigInt(skipBytes), gpa: whole.gpa + skipBytes, sizeBytes };
    };
    const places = { text: place('text'), data: place('data') };
    this.#placed.push({ file, places });
    return places;
  }
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
