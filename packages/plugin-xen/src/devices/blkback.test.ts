import type { BlockBackend } from '@polyvisor/plugin-api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FakeFrontend, FrontRing } from '../testing/frontend.ts';

const DEVICE = 'vbd/51712';
const Op = { READ: 0, WRITE: 1, BARRIER: 2, FLUSH: 3, DISCARD: 5, INDIRECT: 6 };
const IN_USE = 0x18;
const SECTORS = 64;
/** The first page that a frontend grants is its ring. */
const RING_REF = 8;

function fakeDisk(readOnly = false) {
  const content = Uint8Array.from({ length: SECTORS * 512 }, (_, at) => at >> 9);
  const log: string[] = [];
  const inside = (offset: number, size: number) => Number.isSafeInteger(offset) && offset + size <= content.length;
  const disk: BlockBackend = {
    name: 'd',
    sizeBytes: content.length,
    readOnly,
    read: (offset, into) => {
      if (!inside(offset, into.length)) return false;
      into.set(content.subarray(offset, offset + into.length));
      return true;
    },
    write: (offset, bytes) => {
      log.push(`write ${offset}`);
      if (readOnly || !inside(offset, bytes.length)) return false;
      content.set(bytes, offset);
      return true;
    },
    flush: () => log.push('flush') > 0,
  };
  return { disk, content, log };
}

interface Segment {
  readonly ref: number;
  readonly first: number;
  readonly last: number;
}

/** Field offsets by ABI, written down once more: those of the code under test are not used. */
const ABI = {
  'x86_64-abi': { entry: 112, id: 8, sector: 16, segments: 24, indirect: 28 },
  'x86_32-abi': { entry: 108, id: 4, sector: 12, segments: 20, indirect: 24 },
} as const;

function connected({ readOnly = false, abi = 'x86_64-abi' as keyof typeof ABI } = {}) {
  const backing = fakeDisk(readOnly);
  const frontend = new FakeFrontend({ disks: [backing.disk] });
  const layout = ABI[abi];
  const ring = new FrontRing(frontend, layout.entry);
  const port = frontend.port();
  frontend.write(DEVICE, { 'ring-ref': ring.ref, 'event-channel': port, protocol: abi, state: 3 });
  let id = 0n;
  const put = (operation: number, sector: number | bigint, segments: readonly Segment[], count = segments.length) => {
    const view = new DataView(new ArrayBuffer(layout.entry));
    view.setUint8(0, operation);
    view.setUint8(1, count);
    view.setBigUint64(layout.id, ++id, true);
    view.setBigUint64(layout.sector, BigInt(sector), true);
    segments.forEach(({ ref, first, last }, index) => {
      view.setUint32(layout.segments + index * 8, ref, true);
      view.setUint8(layout.segments + index * 8 + 4, first);
      view.setUint8(layout.segments + index * 8 + 5, last);
    });
    ring.put(new Uint8Array(view.buffer));
    return id;
  };
  const kick = () => {
    frontend.events.send(port);
    return ring.take(12).map((view) => ({
      id: view.getBigUint64(0, true),
      operation: view.getUint8(8),
      status: view.getInt16(10, true),
    }));
  };
  const request = (operation: number, sector: number | bigint, ...segments: Segment[]) => {
    put(operation, sector, segments);
    return kick()[0]?.status;
  };
  return { ...backing, frontend, ring, port, layout, put, kick, request };
}

describe('the handshake', () => {
  it('offers, waits, and connects with the disk’s size', () => {
    const { frontend, ring } = connected();
    expect(frontend.backend(DEVICE, 'state')).toBe('4');
    expect(frontend.backend(DEVICE, 'sectors')).toBe(String(SECTORS));
    expect(frontend.backend(DEVICE, 'mode')).toBe('w');
    expect(frontend.grantFlags(ring.ref) & IN_USE).toBe(IN_USE);
  });

  it('lets go of everything when the frontend closes, and serves the next one', () => {
    const { frontend, ring, port } = connected();
    frontend.write(DEVICE, { state: 5 });
    expect(frontend.backend(DEVICE, 'state')).toBe('5');
    expect([frontend.held, frontend.grantFlags(ring.ref) & IN_USE]).toEqual([0, 0]);
    frontend.write(DEVICE, { state: 6 });
    frontend.write(DEVICE, { state: 1 });
    expect(frontend.backend(DEVICE, 'state')).toBe('2');
    const again = new FrontRing(frontend, 112);
    frontend.write(DEVICE, { 'ring-ref': again.ref, 'event-channel': port, state: 3 });
    expect(frontend.backend(DEVICE, 'state')).toBe('4');
  });

  it.each([
    ['no ring', {}],
    ['a ring that is not granted', { 'ring-ref': 500, 'event-channel': 3 }],
    ['a reference beyond the table', { 'ring-ref': 4_294_967_295, 'event-channel': 3 }],
    ['no number', { 'ring-ref': 'x', 'event-channel': 3 }],
    ['an unknown protocol', { 'ring-ref': 8, 'event-channel': 1, protocol: 'mips' }],
  ])('refuses %s with a line', (_what, nodes) => {
    const frontend = new FakeFrontend({ disks: [fakeDisk().disk] });
    frontend.write(DEVICE, { ...nodes, state: 3 });
    expect(frontend.backend(DEVICE, 'state')).toBe('5');
    expect(frontend.domain.host.logged).toHaveLength(1);
    expect(frontend.held).toBe(0);
  });

  it('refuses a channel that is not the control domain’s, and gives the ring back', () => {
    const frontend = new FakeFrontend({ disks: [fakeDisk().disk] });
    const { ref } = frontend.page();
    const port = Number(frontend.events.allocUnbound(1));
    frontend.write(DEVICE, { 'ring-ref': ref, 'event-channel': port, state: 3 });
    expect([frontend.backend(DEVICE, 'state'), frontend.held, frontend.grantFlags(ref) & IN_USE]).toEqual(['5', 0, 0]);
  });
});

