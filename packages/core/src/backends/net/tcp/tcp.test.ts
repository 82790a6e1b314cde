import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TcpEvents } from '../../../ports/host-sockets.ts';
import { FakeGuest, FakeGuestTcp } from '../../testing/fake-guest.ts';
import { FakeTcp } from '../../testing/fake-sockets.ts';
import { ipv4, NETWORK } from '../address.ts';
import { TcpFlag } from './segment.ts';

const pattern = (sizeBytes: number) => Uint8Array.from({ length: sizeBytes }, (_, at) => (at * 31 + (at >> 8)) & 255);

/** Compared here: the test runner's own comparison of long arrays is slow. */
function same(actual: readonly number[], wanted: Uint8Array): boolean {
  return actual.length === wanted.length && wanted.every((byte, at) => byte === actual[at]);
}

function opened() {
  const guest = new FakeGuest();
  const tcp = new FakeGuestTcp(guest);
  tcp.open();
  const [host] = guest.sockets.tcp;
  return { guest, tcp, host };
}

describe('a connection of the guest’s', () => {
  it('is made first on the host’s side, then answered', () => {
    const guest = new FakeGuest();
    const tcp = new FakeGuestTcp(guest, { remote: NETWORK.ROUTER, remotePort: 8080 });
    tcp.send(TcpFlag.SYN, undefined, { acknowledgement: 0 });
    tcp.send(TcpFlag.SYN, undefined, { acknowledgement: 0 });
    expect(guest.sockets.tcp.map(({ target }) => target)).toEqual([{ host: '127.0.0.1', port: 8080 }]);
    expect(guest.takeTcp()).toEqual([]);
    guest.sockets.tcp[0].events.onConnect();
    expect(guest.takeTcp()).toMatchObject([{ flags: TcpFlag.SYN | TcpFlag.ACK, acknowledgement: tcp.next + 1 }]);
  });

  it('is reset when the host’s side is refused', () => {
    const guest = new FakeGuest();
    const tcp = new FakeGuestTcp(guest);
    tcp.send(TcpFlag.SYN, undefined, { acknowledgement: 0 });
    guest.sockets.tcp[0].events.onClose(true);
    expect(guest.takeTcp()).toMatchObject([{ flags: TcpFlag.RST | TcpFlag.ACK, acknowledgement: tcp.next + 1 }]);
    expect(guest.nat.openCount).toBe(0);
  });

  it('carries data both ways across the wrap of sequence numbers, and ends when both sides have', () => {
    const { guest, tcp, host } = opened();
    for (let at = 0; at < 5000; at += 1000) tcp.sendData(pattern(5000).subarray(at, at + 1000));
    expect(same(host.written, pattern(5000))).toBe(true);
    host.events.onData(pattern(4000));
    tcp.poll();
    expect(same(tcp.received, pattern(4000))).toBe(true);
    tcp.send(TcpFlag.FIN | TcpFlag.ACK);
    tcp.next++;
    expect(host.ended).toBe(true);
    host.events.onData(pattern(10));
    host.events.onEnd();
    tcp.poll();
    expect([tcp.received.length, tcp.ended, tcp.reset]).toEqual([4010, true, false]);
    expect([guest.nat.openCount, guest.sockets.timers]).toEqual([0, 0]);
  });

  it('ignores what leaves a gap, takes a repetition once, and acknowledges both', () => {
    const { guest, tcp, host } = opened();
    tcp.send(TcpFlag.ACK, pattern(10), { sequence: (tcp.next + 5) >>> 0 });
    expect(host.written).toEqual([]);
    expect(guest.takeTcp()).toMatchObject([{ flags: TcpFlag.ACK, acknowledgement: tcp.next }]);
    tcp.send(TcpFlag.ACK, pattern(10));
    tcp.send(TcpFlag.ACK, pattern(20));
    expect(same(host.written, pattern(20))).toBe(true);
  });

  it('closes its window while the host’s side takes nothing, and opens it again', () => {
    const { guest, tcp, host } = opened();
    host.pendingBytes = 65_535;
    tcp.sendData(pattern(100));
    expect(host.written).toEqual([]);
    expect(guest.takeTcp()).toMatchObject([{ window: 0 }]);
    host.pendingBytes = 0;
    host.events.onDrain();
    expect(guest.takeTcp()).toMatchObject([{ flags: TcpFlag.ACK, window: 65_535 }]);
  });

  it('pauses the host’s side while the guest takes nothing, and probes a closed window', () => {
    const { guest, tcp, host } = opened();
    tcp.window = 0;
    tcp.send(TcpFlag.ACK);
    host.events.onData(pattern(300_000));
    expect(host.paused).toBe(true);
    expect(guest.takeTcp()).toEqual([]);
    guest.sockets.fireAll();
    expect(guest.takeTcp()).toMatchObject([{ data: pattern(1) }]);
    tcp.window = 65_535;
    tcp.send(TcpFlag.ACK);
    for (let turn = 0; turn < 1000 && tcp.received.length < 300_000; turn++) tcp.poll();
    expect(Uint8Array.from(tcp.received)).toEqual(pattern(300_000));
    expect(host.paused).toBe(false);
  });

  it('waits while the link is congested, and goes on', () => {
    const { guest, tcp, host } = opened();
    guest.room = 3;
    host.events.onData(pattern(40_000));
    expect(guest.frames).toHaveLength(3);
    for (let turn = 0; turn < 100 && tcp.received.length < 40_000; turn++) {
      tcp.poll();
      guest.room = 5;
      guest.nat.resume();
    }
    expect(Uint8Array.from(tcp.received)).toEqual(pattern(40_000));
  });

  it('gives up a guest that is gone', () => {
    const { guest, tcp, host } = opened();
    host.events.onData(pattern(10));
    for (let turn = 0; turn < 9; turn++) guest.sockets.fireAll();
    expect([guest.nat.openCount, host.destroyed]).toEqual([0, true]);
    expect(tcp.received).toEqual([]);
  });

  it('takes a RST only at the right place', () => {
    const { guest, tcp, host } = opened();
    tcp.send(TcpFlag.RST, undefined, { sequence: (tcp.next + 1) >>> 0 });
    expect(guest.nat.openCount).toBe(1);
    tcp.send(TcpFlag.RST);
    expect([guest.nat.openCount, host.destroyed]).toEqual([0, true]);
  });
});

