import type { NetworkBackend } from '@polyvisor/plugin-api';
import type { HostSockets, HostTcp, SocketAddress, TcpEvents } from '../../ports/host-sockets.ts';
import { BROADCAST_MAC, ipv4Text, isGuestAddress, isOutside, NETWORK, ROUTER_MAC } from './address.ts';
import { answerArp } from './arp.ts';
import { answerDhcp, DHCP_CLIENT_PORT, DHCP_SERVER_PORT } from './dhcp.ts';
import { GuestPort } from './guest-port.ts';
import { answerEcho } from './icmp.ts';
import {
  EtherType,
  type Ipv4Packet,
  makeEthernet,
  makeIpv4,
  makeUdp,
  Protocol,
  parseEthernet,
  parseIpv4,
  parseUdp,
} from './packet.ts';
import { TcpConnections } from './tcp/connections.ts';
import { UdpFlows } from './udp-flows.ts';

const MTU = 1500;
const DNS_PORT = 53;
const LOOPBACK = '127.0.0.1';

/**
 * User-mode network address translation: the guest is 10.0.2.15 in a network of its own with a router, 10.0.2.2, that
 * answers ARP, DHCP and echo requests, forwards DNS from 10.0.2.3 to the host's resolver, and carries TCP and UDP out
 * through the host's sockets. The router's own address leads to the host's loopback. All that is kept for a guest is
 * bounded; frames that make no sense are dropped.
 * NOT IMPLEMENTED: IPv6, IP fragments, ICMP beyond the router.
 */
export class Nat implements NetworkBackend {
  readonly mac: Uint8Array;
  readonly mtu = MTU;
  readonly #sockets: HostSockets;
  readonly #port = new GuestPort();
  readonly #tcp: TcpConnections;
  readonly #udp: UdpFlows;
  #guestMac: Uint8Array;

  constructor(mac: Uint8Array, sockets: HostSockets) {
    this.mac = mac;
    this.#guestMac = mac;
    this.#sockets = sockets;
    const target = (address: number, port: number) => this.#target(address, port);
    const send = (packet: Ipv4Packet) => this.#sendIp(this.#guestMac, packet);
    const congested = () => this.#port.congested;
    this.#tcp = new TcpConnections({ sockets, mtu: MTU, target, congested, send });
    this.#udp = new UdpFlows({ sockets, mtu: MTU, target, send });
  }

  /** Connections and flows that are open. */
  get openCount(): number {
    return this.#tcp.count + this.#udp.count;
  }

  onReceive(take: (frame: Uint8Array) => boolean): void {
    this.close();
    this.#port.attach(take);
  }

  resume(): void {
    this.#port.resume();
    if (!this.#port.congested) this.#tcp.resume();
  }

  send(frame: Uint8Array): void {
    const ethernet = parseEthernet(frame);
    // A group address is nobody's source.
    if (ethernet === undefined || (ethernet.source[0] & 1) !== 0) return;
    if (ethernet.etherType === EtherType.ARP) {
      const reply = answerArp(ethernet.payload);
      if (reply !== undefined) this.#port.send(reply);
    } else if (ethernet.etherType === EtherType.IPV4) {
      const packet = parseIpv4(ethernet.payload);
      if (packet !== undefined) this.#route(packet, ethernet.source);
    }
  }

  /** A connection that came to a forwarded port of the host's; `false`: it cannot be taken. */
  forward(guestPort: number, host: HostTcp, events: (events: TcpEvents) => void): boolean {
    return this.#tcp.call(guestPort, host, events);
  }

  /** Cut everything. */
  close(): void {
    this.#tcp.abortAll();
    this.#udp.closeAll();
  }

  #route(packet: Ipv4Packet, mac: Uint8Array): void {
    if (packet.protocol === Protocol.UDP && this.#dhcp(packet)) return;
    if (!isGuestAddress(packet.source)) return;
    this.#guestMac = mac.slice();
    if (packet.protocol === Protocol.TCP) this.#tcp.receive(packet);
    else if (packet.protocol === Protocol.UDP) {
      const datagram = parseUdp(packet);
      if (datagram !== undefined) this.#udp.receive(packet, datagram);
    } else if (packet.protocol === Protocol.ICMP && isRouters(packet.destination)) {
      const reply = answerEcho(packet);
      if (reply !== undefined) this.#sendIp(this.#guestMac, reply);
    }
  }

  /** `true`: it was for the DHCP server. */
  #dhcp(packet: Ipv4Packet): boolean {
    const datagram = parseUdp(packet);
    if (datagram?.destinationPort !== DHCP_SERVER_PORT) return false;
    const reply = answerDhcp(datagram.data, MTU);
    if (reply === undefined) return true;
    const { destination, mac, message: data } = reply;
    const ports = { sourcePort: DHCP_SERVER_PORT, destinationPort: DHCP_CLIENT_PORT };
    this.#sendIp(
      destination === 0xffff_ffff ? BROADCAST_MAC : mac,
      makeUdp(NETWORK.ROUTER, destination, { ...ports, data }),
    );
    return true;
  }

  #target(address: number, port: number): SocketAddress | undefined {
    if (address === NETWORK.ROUTER) return { host: LOOPBACK, port };
    if (address === NETWORK.DNS) return port === DNS_PORT ? this.#sockets.resolver : undefined;
    return isOutside(address) ? { host: ipv4Text(address), port } : undefined;
  }

  #sendIp(mac: Uint8Array, packet: Ipv4Packet): void {
    this.#port.send(makeEthernet(mac, ROUTER_MAC, EtherType.IPV4, makeIpv4(packet)));
  }
}

function isRouters(address: number): boolean {
  return address === NETWORK.ROUTER || address === NETWORK.DNS;
}
