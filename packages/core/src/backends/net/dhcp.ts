import { NETWORK } from './address.ts';
import { viewOf } from './packet.ts';

export const DHCP_SERVER_PORT = 67;
export const DHCP_CLIENT_PORT = 68;

/** Fields of a BOOTP message (RFC 2131, 2), by offset. */
const Field = {
  OP: 0,
  HTYPE: 1,
  HLEN: 2,
  FLAGS: 10,
  CIADDR: 12,
  YIADDR: 16,
  SIADDR: 20,
  CHADDR: 28,
  COOKIE: 236,
} as const;
const OPTIONS = 240;
const MAGIC_COOKIE = 0x63825363;
const BOOT_REQUEST = 1;
const BOOT_REPLY = 2;
const BROADCAST_FLAG = 0x8000;

/** Options (RFC 2132) and message types (RFC 2131, 3.1). */
const Option = {
  PAD: 0,
  MASK: 1,
  ROUTER: 3,
  DNS: 6,
  REQUESTED: 50,
  LEASE: 51,
  TYPE: 53,
  SERVER: 54,
  MTU: 26,
  END: 255,
} as const;
const Type = { DISCOVER: 1, OFFER: 2, REQUEST: 3, ACK: 5, NAK: 6, INFORM: 8 } as const;
const LEASE_SECONDS = 86_400;
const LEAST_MESSAGE_BYTES = 300;

export interface DhcpReply {
  readonly message: Uint8Array;
  /** Where it goes: the client's address, or all. */
  readonly destination: number;
  /** The client's Ethernet address. */
  readonly mac: Uint8Array;
}

/**
 * The server's answer to a client's message; `undefined`: none is due. There is one lease, {@link NETWORK}.GUEST,
 * for whoever asks.
 */
export function answerDhcp(message: Uint8Array, mtu: number): DhcpReply | undefined {
  if (message.length < OPTIONS) return undefined;
  const view = viewOf(message);
  const understood =
    view.getUint8(Field.OP) === BOOT_REQUEST &&
    view.getUint8(Field.HTYPE) === 1 &&
    view.getUint8(Field.HLEN) === 6 &&
    view.getUint32(Field.COOKIE) === MAGIC_COOKIE;
  const options = understood ? readOptions(message) : undefined;
  const type = options?.get(Option.TYPE);
  if (options === undefined || type?.length !== 1) return undefined;
  const server = address(options.get(Option.SERVER));
  if (server !== undefined && server !== NETWORK.ROUTER) return undefined;
  const answer = answerType(type[0], address(options.get(Option.REQUESTED)) ?? view.getUint32(Field.CIADDR));
  return answer === undefined ? undefined : reply(message, answer, { informed: type[0] === Type.INFORM, mtu });
}

function answerType(type: number, requested: number): number | undefined {
  if (type === Type.DISCOVER) return Type.OFFER;
  if (type === Type.INFORM) return Type.ACK;
  if (type !== Type.REQUEST) return undefined;
  return requested === NETWORK.GUEST ? Type.ACK : Type.NAK;
}

function reply(request: Uint8Array, type: number, { informed, mtu }: { informed: boolean; mtu: number }): DhcpReply {
  const options: number[] = [Option.TYPE, 1, type, Option.SERVER, 4, ...octets(NETWORK.ROUTER)];
  if (type !== Type.NAK) {
    options.push(Option.MASK, 4, ...octets(NETWORK.MASK), Option.ROUTER, 4, ...octets(NETWORK.ROUTER));
    options.push(Option.DNS, 4, ...octets(NETWORK.DNS), Option.MTU, 2, mtu >> 8, mtu & 255);
    if (!informed) options.push(Option.LEASE, 4, ...octets(LEASE_SECONDS));
  }
  options.push(Option.END);
  const message = new Uint8Array(Math.max(LEAST_MESSAGE_BYTES, OPTIONS + options.length));
  message.set(request.subarray(0, 44));
  message.set(options, OPTIONS);
  const view = viewOf(message);
  view.setUint8(Field.OP, BOOT_REPLY);
  view.setUint32(Field.COOKIE, MAGIC_COOKIE);
  view.setUint32(Field.YIADDR, type === Type.NAK || informed ? 0 : NETWORK.GUEST);
  view.setUint32(Field.SIADDR, NETWORK.ROUTER);
  const toAll = type === Type.NAK || (view.getUint16(Field.FLAGS) & BROADCAST_FLAG) !== 0;
  const client = informed ? view.getUint32(Field.CIADDR) : NETWORK.GUEST;
  return {
    message,
    destination: toAll ? 0xffff_ffff : client,
    mac: request.slice(Field.CHADDR, Field.CHADDR + 6),
  };
}

/** Options by number, the first of each; what runs over the end is left out. */
function readOptions(message: Uint8Array): Map<number, Uint8Array> {
  const options = new Map<number, Uint8Array>();
  for (let at = OPTIONS; at < message.length && message[at] !== Option.END; ) {
    if (message[at] === Option.PAD) {
      at++;
      continue;
    }
    const end = at + 2 + (message[at + 1] ?? 0);
    if (end <= message.length && !options.has(message[at])) options.set(message[at], message.subarray(at + 2, end));
    at = end;
  }
  return options;
}

function address(option: Uint8Array | undefined): number | undefined {
  return option?.length === 4 ? viewOf(option).getUint32(0) : undefined;
}

function octets(value: number): number[] {
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 255);
}
