import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FakeGuest, FakeGuestTcp, GUEST_MAC } from '../testing/fake-guest.ts';
import { ipv4, ipv4Text, NETWORK } from './address.ts';
import { EtherType, makeEthernet, makeIpv4, makeUdp, Protocol, parseEthernet, viewOf } from './packet.ts';
import { makeTcp, TcpFlag } from './tcp/segment.ts';

const ROUTER_MAC = Uint8Array.of(2, 0, 0, 0, 2, 2);
const OUTSIDE = ipv4('192.0.2.1');
const bytes = (text: string) => new TextEncoder().encode(text);

describe('the router', () => {
  it('answers ARP requests for its own addresses only', () => {
    const guest = new FakeGuest();
    const ask = (target: number) => {
      const request = new Uint8Array(28);
      const view = viewOf(request);
      view.setUint16(0, 1);
      view.setUint16(2, EtherType.IPV4);
      request.set([6, 4, 0, 1], 4);
      request.set(GUEST_MAC, 8);
      view.setUint32(14, NETWORK.GUEST);
      view.setUint32(24, target);
      guest.nat.send(makeEthernet(new Uint8Array(6).fill(255), GUEST_MAC, EtherType.ARP, request));
      return guest.frames.splice(0).map((frame) => parseEthernet(frame)?.payload ?? new Uint8Array(0));
    };
    const [reply] = ask(NETWORK.ROUTER);
    expect([...reply.subarray(6, 14)]).toEqual([0, 2, ...ROUTER_MAC]);
    expect(ipv4Text(viewOf(reply).getUint32(14))).toBe('10.0.2.2');
    expect(ask(NETWORK.DNS)).toHaveLength(1);
    expect(ask(NETWORK.GUEST)).toEqual([]);
  });

  it('answers echo requests to itself and nobody else', () => {
    const guest = new FakeGuest();
    const echo = Uint8Array.of(8, 0, 0, 0, 0x12, 0x34, 0, 1, 0xaa);
    viewOf(echo).setUint16(2, ~(0x0800 + 0x1234 + 1 + 0xaa00) & 0xffff);
    const ping = (destination: number) =>
      guest.sendIp({ source: NETWORK.GUEST, destination, protocol: Protocol.ICMP, payload: echo });
    ping(NETWORK.ROUTER);
    const [reply] = guest.take();
    expect([ipv4Text(reply.source), ipv4Text(reply.destination)]).toEqual(['10.0.2.2', '10.0.2.15']);
    expect([reply.payload[0], ...reply.payload.subarray(4)]).toEqual([0, 0x12, 0x34, 0, 1, 0xaa]);
    ping(OUTSIDE);
    expect(guest.take()).toEqual([]);
  });
});

describe('DHCP', () => {
  function ask(guest: FakeGuest, type: number, ...options: number[]) {
    const message = new Uint8Array(244 + options.length);
    message.set([1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef]);
    message.set(GUEST_MAC, 28);
    viewOf(message).setUint32(236, 0x63825363);
    message.set([53, 1, type, ...options, 255], 240);
    guest.sendUdp(0xffff_ffff, { from: 68, to: 67 }, message, 0);
    return guest.takeUdp().map(({ destination, udp }) => {
      const data = udp?.data ?? new Uint8Array(0);
      return {
        to: ipv4Text(destination),
        type: data[242],
        address: ipv4Text(viewOf(data).getUint32(16)),
        xid: viewOf(data).getUint32(4),
        options: [...data.subarray(240)],
      };
    });
  }
  const requested = (last: number) => [50, 4, 10, 0, 2, last];

  it('offers and gives the one lease, with router, name server and mask', () => {
    const guest = new FakeGuest();
    const [offer] = ask(guest, 1);
    expect(offer).toMatchObject({ to: '10.0.2.15', type: 2, address: '10.0.2.15', xid: 0xdeadbeef });
    const [ack] = ask(guest, 3, ...requested(15), 54, 4, 10, 0, 2, 2);
    expect(ack).toMatchObject({ type: 5, address: '10.0.2.15' });
    const text = ack.options.join();
    for (const option of ['1,4,255,255,255,0', '3,4,10,0,2,2', '6,4,10,0,2,3']) expect(text).toContain(option);
  });

  it('denies another address, and leaves another server’s offer alone', () => {
    const guest = new FakeGuest();
    expect(ask(guest, 3, ...requested(99))).toMatchObject([{ to: '255.255.255.255', type: 6, address: '0.0.0.0' }]);
    expect(ask(guest, 3, ...requested(15), 54, 4, 10, 0, 2, 9)).toEqual([]);
    expect(ask(guest, 7)).toEqual([]);
  });
});

