import type { NetworkBackend } from '@polyvisor/plugin-api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FakeFrontend, FrontRing } from '../testing/frontend.ts';
import { completeChecksum } from './checksum.ts';

const DEVICE = 'vif/0';
const Flag = { CSUM_BLANK: 1, MORE_DATA: 4, EXTRA_INFO: 8 };

function connected() {
  const sent: Uint8Array[] = [];
  let take: (frame: Uint8Array) => boolean = () => false;
  let resumed = 0;
  const nic: NetworkBackend = {
    mac: Uint8Array.of(2, 0, 0, 0, 2, 15),
    mtu: 1500,
    send: (frame) => sent.push(frame),
    onReceive: (taker) => {
      take = taker;
    },
    resume: () => {
      resumed++;
    },
  };
  const frontend = new FakeFrontend({ nics: [nic] });
  const tx = new FrontRing(frontend, 12);
  const rx = new FrontRing(frontend, 8);
  const port = frontend.port();
  const nodes = { 'tx-ring-ref': tx.ref, 'rx-ring-ref': rx.ref, 'event-channel': port, 'request-rx-copy': 1 };
  frontend.write(DEVICE, { ...nodes, state: 4 });
  const put = (ref: number, offset: number, flags: number, id: number, sizeBytes: number) => {
    const view = new DataView(new ArrayBuffer(12));
    view.setUint32(0, ref, true);
    view.setUint16(4, offset, true);
    view.setUint16(6, flags, true);
    view.setUint16(8, id, true);
    view.setUint16(10, sizeBytes, true);
    tx.put(new Uint8Array(view.buffer));
  };
  const kick = () => frontend.events.send(port);
  const answers = () => tx.take(4).map((view) => [view.getUint16(0, true), view.getInt16(2, true)]);
  const offer = (id: number, ref: number) => {
    const view = new DataView(new ArrayBuffer(8));
    view.setUint16(0, id, true);
    view.setUint32(4, ref, true);
    rx.put(new Uint8Array(view.buffer));
  };
  const received = () => rx.take(8).map((view) => [view.getUint16(0, true), view.getInt16(6, true)]);
  return {
    frontend,
    sent,
    put,
    kick,
    answers,
    offer,
    received,
    receive: (f: Uint8Array) => take(f),
    resumed: () => resumed,
    port,
  };
}

describe('the handshake', () => {
  it('connects, and says which address the guest has', () => {
    const { frontend } = connected();
    expect(frontend.backend(DEVICE, 'state')).toBe('4');
    expect(frontend.backend(DEVICE, 'mac')).toBe('02:00:00:00:02:0f');
  });

  it('gives everything back when the frontend closes', () => {
    const { frontend, receive } = connected();
    frontend.write(DEVICE, { state: 6 });
    expect([frontend.backend(DEVICE, 'state'), frontend.held]).toEqual(['6', 0]);
    expect(receive(new Uint8Array(60))).toBe(true);
  });

  it('refuses a frontend that does not receive by copy, and half a pair of rings', () => {
    const nic: NetworkBackend = {
      mac: new Uint8Array(6),
      mtu: 1500,
      send: () => {},
      onReceive: () => {},
      resume: () => {},
    };
    for (const missing of ['request-rx-copy', 'rx-ring-ref']) {
      const frontend = new FakeFrontend({ nics: [nic] });
      const nodes: Record<string, number> = {
        'tx-ring-ref': frontend.page().ref,
        'rx-ring-ref': frontend.page().ref,
        'event-channel': frontend.port(),
        'request-rx-copy': 1,
      };
      nodes[missing] = 999;
      frontend.write(DEVICE, { ...nodes, state: 4 });
      expect([frontend.backend(DEVICE, 'state'), frontend.held]).toEqual(['5', 0]);
    }
  });
});

