import { readPorts, writePorts } from './cycles.ts';
import type { PortDevice } from './device.ts';
import { RangeTable } from './range-table.ts';
import { UnclaimedLog } from './unclaimed.ts';

/** Takes what no other device of the bus claims; `undefined` and `false`: not this one either. */
export interface SubtractivePorts {
  readPort(port: number, sizeBytes: number): number | undefined;
  writePort(port: number, sizeBytes: number, value: number): boolean;
}

/** The I/O address space: 65,536 ports (SDM vol. 1, 19.3). */
export class PortBus {
  readonly #ranges = new RangeTable<PortDevice>('ports');
  readonly #unclaimed: UnclaimedLog;
  /** Asked for what nobody claims. */
  subtractive: SubtractivePorts | undefined;

  /** `log` is told once of each port that a guest uses and that nobody claims. */
  constructor(log: (message: string) => void = () => {}) {
    this.#unclaimed = new UnclaimedLog(log);
  }

  /** @throws PolyvisorError PV2020 if another device has one of the ports */
  claim(name: string, firstPort: number, ports: number, device: PortDevice): void {
    this.#ranges.add({ first: firstPort, sizeBytes: ports, name, device });
  }

  /** Read 1, 2 or 4 bytes, unsigned; ports that nobody claims answer all ones. */
  read(port: number, sizeBytes: number): number {
    const range = this.#ranges.find(port);
    if (range && port + sizeBytes <= range.first + range.sizeBytes) {
      return readPorts(range.device, port - range.first, sizeBytes);
    }
    if (this.#isShared(port, sizeBytes)) {
      let value = 0;
      for (let i = 0; i < sizeBytes; i++) value |= this.read((port + i) & LAST_PORT, 1) << (8 * i);
      return value >>> 0;
    }
    const found = this.subtractive?.readPort(port, sizeBytes);
    if (found !== undefined) return found;
    this.#unclaimed.tell('read of port', port);
    return ALL_ONES >>> (32 - 8 * sizeBytes);
  }

  /** `value` is unsigned and `sizeBytes` wide. */
  write(port: number, sizeBytes: number, value: number): void {
    const range = this.#ranges.find(port);
    if (range && port + sizeBytes <= range.first + range.sizeBytes) {
      writePorts(range.device, port - range.first, sizeBytes, value);
      return;
    }
    if (this.#isShared(port, sizeBytes)) {
      for (let i = 0; i < sizeBytes; i++) this.write((port + i) & LAST_PORT, 1, (value >>> (8 * i)) & 0xff);
      return;
    }
    if (this.subtractive?.writePort(port, sizeBytes, value)) return;
    this.#unclaimed.tell('write to port', port);
  }

  /** Whether only some of an access's ports belong to one device: then each byte goes its own way. */
  #isShared(port: number, sizeBytes: number): boolean {
    if (sizeBytes === 1) return false;
    for (let i = 0; i < sizeBytes; i++) if (this.#ranges.find((port + i) & LAST_PORT)) return true;
    return port + sizeBytes - 1 > LAST_PORT;
  }
}

const ALL_ONES = 0xffffffff;
const LAST_PORT = 0xffff;
