import type { MmioDevice, PortDevice } from '../../bus/device.ts';
import { ConfigSpace, type PciCapability } from './config-space.ts';
import { Msi } from './msi.ts';
import { type MessageSink, MSIX_BAR_BYTES, Msix } from './msix.ts';
import { BAR_COUNT, BarType, Command, Config, HEADER_MULTI_FUNCTION, Status } from './spec.ts';

export type { PciCapability } from './config-space.ts';
export type { MessageSink } from './msix.ts';

/** What a function says it is (PCI 3.0, 6.2.1 and 6.2.4). */
export interface PciIdentity {
  readonly vendorId: number;
  readonly deviceId: number;
  readonly revision?: number;
  /** Base class, sub-class, programming interface: `0x020000` is an Ethernet controller. */
  readonly classCode: number;
  readonly subsystemVendorId?: number;
  readonly subsystemId?: number;
}

/** A base address register and the registers behind it. Sizes are powers of two: at least 16 bytes, 4 ports. */
export type PciBar =
  | {
      readonly kind: 'memory32' | 'memory64';
      readonly sizeBytes: number;
      readonly prefetchable?: boolean;
      readonly device: MmioDevice;
    }
  | { readonly kind: 'io'; readonly sizeBytes: number; readonly device: PortDevice };

export interface PciFunctionOptions {
  /** For messages: `virtio-blk`. */
  readonly name: string;
  readonly identity: PciIdentity;
  /** By BAR number; a 64-bit BAR takes its number and the next. */
  readonly bars?: Readonly<Record<number, PciBar>>;
  /** In the order of the chain, before MSI and MSI-X. */
  readonly capabilities?: readonly PciCapability[];
  /** INTA to INTD are 1 to 4; 0 or absent: no pin. */
  readonly interruptPin?: 0 | 1 | 2 | 3 | 4;
  /** MSI with so many vectors, a power of two up to 32. */
  readonly msi?: number;
  /** MSI-X with so many vectors, up to 128; its table is alone in this BAR, of 4 KiB. */
  readonly msix?: { readonly vectors: number; readonly bar: number };
}

/** What a slot of the bus does for the function in it. */
export interface PciSlot {
  setPin(pin: number, asserted: boolean): void;
  readonly sendMessage: MessageSink;
}

/** A BAR that decodes an address at present. */
export interface BarHit<Kind extends PciBar['kind']> {
  readonly bar: Extract<PciBar, { kind: Kind }>;
  readonly offset: number;
}

const WRITABLE_COMMAND =
  Command.ioSpace |
  Command.memorySpace |
  Command.busMaster |
  Command.parityErrorResponse |
  Command.serr |
  Command.interruptDisable;

/** One function on the bus: what its configuration space holds, and how it interrupts. */
export class PciFunction {
  readonly name: string;
  readonly bars: readonly (PciBar | undefined)[];
  readonly #config = new ConfigSpace();
  readonly #msi: Msi | undefined;
  readonly #msix: Msix | undefined;
  #slot: PciSlot | undefined;
  #pinAsserted = false;

  /** @throws RangeError for BARs or capabilities that do not fit */
  constructor(options: PciFunctionOptions) {
    this.name = options.name;
    this.#writeIdentity(options);
    for (const capability of options.capabilities ?? []) this.#config.addCapability(capability);
    const send: MessageSink = (address, data) => this.#slot?.sendMessage(address, data);
    if (options.msi) {
      let at = 0;
      this.#msi = new Msi(options.msi, (offset, sizeBytes) => this.#config.read(at + offset, sizeBytes), send);
      at = this.#config.addCapability(this.#msi.capability);
    }
    const bars: Record<number, PciBar> = { ...options.bars };
    if (options.msix) {
      let at = 0;
      const { vectors, bar } = options.msix;
      this.#msix = new Msix(vectors, bar, () => this.#config.view.getUint16(at + 2, true), send);
      at = this.#config.addCapability(this.#msix.capability);
      if (bars[bar]) throw new RangeError(`${this.name}: BAR ${bar} is for MSI-X alone`);
      bars[bar] = { kind: 'memory32', sizeBytes: MSIX_BAR_BYTES, device: this.#msix };
    }
    this.bars = this.#layOutBars(bars);
  }

  #writeIdentity({ identity, interruptPin }: PciFunctionOptions): void {
    const { view } = this.#config;
    view.setUint16(Config.vendorId, identity.vendorId, true);
    view.setUint16(Config.deviceId, identity.deviceId, true);
    view.setUint8(Config.revision, identity.revision ?? 0);
    view.setUint8(Config.classCode, identity.classCode & 0xff);
    view.setUint16(Config.classCode + 1, identity.classCode >>> 8, true);
    view.setUint16(Config.subsystemVendorId, identity.subsystemVendorId ?? 0, true);
    view.setUint16(Config.subsystemId, identity.subsystemId ?? 0, true);
    view.setUint8(Config.interruptPin, interruptPin ?? 0);
    this.#config.allow16(Config.command, WRITABLE_COMMAND);
    this.#config.allow8(Config.cacheLineSize, 0xff);
    this.#config.allow8(Config.latencyTimer, 0xff);
    this.#config.allow8(Config.interruptLine, 0xff);
  }

