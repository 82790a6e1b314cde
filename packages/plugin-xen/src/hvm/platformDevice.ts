import type { PortDevice } from '@polyvisor/plugin-api';
import type { HvmDomain } from './hvmDomain.ts';

/** Vendor XenSource, device "Xen platform device" (public/hvm/pvdrivers.h's companion, docs/misc/pci-device-reservations.txt). */
const IDENTITY = {
  vendorId: 0x5853,
  deviceId: 0x0001,
  revision: 1,
  // Unassigned class, sub-class 0x80.
  classCode: 0xff8000,
  subsystemVendorId: 0x5853,
  subsystemId: 0x0001,
} as const;
const PORTS_BAR_BYTES = 256;
/** Where a guest maps its grant table; nothing is behind it. */
const MEMORY_BAR_BYTES = 16 << 20;
const INTA = 1;

/** Fixed ports of the unplug protocol (docs/misc/hvm-emulated-unplug.pandoc). */
const FIRST_PORT = 0x10;
const FIXED_PORTS = 4;
const LOG_OFFSET = 2;
const MAGIC = 0x49d2;
const PROTOCOL_VERSION = 1;
const MAX_LINE = 200;
const ALL_ONES = 0xffff_ffff;

/**
 * The unplug protocol: drivers find the magic number, say what they are, and name the emulated devices that are to go.
 * There is nothing to take away: disks and networks are offered through Xen's own drivers alone.
 */
export class UnplugPorts implements PortDevice {
  readonly cycleBytes = 4;
  readonly #domain: HvmDomain;
  #line = '';

  constructor(domain: HvmDomain) {
    this.#domain = domain;
  }

  readPort(offset: number, sizeBytes: number): number {
    if (offset === 0 && sizeBytes === 2) return MAGIC;
    if (offset === LOG_OFFSET && sizeBytes === 1) return PROTOCOL_VERSION;
    return ALL_ONES >>> (32 - 8 * sizeBytes);
  }

  /** Two bytes at 0: what is to be unplugged; four: a build number; two at 2: a product; a byte there: text for the log. */
  writePort(offset: number, sizeBytes: number, value: number): void {
    if (offset === 0 && sizeBytes === 2) this.#domain.host.count('hvm.unplug');
    if (offset === LOG_OFFSET && sizeBytes === 1) this.#log(value);
  }

  #log(byte: number): void {
    if (byte === 0x0a || this.#line.length >= MAX_LINE) {
      if (this.#line !== '') this.#domain.host.log('info', `(d1) ${this.#line}`);
      this.#line = '';
    }
    if (byte >= 0x20 && byte < 0x7f) this.#line += String.fromCharCode(byte);
  }
}

/** PCI device 5853:0001. Its BARs are there to be found; its pin is the callback of guests that know no vectors. */
export function plugPlatformDevice(domain: HvmDomain): void {
  const { machine } = domain;
  const ports: PortDevice = { cycleBytes: 4, readPort: (_, size) => ALL_ONES >>> (32 - 8 * size), writePort: () => {} };
  const { setInterrupt } = machine.plugPci({
    name: 'Xen platform device',
    identity: IDENTITY,
    bars: {
      0: { kind: 'io', sizeBytes: PORTS_BAR_BYTES, device: ports },
      1: {
        kind: 'memory32',
        sizeBytes: MEMORY_BAR_BYTES,
        prefetchable: true,
        device: { readMmio: () => 0, writeMmio: () => {} },
      },
    },
    interruptPin: INTA,
  });
  domain.upcalls.pin = setInterrupt;
  machine.claimPorts('Xen unplug', FIRST_PORT, FIXED_PORTS, new UnplugPorts(domain));
}
