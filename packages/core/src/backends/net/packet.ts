import { internetSum, onesComplement } from './internet-sum.ts';

/** Ethernet II (IEEE 802.3, 3.2.6) and IPv4 (RFC 791) numbers. */
export const EtherType = { IPV4: 0x0800, ARP: 0x0806 } as const;
export const Protocol = { ICMP: 1, TCP: 6, UDP: 17 } as const;

export const ETHERNET_HEADER_BYTES = 14;
export const IP_HEADER_BYTES = 20;
export const UDP_HEADER_BYTES = 8;
const TIME_TO_LIVE = 64;
/** Flags and fragment offset: "don't fragment"; more fragments, or an offset. */
const DONT_FRAGMENT = 0x4000;
const IS_FRAGMENT = 0x3fff;

/** A view over bytes, for their big-endian fields. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

export interface EthernetFrame {
  readonly source: Uint8Array;
  readonly etherType: number;
  readonly payload: Uint8Array;
}

/** `undefined`: shorter than its header. */
export function parseEthernet(frame: Uint8Array): EthernetFrame | undefined {
  if (frame.length < ETHERNET_HEADER_BYTES) return undefined;
  return {
    source: frame.subarray(6, 12),
    etherType: viewOf(frame).getUint16(12),
    payload: frame.subarray(ETHERNET_HEADER_BYTES),
  };
}

export function makeEthernet(to: Uint8Array, from: Uint8Array, etherType: number, payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(ETHERNET_HEADER_BYTES + payload.length);
  frame.set(to, 0);
  frame.set(from, 6);
  viewOf(frame).setUint16(12, etherType);
  frame.set(payload, ETHERNET_HEADER_BYTES);
  return frame;
}

export interface Ipv4Packet {
  readonly source: number;
  readonly destination: number;
  readonly protocol: number;
  readonly payload: Uint8Array;
}

/** `undefined`: damaged, or a fragment (NOT IMPLEMENTED: reassembly). Options are skipped. */
export function parseIpv4(bytes: Uint8Array): Ipv4Packet | undefined {
  if (bytes.length < IP_HEADER_BYTES) return undefined;
  const view = viewOf(bytes);
  const headerBytes = (view.getUint8(0) & 15) * 4;
  const totalBytes = view.getUint16(2);
  const sound =
    view.getUint8(0) >> 4 === 4 &&
    headerBytes >= IP_HEADER_BYTES &&
    headerBytes <= totalBytes &&
    totalBytes <= bytes.length &&
    (view.getUint16(6) & IS_FRAGMENT) === 0 &&
    internetSum(bytes.subarray(0, headerBytes)) === 0xffff;
  if (!sound) return undefined;
  return {
    source: view.getUint32(12),
    destination: view.getUint32(16),
    protocol: view.getUint8(9),
    payload: bytes.subarray(headerBytes, totalBytes),
  };
}

export function makeIpv4({ source, destination, protocol, payload }: Ipv4Packet): Uint8Array {
  const packet = new Uint8Array(IP_HEADER_BYTES + payload.length);
  const view = viewOf(packet);
  view.setUint8(0, 0x45);
  view.setUint16(2, packet.length);
  view.setUint16(6, DONT_FRAGMENT);
  view.setUint8(8, TIME_TO_LIVE);
  view.setUint8(9, protocol);
  view.setUint32(12, source);
  view.setUint32(16, destination);
  view.setUint16(10, onesComplement(internetSum(packet.subarray(0, IP_HEADER_BYTES))));
  packet.set(payload, IP_HEADER_BYTES);
  return packet;
}

/** Sum of the pseudo-header that TCP and UDP checksums include (RFC 9293, 3.1). */
export function pseudoHeaderSum(packet: Pick<Ipv4Packet, 'source' | 'destination' | 'protocol'>, sizeBytes: number) {
  const { source, destination, protocol } = packet;
  return (source >>> 16) + (source & 0xffff) + (destination >>> 16) + (destination & 0xffff) + protocol + sizeBytes;
}

export interface UdpDatagram {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly data: Uint8Array;
}

/** `undefined`: damaged (RFC 768). */
export function parseUdp(packet: Ipv4Packet): UdpDatagram | undefined {
  const { payload } = packet;
  if (payload.length < UDP_HEADER_BYTES) return undefined;
  const view = viewOf(payload);
  const sizeBytes = view.getUint16(4);
  if (sizeBytes < UDP_HEADER_BYTES || sizeBytes > payload.length) return undefined;
  const datagram = payload.subarray(0, sizeBytes);
  const summed = view.getUint16(6) !== 0;
  if (summed && internetSum(datagram, pseudoHeaderSum(packet, sizeBytes)) !== 0xffff) return undefined;
  return {
    sourcePort: view.getUint16(0),
    destinationPort: view.getUint16(2),
    data: datagram.subarray(UDP_HEADER_BYTES),
  };
}

export function makeUdp(source: number, destination: number, datagram: UdpDatagram): Ipv4Packet {
  const payload = new Uint8Array(UDP_HEADER_BYTES + datagram.data.length);
  const packet = { source, destination, protocol: Protocol.UDP, payload };
  const view = viewOf(payload);
  view.setUint16(0, datagram.sourcePort);
  view.setUint16(2, datagram.destinationPort);
  view.setUint16(4, payload.length);
  payload.set(datagram.data, UDP_HEADER_BYTES);
  const checksum = onesComplement(internetSum(payload, pseudoHeaderSum(packet, payload.length)));
  // Zero would mean "no checksum".
  view.setUint16(6, checksum === 0 ? 0xffff : checksum);
  return packet;
}
