import type { ShareBackend } from '@polyvisor/plugin-api';
import { describe, expect, it } from 'vitest';
import { FakeFrontend } from '../testing/frontend.ts';

const DEVICE = '9pfs/0';
const At = { IN_CONS: 0, IN_PROD: 4, OUT_CONS: 64, OUT_PROD: 68, ORDER: 128, REFS: 132 };
const HALF = 4096;

/** A share that answers each message with itself. */
function echo() {
  const asked: Uint8Array[] = [];
  let open = 0;
  const share: ShareBackend = {
    tag: 'src',
    connect: () => {
      open++;
      return {
        maxMessageBytes: 8192,
        request: (message) => {
          asked.push(message);
          return message;
        },
        close: () => {
          open--;
        },
      };
    },
  };
  return { share, asked, open: () => open };
}

function message(sizeBytes: number): Uint8Array {
  const bytes = Uint8Array.from({ length: sizeBytes }, (_, at) => at & 0xff);
  new DataView(bytes.buffer).setUint32(0, sizeBytes, true);
  return bytes;
}

function connected({ order = 1, rings = 1 } = {}) {
  const backing = echo();
  const frontend = new FakeFrontend({ shares: [backing.share] });
  const { memory } = frontend;
  const made = Array.from({ length: rings }, () => {
    const shared = frontend.page();
    const data = Array.from({ length: 2 ** order }, () => frontend.page());
    memory.write32(shared.gpa + At.ORDER, order);
    data.forEach(({ ref }, page) => {
      memory.write32(shared.gpa + At.REFS + page * 4, ref);
    });
    return { shared, data, port: frontend.port() };
  });
  const nodes: Record<string, number> = { version: 1, 'num-rings': rings };
  made.forEach(({ shared, port }, index) => {
    nodes[`ring-ref${index}`] = shared.ref;
    nodes[`event-channel-${index}`] = port;
  });
  frontend.write(DEVICE, { ...nodes, state: 3 });
  const [{ shared, data, port }] = made;
  const index = (field: number) => memory.read32(shared.gpa + field);
  const setIndex = (field: number, value: number) => memory.write32(shared.gpa + field, value >>> 0);
  return {
    ...backing,
    frontend,
    index,
    setIndex,
    kick: () => frontend.events.send(port),
    put(bytes: Uint8Array) {
      const prod = index(At.OUT_PROD);
      bytes.forEach((byte, at) => {
        memory.write8(data[1].gpa + ((prod + at) % HALF), byte);
      });
      setIndex(At.OUT_PROD, prod + bytes.length);
    },
    take() {
      const cons = index(At.IN_CONS);
      const bytes = Array.from({ length: index(At.IN_PROD) - cons }, (_, at) =>
        memory.read8(data[0].gpa + ((cons + at) % HALF)),
      );
      setIndex(At.IN_CONS, index(At.IN_PROD));
      return Uint8Array.from(bytes);
    },
  };
}

describe('the 9P transport', () => {
  it('connects with what it offers, and tells the tag', () => {
    const { frontend, open } = connected({ rings: 2 });
    expect(frontend.backend(DEVICE, 'state')).toBe('4');
    expect(new TextDecoder().decode(frontend.store.get('/local/domain/1/device/9pfs/0/tag'))).toBe('src');
    expect(open()).toBe(1);
    frontend.write(DEVICE, { state: 6 });
    expect([open(), frontend.held]).toEqual([0, 0]);
  });

  it('carries messages both ways, around the ends of the rings', () => {
    const { put, kick, take } = connected();
    for (let turn = 0; turn < 5; turn++) {
      put(message(3000));
      kick();
      expect(take()).toEqual(message(3000));
    }
  });

  it('waits for the rest of a message, and for room for the reply', () => {
    const { put, kick, take, asked } = connected();
    put(message(100).subarray(0, 50));
    kick();
    expect(asked).toEqual([]);
    put(message(100).subarray(50));
    kick();
    expect(take()).toEqual(message(100));
    put(message(3000));
    kick();
    put(message(3000));
    kick();
    expect(asked).toHaveLength(3);
    expect(take()).toEqual(message(3000));
    kick();
    expect(take()).toEqual(message(3000));
  });

  it.each([
    ['a version it does not know', { version: 2 }],
    ['more rings than it offers', { version: 1, 'num-rings': 9 }],
    ['a ring without a reference', { version: 1, 'num-rings': 1 }],
  ])('refuses %s', (_what, nodes) => {
    const { share, open } = echo();
    const frontend = new FakeFrontend({ shares: [share] });
    frontend.write(DEVICE, { ...nodes, state: 3 });
    expect([frontend.backend(DEVICE, 'state'), open(), frontend.held]).toEqual(['5', 0, 0]);
  });

  it('refuses a ring of a size that it does not offer', () => {
    const { share } = echo();
    const frontend = new FakeFrontend({ shares: [share] });
    const { ref, gpa } = frontend.page();
    frontend.memory.write32(gpa + At.ORDER, 0xffff_ffff);
    const nodes = { version: 1, 'num-rings': 1, 'ring-ref0': ref, 'event-channel-0': frontend.port() };
    frontend.write(DEVICE, { ...nodes, state: 3 });
    expect([frontend.backend(DEVICE, 'state'), frontend.held]).toEqual(['5', 0]);
  });

  it.each([
    ['more than the ring holds', (ring: ReturnType<typeof connected>) => ring.setIndex(At.OUT_PROD, HALF + 1)],
    ['a message longer than the ring', (ring: ReturnType<typeof connected>) => ring.put(Uint8Array.of(1, 32, 0, 0))],
    [
      'a message shorter than its header',
      (ring: ReturnType<typeof connected>) => ring.put(Uint8Array.of(6, 0, 0, 0, 0, 0)),
    ],
    [
      'more unread replies than the ring holds',
      (ring: ReturnType<typeof connected>) => {
        ring.put(message(10));
        ring.setIndex(At.IN_CONS, 5);
      },
    ],
  ])('stops at %s, with one line', (_what, harm) => {
    const ring = connected();
    harm(ring);
    ring.kick();
    ring.kick();
    expect(ring.frontend.domain.host.logged).toHaveLength(1);
  });
});