it('there is a bound on connections; one too many is refused, and so is a stray segment', () => {
  const guest = new FakeGuest();
  for (let port = 1; port <= 300; port++)
    new FakeGuestTcp(guest, { port }).send(TcpFlag.SYN, undefined, { acknowledgement: 0 });
  expect(guest.sockets.tcp).toHaveLength(256);
  expect(guest.takeTcp().every(({ flags }) => flags === (TcpFlag.RST | TcpFlag.ACK))).toBe(true);
  new FakeGuestTcp(guest, { port: 999 }).send(TcpFlag.ACK);
  expect(guest.takeTcp()).toMatchObject([{ flags: TcpFlag.RST, sequence: 0 }]);
  new FakeGuestTcp(guest, { port: 999, remote: ipv4('10.0.2.9') }).send(TcpFlag.SYN);
  expect(guest.takeTcp()).toHaveLength(1);
});

describe('a forwarded port', () => {
  function forwarded() {
    const guest = new FakeGuest();
    let events: TcpEvents | undefined;
    const host = new FakeTcp({ host: '', port: 0 }, {} as TcpEvents);
    expect(guest.nat.forward(80, host, (told) => (events = told))).toBe(true);
    const [syn] = guest.takeTcp();
    return { guest, host, syn, events: events as unknown as TcpEvents };
  }

  it('calls the guest, again until it answers; then data flows', () => {
    const { guest, host, syn, events } = forwarded();
    expect(syn).toMatchObject({ flags: TcpFlag.SYN, destinationPort: 80, mss: 1460 });
    expect(host.paused).toBe(true);
    guest.sockets.fireAll();
    expect(guest.takeTcp()).toMatchObject([{ flags: TcpFlag.SYN, sequence: syn.sequence }]);
    const tcp = new FakeGuestTcp(guest, { remote: NETWORK.ROUTER, port: 80, remotePort: syn.sourcePort });
    tcp.expected = (syn.sequence + 1) >>> 0;
    tcp.send(TcpFlag.SYN | TcpFlag.ACK, undefined, { mss: 1000 });
    tcp.next = (tcp.next + 1) >>> 0;
    expect(host.paused).toBe(false);
    events.onData(pattern(2500));
    tcp.poll();
    expect(same(tcp.received, pattern(2500))).toBe(true);
    tcp.sendData(pattern(7));
    expect(host.written).toHaveLength(7);
  });

  it('is closed when the guest refuses', () => {
    const { guest, host, syn } = forwarded();
    const tcp = new FakeGuestTcp(guest, { remote: NETWORK.ROUTER, port: 80, remotePort: syn.sourcePort });
    tcp.send(TcpFlag.RST | TcpFlag.ACK, undefined, { sequence: 0, acknowledgement: (syn.sequence + 1) >>> 0 });
    expect([host.destroyed, guest.nat.openCount]).toEqual([true, 0]);
  });
});

it('everything arrives in order, whatever the link loses', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1, maxLength: 6 }),
      fc.infiniteStream(fc.nat(3)),
      (sizes, luck) => {
        const { guest, tcp, host } = opened();
        const total = sizes.reduce((sum, size) => sum + size, 0);
        const sent = pattern(total);
        let at = 0;
        for (const size of sizes) {
          host.events.onData(sent.slice(at, at + size));
          at += size;
          tcp.poll(() => luck.next().value === 0);
        }
        host.events.onEnd();
        for (let turn = 0; turn < 2000 && !tcp.ended; turn++) {
          tcp.poll(() => luck.next().value === 0);
          guest.sockets.fireAll();
        }
        expect(tcp.ended).toBe(true);
        expect(same(tcp.received, sent)).toBe(true);
      },
    ),
    { numRuns: 40 },
  );
});