describe('sending', () => {
  it('takes a frame from its page', () => {
    const { frontend, put, kick, answers, sent } = connected();
    const { ref, gpa } = frontend.page();
    const frame = Uint8Array.from({ length: 60 }, (_, at) => at);
    frontend.memory.writeBytes(gpa + 100, frame);
    put(ref, 100, 0, 7, 60);
    kick();
    expect([answers(), sent]).toEqual([[[7, 0]], [frame]]);
  });

  it('answers every slot of what was not offered, or makes no sense', () => {
    const { frontend, put, kick, answers, sent } = connected();
    const { ref } = frontend.page();
    put(ref, 0, Flag.MORE_DATA, 1, 200);
    put(ref, 0, 0, 2, 100);
    put(ref, 4000, 0, 3, 100);
    put(ref, 0, 0, 4, 13);
    put(500, 0, 0, 5, 60);
    put(ref, 0, Flag.EXTRA_INFO, 6, 60);
    put(0, 0, 0, 0, 0);
    put(ref, 0, Flag.CSUM_BLANK, 8, 60);
    kick();
    const status = answers();
    expect(status.filter(([, value]) => value === -1).map(([id]) => id)).toEqual([1, 2, 3, 4, 5, 6, 8]);
    expect(status.filter(([, value]) => value === 1)).toHaveLength(1);
    expect(sent).toEqual([]);
  });

  it('finishes a checksum that was left blank', () => {
    const udp = Uint8Array.of(0, 1, 0, 2, 0, 11, 0xff, 0xff, 1, 2, 3);
    const ip = Uint8Array.of(0x45, 0, 0, 31, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2);
    const frame = Uint8Array.of(...new Uint8Array(12), 8, 0, ...ip, ...udp, 0, 0, 0);
    expect(completeChecksum(frame)).toBe(true);
    const words = [0x0a00, 1, 0x0a00, 2, 17, 11, 1, 2, 11, 0x0102, 0x0300];
    const sum = words.reduce((total, word) => total + word, 0);
    const folded = (sum & 0xffff) + (sum >> 16);
    expect((frame[14 + 26] << 8) | frame[14 + 27]).toBe(~folded & 0xffff);
    for (const sizeBytes of [10, 33, 40, 44]) expect(completeChecksum(frame.slice(0, sizeBytes))).toBe(false);
  });
});

describe('receiving', () => {
  const frame = Uint8Array.from({ length: 80 }, (_, at) => 255 - at);

  it('waits for a buffer, asks for frames when there is one, and fills it', () => {
    const { frontend, kick, offer, receive, received, resumed, port } = connected();
    expect(receive(frame)).toBe(false);
    const before = resumed();
    const { ref, gpa } = frontend.page();
    offer(9, ref);
    kick();
    expect(resumed()).toBe(before + 1);
    frontend.takeEvent(port);
    expect(receive(frame)).toBe(true);
    expect([received(), frontend.takeEvent(port)]).toEqual([[[9, 80]], true]);
    expect(frontend.memory.readBytes(gpa, 80)).toEqual(frame);
  });

  it('loses a frame whose buffer cannot be written, and says so', () => {
    const { frontend, offer, receive, received } = connected();
    offer(1, frontend.page({ readOnly: true }).ref);
    offer(2, 400);
    expect([receive(frame), receive(frame), receive(frame)]).toEqual([true, true, false]);
    expect(received()).toEqual([
      [1, -1],
      [2, -1],
    ]);
  });
});

it('every slot of a hostile guest is answered once', () => {
  const slot = fc.record({
    ref: fc.oneof(fc.nat(14), fc.nat(0xffff_ffff)),
    offset: fc.nat(0xffff),
    flags: fc.nat(31),
    sizeBytes: fc.oneof(fc.nat(100), fc.nat(0xffff)),
  });
  fc.assert(
    fc.property(fc.array(slot, { maxLength: 60 }), (slots) => {
      const { frontend, put, kick, answers } = connected();
      frontend.page();
      slots.forEach(({ ref, offset, flags, sizeBytes }, id) => {
        put(ref, offset, flags, id, sizeBytes);
      });
      kick();
      expect(answers()).toHaveLength(slots.length);
      expect(frontend.held).toBe(2);
    }),
    { numRuns: 60 },
  );
});
