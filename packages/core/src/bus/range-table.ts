import { PolyvisorError } from '@polyvisor/plugin-api';

/** A range of addresses and who answers there. */
export interface ClaimedRange<Device> {
  readonly first: number;
  readonly sizeBytes: number;
  /** For messages: `uart`. */
  readonly name: string;
  readonly device: Device;
}

const hex = (value: number) => `0x${value.toString(16)}`;

/** Ranges of one address space, none of which overlap. */
export class RangeTable<Device> {
  /** Sorted by their first address. */
  readonly #ranges: ClaimedRange<Device>[] = [];
  readonly #space: string;

  /** `space` names what is claimed, in messages: `ports`. */
  constructor(space: string) {
    this.#space = space;
  }

  /** @throws PolyvisorError PV2020 that names both claimants if the range overlaps another */
  add(range: ClaimedRange<Device>): void {
    const last = range.first + range.sizeBytes - 1;
    const other = this.#ranges.find((at) => at.first <= last && range.first <= at.first + at.sizeBytes - 1);
    if (other) {
      throw new PolyvisorError(
        'PV2020',
        `${this.#space} ${hex(range.first)} to ${hex(last)} of ${range.name} overlap ` +
          `${hex(other.first)} to ${hex(other.first + other.sizeBytes - 1)} of ${other.name}`,
        'leave one of the two out of the platform',
      );
    }
    const at = this.#ranges.findIndex((next) => next.first > range.first);
    this.#ranges.splice(at < 0 ? this.#ranges.length : at, 0, range);
  }

  find(address: number): ClaimedRange<Device> | undefined {
    let low = 0;
    let high = this.#ranges.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const range = this.#ranges[middle];
      if (address < range.first) high = middle;
      else if (address >= range.first + range.sizeBytes) low = middle + 1;
      else return range;
    }
    return undefined;
  }
}