  #layOutBars(bars: Readonly<Record<number, PciBar>>): (PciBar | undefined)[] {
    const laidOut: (PciBar | undefined)[] = new Array(BAR_COUNT).fill(undefined);
    for (const [key, bar] of Object.entries(bars)) {
      const index = Number(key);
      const least = bar.kind === 'io' ? 4 : 16;
      const registers = bar.kind === 'memory64' ? 2 : 1;
      const isPower = Number.isInteger(Math.log2(bar.sizeBytes));
      if (!isPower || bar.sizeBytes < least || bar.sizeBytes > 2 ** 31 || index + registers > BAR_COUNT) {
        throw new RangeError(`${this.name}: BAR ${index} of ${bar.sizeBytes} bytes`);
      }
      if (registers === 2 && bars[index + 1])
        throw new RangeError(`${this.name}: BAR ${index} takes BAR ${index + 1} too`);
      laidOut[index] = bar;
      const at = Config.bar0 + 4 * index;
      this.#config.view.setUint32(at, typeBits(bar), true);
      this.#config.allow32(at, -bar.sizeBytes);
      if (registers === 2) this.#config.allow32(at + 4, 0xffffffff);
    }
    return laidOut;
  }

  /** The bus puts the function into a slot. */
  plugInto(slot: PciSlot): void {
    this.#slot = slot;
  }
  /** Its device has further functions (PCI 3.0, 6.2.1). */
  markMultiFunction(): void {
    this.#config.view.setUint8(Config.headerType, HEADER_MULTI_FUNCTION);
  }

  /** Bytes of configuration space; offset and size naturally aligned. */
  readConfig(offset: number, sizeBytes: number): number {
    return this.#config.read(offset, sizeBytes);
  }
  writeConfig(offset: number, sizeBytes: number, value: number): void {
    this.#config.write(offset, sizeBytes, value);
    if (offset < Config.status) this.#updatePin();
  }

  get #command(): number {
    return this.#config.view.getUint16(Config.command, true);
  }

  /** The guest lets the device read and write its memory. */
  get busMaster(): boolean {
    return (this.#command & Command.busMaster) !== 0;
  }

  /** MSI-X or MSI is on: use {@link raiseMessage}; otherwise {@link setPin}. */
  get usesMessages(): boolean {
    return (this.#msix?.enabled ?? false) || (this.#msi?.enabled ?? false);
  }
  get usesMsix(): boolean {
    return this.#msix?.enabled ?? false;
  }

  /** Send a vector's message; one that is masked is kept pending. Does nothing while neither MSI-X nor MSI is on. */
  raiseMessage(vector: number): void {
    if (this.#msix?.enabled) this.#msix.raise(vector);
    else if (this.#msi?.enabled) this.#msi.raise(vector);
  }

  /** The level of the INTx pin; Command.interruptDisable keeps it from the bus, not from the status register. */
  setPin(asserted: boolean): void {
    if (this.#pinAsserted === asserted) return;
    this.#pinAsserted = asserted;
    const { view } = this.#config;
    const status = view.getUint16(Config.status, true);
    view.setUint16(Config.status, asserted ? status | Status.interrupt : status & ~Status.interrupt, true);
    this.#updatePin();
  }
  #updatePin(): void {
    const pin = this.#config.view.getUint8(Config.interruptPin);
    if (pin === 0) return;
    this.#slot?.setPin(pin, this.#pinAsserted && !(this.#command & Command.interruptDisable));
  }

  /** Where a BAR is at present; `undefined`: not decoded. An address of 0 counts as none. */
  barAddress(index: number): number | undefined {
    const bar = this.bars[index];
    if (!bar) return undefined;
    const enable = bar.kind === 'io' ? Command.ioSpace : Command.memorySpace;
    if (!(this.#command & enable)) return undefined;
    const { view } = this.#config;
    const at = Config.bar0 + 4 * index;
    const low = (view.getUint32(at, true) & -bar.sizeBytes & (bar.kind === 'io' ? ~3 : ~15)) >>> 0;
    const high = bar.kind === 'memory64' ? view.getUint32(at + 4, true) : 0;
    const address = high * 2 ** 32 + low;
    return address === 0 ? undefined : address;
  }

  /** The memory BAR that decodes all of these bytes. */
  findMemory(gpa: number, sizeBytes: number): BarHit<'memory32' | 'memory64'> | undefined {
    for (let i = 0; i < BAR_COUNT; i++) {
      const bar = this.bars[i];
      if (!bar || bar.kind === 'io') continue;
      const offset = gpa - (this.barAddress(i) ?? Number.POSITIVE_INFINITY);
      if (offset >= 0 && offset + sizeBytes <= bar.sizeBytes) return { bar, offset };
    }
    return undefined;
  }
  /** The I/O BAR that decodes all of these ports. */
  findPorts(port: number, sizeBytes: number): BarHit<'io'> | undefined {
    for (let i = 0; i < BAR_COUNT; i++) {
      const bar = this.bars[i];
      if (bar?.kind !== 'io') continue;
      const offset = port - (this.barAddress(i) ?? Number.POSITIVE_INFINITY);
      if (offset >= 0 && offset + sizeBytes <= bar.sizeBytes) return { bar, offset };
    }
    return undefined;
  }
}

function typeBits(bar: PciBar): number {
  if (bar.kind === 'io') return BarType.io;
  return (bar.kind === 'memory64' ? BarType.memory64 : 0) | (bar.prefetchable ? BarType.prefetchable : 0);
}
