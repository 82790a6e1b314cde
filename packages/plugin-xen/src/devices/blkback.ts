import { type BlockBackend, SECTOR_BYTES } from '@polyvisor/plugin-api';
import { PAGE_BYTES } from '../layout.ts';
import type { Connection, DeviceModel, FrontendNodes } from './backendDevice.ts';
import { BackRing } from './backRing.ts';
import { BLKIF_LAYOUTS, type BlkifLayout } from './blkifLayout.ts';
import type { ForeignPages } from './foreignPages.ts';
import { type Host, holdPort } from './host.ts';

/** BLKIF_OP_* and BLKIF_RSP_* (public/io/blkif.h). */
const Op = { READ: 0, WRITE: 1, WRITE_BARRIER: 2, FLUSH_DISKCACHE: 3, DISCARD: 5, INDIRECT: 6 } as const;
const Status = { OKAY: 0, ERROR: -1, NOT_SUPPORTED: -2 } as const;

const SEGMENTS_PER_REQUEST = 11;
/** What feature-max-indirect-segments offers: 1 MiB a request. */
const MAX_INDIRECT_SEGMENTS = 256;
const SEGMENT_BYTES = 8;
const SEGMENTS_PER_PAGE = PAGE_BYTES / SEGMENT_BYTES;
const LAST_SECTOR_OF_PAGE = PAGE_BYTES / SECTOR_BYTES - 1;
/** VDISK_READONLY. */
const INFO_READONLY = 4;
/** xvda: major 202, 16 minors a disk (Xen, docs/man/xen-vbd-interface). */
const FIRST_DISK = 202 << 8;
const MINORS_PER_DISK = 16;

interface Segment {
  readonly ref: number;
  readonly offset: number;
  readonly sizeBytes: number;
}

/** A disk for a guest, by the block protocol. NOT IMPLEMENTED: persistent grants, rings of several pages, discard. */
export function blockDevice(host: Host, disk: BlockBackend, index: number): DeviceModel {
  const id = FIRST_DISK + index * MINORS_PER_DISK;
  const writes = disk.readOnly ? '0' : '1';
  return {
    type: 'vbd',
    id,
    backendNodes: {
      dev: `xvd${String.fromCharCode(0x61 + index)}`,
      'device-type': 'disk',
      mode: disk.readOnly ? 'r' : 'w',
      removable: '0',
      bootable: index === 0 ? '1' : '0',
      'feature-barrier': writes,
      'feature-flush-cache': writes,
      'feature-discard': '0',
      'feature-persistent': '0',
      'feature-max-indirect-segments': String(MAX_INDIRECT_SEGMENTS),
      'max-ring-page-order': '0',
    },
    frontendNodes: { 'virtual-device': String(id), 'device-type': 'disk' },
    connect: (frontend) => connect(host, disk, frontend),
  };
}

function connect(host: Host, disk: BlockBackend, frontend: FrontendNodes): Connection | string {
  const layout = BLKIF_LAYOUTS.get(frontend.text('protocol') ?? 'x86_64-abi');
  const ref = frontend.number('ring-ref');
  const port = frontend.number('event-channel');
  if (layout === undefined) return `unknown protocol "${frontend.text('protocol')}"`;
  if (ref === undefined || port === undefined)
    return 'no ring-ref or event-channel: rings of several pages are not offered';
  const page = host.pages.map(ref);
  if (page === undefined) return `ring page ${ref} is not granted`;
  const server = new BlockServer(new BackRing(host.memory, page.gpa, layout.entryBytes), layout, disk, host.pages);
  const channel = holdPort(host, port, () => {
    if (server.serve()) channel?.notify();
    if (server.broken) host.brokenRing('vbd');
  });
  if (channel === undefined) {
    page.release();
    return `event channel ${port} cannot be bound`;
  }
  // What came before the channel was bound.
  channel.run();
  return {
    nodes: {
      sectors: String(disk.sizeBytes / SECTOR_BYTES),
      'sector-size': String(SECTOR_BYTES),
      'physical-sector-size': String(SECTOR_BYTES),
      info: String(disk.readOnly ? INFO_READONLY : 0),
    },
    disconnect: () => {
      channel.close();
      page.release();
    },
  };
}

/** Carries out the requests of one ring. Whatever a request says, it is answered exactly once. */
class BlockServer {
  readonly #ring: BackRing;
  readonly #layout: BlkifLayout;
  readonly #disk: BlockBackend;
  readonly #pages: ForeignPages;

  constructor(ring: BackRing, layout: BlkifLayout, disk: BlockBackend, pages: ForeignPages) {
    this.#ring = ring;
    this.#layout = layout;
    this.#disk = disk;
    this.#pages = pages;
  }

  get broken(): boolean {
    return this.#ring.broken;
  }