describe('UDP', () => {
  it('goes out through a socket of its own for each pair of ends, and answers come back', () => {
    const guest = new FakeGuest();
    guest.sendUdp(OUTSIDE, { from: 5000, to: 123 }, bytes('one'));
    guest.sendUdp(OUTSIDE, { from: 5000, to: 123 }, bytes('two'));
    guest.sendUdp(OUTSIDE, { from: 5001, to: 123 }, bytes('three'));
    const [first, second] = guest.sockets.udp;
    expect(guest.sockets.udp).toHaveLength(2);
    expect(first.target).toEqual({ host: '192.0.2.1', port: 123 });
    expect(first.sent).toEqual([bytes('one'), bytes('two')]);
    expect(second.sent).toEqual([bytes('three')]);
    first.events.onMessage(bytes('answer'));
    expect(guest.takeUdp()).toMatchObject([
      { source: OUTSIDE, udp: { sourcePort: 123, destinationPort: 5000, data: bytes('answer') } },
    ]);
  });

  it('to the name server goes to the host’s resolver, and to the router to its loopback', () => {
    const guest = new FakeGuest();
    guest.sendUdp(NETWORK.DNS, { from: 5000, to: 53 }, bytes('query'));
    guest.sendUdp(NETWORK.ROUTER, { from: 5000, to: 9 }, bytes('x'));
    expect(guest.sockets.udp.map(({ target }) => target)).toEqual([
      { host: '192.0.2.53', port: 5353 },
      { host: '127.0.0.1', port: 9 },
    ]);
  });

  it('reaches neither this host’s other addresses nor groups', () => {
    const guest = new FakeGuest();
    for (const address of ['127.0.0.1', '0.0.0.0', '10.0.2.7', '10.0.2.255', '224.0.0.1', '255.255.255.255']) {
      guest.sendUdp(ipv4(address), { from: 5000, to: 9 }, bytes('x'));
    }
    guest.sockets.resolver = undefined;
    guest.sendUdp(NETWORK.DNS, { from: 5000, to: 53 }, bytes('query'));
    expect(guest.sockets.udp).toEqual([]);
  });

  it('keeps a bounded number of flows, and closes those that are idle', () => {
    const guest = new FakeGuest();
    for (let from = 1; from <= 1000; from++) guest.sendUdp(OUTSIDE, { from, to: 9 }, bytes('x'));
    expect(guest.sockets.udp.filter(({ closed }) => !closed)).toHaveLength(128);
    expect(guest.sockets.udp[999].closed).toBe(false);
    guest.sockets.fireAll();
    expect(guest.nat.openCount).toBe(0);
  });

  it('drops answers that do not fit a frame', () => {
    const guest = new FakeGuest();
    guest.sendUdp(OUTSIDE, { from: 5000, to: 123 }, bytes('one'));
    guest.sockets.udp[0].events.onMessage(new Uint8Array(1473));
    guest.sockets.udp[0].events.onMessage(new Uint8Array(1472));
    expect(guest.frames.map(({ length }) => length)).toEqual([1514]);
  });
});

it('a new guest finds nothing of the old one’s', () => {
  const guest = new FakeGuest();
  new FakeGuestTcp(guest).open();
  guest.sendUdp(OUTSIDE, { from: 5000, to: 123 }, bytes('one'));
  expect(guest.nat.openCount).toBe(2);
  guest.nat.onReceive(() => true);
  expect(guest.nat.openCount).toBe(0);
  expect([guest.sockets.tcp[0].destroyed, guest.sockets.udp[0].closed, guest.sockets.timers]).toEqual([true, true, 0]);
});

describe('hostile frames', () => {
  const tcp = makeIpv4(
    makeTcp(NETWORK.GUEST, OUTSIDE, {
      sourcePort: 1,
      destinationPort: 2,
      sequence: 3,
      acknowledgement: 4,
      flags: TcpFlag.SYN,
      window: 5,
      mss: 1460,
      windowShift: 7,
      data: new Uint8Array(5),
    }),
  );
  const udp = makeIpv4(
    makeUdp(NETWORK.GUEST, OUTSIDE, { sourcePort: 68, destinationPort: 67, data: new Uint8Array(250) }),
  );
  const frameOf = (packet: Uint8Array) => makeEthernet(ROUTER_MAC, GUEST_MAC, EtherType.IPV4, packet);
  const mutation = fc.record({ at: fc.nat(300), value: fc.nat(255) });
  const mutated = fc
    .tuple(fc.constantFrom(frameOf(tcp), frameOf(udp)), fc.array(mutation, { maxLength: 8 }), fc.nat(320))
    .map(([base, mutations, sizeBytes]) => {
      const frame = base.slice(0, sizeBytes);
      for (const { at, value } of mutations) if (at < frame.length) frame[at] = value;
      return frame;
    });

  it('are dropped, whatever is in them', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(mutated, fc.uint8Array({ maxLength: 100 })), { maxLength: 50 }), (frames) => {
        const guest = new FakeGuest();
        for (const frame of frames) guest.nat.send(frame);
        expect(guest.nat.openCount).toBeLessThanOrEqual(frames.length);
        for (const connection of guest.sockets.tcp) connection.events.onConnect();
        guest.sockets.fireAll();
      }),
    );
  });

  it('with a wrong checksum open nothing', () => {
    const damaged = (at: number) => {
      const guest = new FakeGuest();
      const frame = frameOf(tcp).slice();
      frame[at] ^= 1;
      guest.nat.send(frame);
      return guest.sockets.tcp.length;
    };
    expect([damaged(14 + 8), damaged(14 + 20 + 4), damaged(frameOf(tcp).length - 1)]).toEqual([0, 0, 0]);
  });
});