describe.each(Object.keys(ABI) as (keyof typeof ABI)[])('requests of %s', (abi) => {
  it('read and write parts of pages, and tell the guest', () => {
    const { frontend, request, content, port } = connected({ abi });
    const { ref, gpa } = frontend.page();
    frontend.takeEvent(port);
    expect(request(Op.READ, 2, { ref, first: 1, last: 2 })).toBe(0);
    expect(frontend.takeEvent(port)).toBe(true);
    expect([0, 512, 1024, 1536].map((at) => frontend.memory.read8(gpa + at))).toEqual([0, 2, 3, 0]);
    frontend.memory.fill(gpa, 512, 0xaa);
    expect(request(Op.WRITE, 5, { ref, first: 0, last: 0 })).toBe(0);
    expect([content[5 * 512], content[6 * 512]]).toEqual([0xaa, 6]);
  });

  it('may list their segments in pages of their own, and are answered as what they stand for', () => {
    const { frontend, ring, kick, layout } = connected({ abi });
    const list = frontend.page();
    const data = [frontend.page(), frontend.page()];
    data.forEach(({ ref }, index) => {
      frontend.memory.write32(list.gpa + index * 8, ref);
      frontend.memory.write8(list.gpa + index * 8 + 5, 7);
    });
    const view = new DataView(new ArrayBuffer(layout.entry));
    view.setUint8(0, Op.INDIRECT);
    view.setUint8(1, Op.READ);
    view.setUint16(2, 2, true);
    view.setBigUint64(layout.id, 77n, true);
    view.setBigUint64(layout.sector, 8n, true);
    view.setUint32(layout.indirect, list.ref, true);
    ring.put(new Uint8Array(view.buffer));
    expect(kick()).toEqual([{ id: 77n, operation: Op.READ, status: 0 }]);
    expect([frontend.memory.read8(data[0].gpa), frontend.memory.read8(data[1].gpa)]).toEqual([8, 16]);
  });
});

describe('what cannot be done', () => {
  it('is answered with an error', () => {
    const { frontend, request } = connected();
    const { ref } = frontend.page();
    const readOnly = frontend.page({ readOnly: true }).ref;
    const whole = { ref, first: 0, last: 7 };
    expect(request(Op.READ, SECTORS - 1, whole)).toBe(-1);
    expect(request(Op.READ, 2n ** 63n, whole)).toBe(-1);
    expect(request(Op.READ, 0, { ref, first: 3, last: 2 })).toBe(-1);
    expect(request(Op.READ, 0, { ref, first: 0, last: 8 })).toBe(-1);
    expect(request(Op.READ, 0, { ref: 400, first: 0, last: 0 })).toBe(-1);
    expect(request(Op.READ, 0, { ref: readOnly, first: 0, last: 0 })).toBe(-1);
    expect(request(Op.WRITE, 0, { ref: readOnly, first: 0, last: 0 })).toBe(0);
    expect(request(Op.READ, 0)).toBe(-1);
    expect(request(Op.DISCARD, 0, whole)).toBe(-2);
    expect(request(99, 0, whole)).toBe(-2);
  });

  it('includes writing to a disk that is read-only', () => {
    const { frontend, request } = connected({ readOnly: true });
    const { ref } = frontend.page();
    expect(frontend.backend(DEVICE, 'info')).toBe('4');
    expect(request(Op.WRITE, 0, { ref, first: 0, last: 0 })).toBe(-1);
    expect(request(Op.FLUSH, 0)).toBe(-1);
  });
});

it('flushes, alone and around a barrier', () => {
  const { frontend, request, log } = connected();
  const { ref } = frontend.page();
  expect(request(Op.FLUSH, 0)).toBe(0);
  expect(request(Op.BARRIER, 1, { ref, first: 0, last: 0 })).toBe(0);
  expect(log).toEqual(['flush', 'flush', 'write 512', 'flush']);
});

describe('a hostile guest', () => {
  it('that claims more requests than the ring has breaks its ring, once and for all', () => {
    const { frontend, ring, kick, put } = connected();
    ring.setProd(ring.count + 1);
    expect(kick()).toEqual([]);
    put(Op.FLUSH, 0, []);
    expect(kick()).toEqual([]);
    expect(frontend.domain.host.logged.map(({ message }) => message)).toEqual([
      "vbd: the guest broke the ring's protocol; the device is dead",
    ]);
  });

  it('gets exactly one answer for each request, whatever is in it', () => {
    // Not the ring's own page: who has it overwritten has harmed himself, and the rest of his requests.
    const ref = fc.oneof(fc.nat(12), fc.nat(0xffff_ffff)).filter((any) => any !== RING_REF);
    const segment = fc.record({ ref, first: fc.nat(9), last: fc.nat(9) });
    const request = fc.record({
      operation: fc.oneof(fc.nat(7), fc.nat(255)),
      sector: fc.oneof(fc.nat(SECTORS), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })),
      segments: fc.array(segment, { maxLength: 11 }),
      count: fc.option(fc.nat(255)),
    });
    fc.assert(
      fc.property(fc.array(request, { maxLength: 32 }), (requests) => {
        const { frontend, put, kick } = connected();
        frontend.page();
        const ids = requests.map(({ operation, sector, segments, count }) =>
          put(operation, sector, segments, count ?? undefined),
        );
        expect(kick().map(({ id }) => id)).toEqual(ids);
        // Only the ring itself is still held.
        expect(frontend.held).toBe(1);
      }),
      { seed: 11, numRuns: 60 },
    );
  });
});