  /** `true`: the guest wants to be told. */
  serve(): boolean {
    for (let request = this.#ring.next(); request !== undefined; request = this.#ring.next()) {
      const operation = request.getUint8(0);
      this.#respond(request, operation, this.#perform(request, operation));
    }
    return this.#ring.push();
  }

  #respond(request: DataView, operation: number, status: number): void {
    const response = new DataView(new ArrayBuffer(this.#layout.responseBytes));
    response.setBigUint64(0, request.getBigUint64(this.#layout.id, true), true);
    // An indirect request is answered as the operation that it stands for.
    response.setUint8(8, operation === Op.INDIRECT ? request.getUint8(1) : operation);
    response.setInt16(10, status, true);
    this.#ring.respond(new Uint8Array(response.buffer));
  }

  #perform(request: DataView, operation: number): number {
    const layout = this.#layout;
    if (operation === Op.INDIRECT) return this.#indirect(request);
    if (operation > Op.FLUSH_DISKCACHE) return Status.NOT_SUPPORTED;
    const count = request.getUint8(1);
    if (count > SEGMENTS_PER_REQUEST) return Status.ERROR;
    const segments = readSegments(request, layout.segments, count);
    return segments === undefined
      ? Status.ERROR
      : this.#transfer(operation, sectorOf(request, layout.sector), segments);
  }

  #indirect(request: DataView): number {
    const operation = request.getUint8(1);
    const count = request.getUint16(2, true);
    if (operation > Op.WRITE || count === 0 || count > MAX_INDIRECT_SEGMENTS) return Status.ERROR;
    const segments: Segment[] = [];
    for (let first = 0; first < count; first += SEGMENTS_PER_PAGE) {
      const here = Math.min(SEGMENTS_PER_PAGE, count - first);
      const ref = request.getUint32(this.#layout.indirectRefs + (first / SEGMENTS_PER_PAGE) * 4, true);
      const list = this.#pages.read(ref, 0, here * SEGMENT_BYTES);
      const parsed = list && readSegments(new DataView(list.buffer, list.byteOffset, list.length), 0, here);
      if (parsed === undefined) return Status.ERROR;
      segments.push(...parsed);
    }
    return this.#transfer(operation, sectorOf(request, this.#layout.sector), segments);
  }

  #transfer(operation: number, offsetBytes: number, segments: readonly Segment[]): number {
    if (operation === Op.READ) return this.#read(offsetBytes, segments);
    if (this.#disk.readOnly) return Status.ERROR;
    const barrier = operation === Op.WRITE_BARRIER;
    if (operation !== Op.WRITE && !this.#disk.flush()) return Status.ERROR;
    if (segments.length > 0 && !this.#write(offsetBytes, segments)) return Status.ERROR;
    return barrier && !this.#disk.flush() ? Status.ERROR : Status.OKAY;
  }

  #read(offsetBytes: number, segments: readonly Segment[]): number {
    const data = new Uint8Array(total(segments));
    if (segments.length === 0 || !this.#disk.read(offsetBytes, data)) return Status.ERROR;
    let at = 0;
    for (const { ref, offset, sizeBytes } of segments) {
      if (!this.#pages.write(ref, offset, data.subarray(at, at + sizeBytes))) return Status.ERROR;
      at += sizeBytes;
    }
    return Status.OKAY;
  }

  #write(offsetBytes: number, segments: readonly Segment[]): boolean {
    const data = new Uint8Array(total(segments));
    let at = 0;
    for (const { ref, offset, sizeBytes } of segments) {
      const part = this.#pages.read(ref, offset, sizeBytes);
      if (part === undefined) return false;
      data.set(part, at);
      at += sizeBytes;
    }
    return this.#disk.write(offsetBytes, data);
  }
}

function total(segments: readonly Segment[]): number {
  return segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

/** The disk's offset in bytes; what does not fit a number is out of every disk's range. */
function sectorOf(request: DataView, at: number): number {
  return Number(request.getBigUint64(at, true)) * SECTOR_BYTES;
}

/** struct blkif_request_segment: reference, first and last sector of the page; `undefined`: one of them makes no sense. */
function readSegments(view: DataView, at: number, count: number): Segment[] | undefined {
  const segments: Segment[] = [];
  for (let index = 0; index < count; index++) {
    const start = at + index * SEGMENT_BYTES;
    const first = view.getUint8(start + 4);
    const last = view.getUint8(start + 5);
    if (first > last || last > LAST_SECTOR_OF_PAGE) return undefined;
    segments.push({
      ref: view.getUint32(start, true),
      offset: first * SECTOR_BYTES,
      sizeBytes: (last - first + 1) * SECTOR_BYTES,
    });
  }
  return segments;
}
