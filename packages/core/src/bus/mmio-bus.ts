import { readMemory, writeMemory } from './cycles.ts';
import type { MmioDevice } from './device.ts';
import { RangeTable } from './range-table.ts';
import { UnclaimedLog } from './unclaimed.ts';

/** Takes what no other device of the bus claims; `false`: not this one either. */
export interface SubtractiveMemory {
  readMemory(gpa: number, into: Uint8Array): boolean;
  writeMemory(gpa: number, bytes: Uint8Array): boolean;
}

/** Memory that shows at addresses that are not its own; `false`: not there. */
export interface MemoryAliases {
  readMemory(gpa: number, into: Uint8Array): boolean;
  writeMemory(gpa: number, bytes: Uint8Array): boolean;
}

/** Guest-physical addresses that are not RAM. */
export class MmioBus {
  readonly #ranges = new RangeTable<MmioDevice>('addresses');
  readonly #unclaimed: UnclaimedLog;
  /** Asked for what nobody claims. */
  subtractive: SubtractiveMemory | undefined;
  /** Comes before all devices: a page of memory stands there in a device's place. */
  aliases: MemoryAliases | undefined;

  /** `log` is told once of each address that a guest uses and that nobody claims. */
  constructor(log: (message: string) => void = () => {}) {
    this.#unclaimed = new UnclaimedLog(log);
  }

  /** @throws PolyvisorError PV2020 if another device has one of the addresses */
  claim(name: string, gpa: number, sizeBytes: number, device: MmioDevice): void {
    this.#ranges.add({ first: gpa, sizeBytes, name, device });
  }

  /** Little-endian bytes from a device; all ones where there is none, or where the access leaves the device's range. */
  read(gpa: number, into: Uint8Array): void {
    if (this.aliases?.readMemory(gpa, into)) return;
    const range = this.#ranges.find(gpa);
    if (range && gpa + into.length <= range.first + range.sizeBytes) {
      readMemory(range.device, gpa - range.first, into);
      return;
    }
    if (!range && this.subtractive?.readMemory(gpa, into)) return;
    into.fill(0xff);
    this.#unclaimed.tell('read of address', gpa);
  }

  write(gpa: number, bytes: Uint8Array): void {
    if (this.aliases?.writeMemory(gpa, bytes)) return;
    const range = this.#ranges.find(gpa);
    if (range && gpa + bytes.length <= range.first + range.sizeBytes) {
      writeMemory(range.device, gpa - range.first, bytes);
      return;
    }
    if (!range && this.subtractive?.writeMemory(gpa, bytes)) return;
    this.#unclaimed.tell('write to address', gpa);
  }
}
