import { NETWORK, ROUTER_MAC } from './address.ts';
import { EtherType, makeEthernet, viewOf } from './packet.ts';

/** RFC 826: Ethernet and IPv4. */
const PACKET_BYTES = 28;
const HARDWARE_ETHERNET = 1;
const REQUEST = 1;
const REPLY = 2;

/** The router's reply to a request for one of its own addresses; `undefined`: nothing to say. */
export function answerArp(request: Uint8Array): Uint8Array | undefined {
  if (request.length < PACKET_BYTES) return undefined;
  const view = viewOf(request);
  const understood =
    view.getUint16(0) === HARDWARE_ETHERNET &&
    view.getUint16(2) === EtherType.IPV4 &&
    view.getUint8(4) === 6 &&
    view.getUint8(5) === 4 &&
    view.getUint16(6) === REQUEST;
  const target = view.getUint32(24);
  if (!understood || (target !== NETWORK.ROUTER && target !== NETWORK.DNS)) return undefined;
  const reply = request.slice(0, PACKET_BYTES);
  const out = viewOf(reply);
  out.setUint16(6, REPLY);
  reply.set(ROUTER_MAC, 8);
  out.setUint32(14, target);
  reply.set(request.subarray(8, 18), 18);
  return makeEthernet(request.subarray(8, 14), ROUTER_MAC, EtherType.ARP, reply);
}
