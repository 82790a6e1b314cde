import { internetSum, onesComplement } from './internet-sum.ts';
import { type Ipv4Packet, Protocol, viewOf } from './packet.ts';

/** RFC 792. */
const HEADER_BYTES = 8;
const ECHO_REPLY = 0;
const ECHO_REQUEST = 8;

/** The reply to an echo request for the router; `undefined`: something else. */
export function answerEcho({ source, destination, payload }: Ipv4Packet): Ipv4Packet | undefined {
  const isRequest = payload.length >= HEADER_BYTES && payload[0] === ECHO_REQUEST && payload[1] === 0;
  if (!isRequest || internetSum(payload) !== 0xffff) return undefined;
  const reply = payload.slice();
  const view = viewOf(reply);
  view.setUint8(0, ECHO_REPLY);
  view.setUint16(2, 0);
  view.setUint16(2, onesComplement(internetSum(reply)));
  return { source: destination, destination: source, protocol: Protocol.ICMP, payload: reply };
}
