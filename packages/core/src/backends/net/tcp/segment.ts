import { internetSum, onesComplement } from '../internet-sum.ts';
import { type Ipv4Packet, Protocol, pseudoHeaderSum, viewOf } from '../packet.ts';

/** Control bits (RFC 9293, 3.1). */
export const TcpFlag = { FIN: 1, SYN: 2, RST: 4, PSH: 8, ACK: 16 } as const;

export const TCP_HEADER_BYTES = 20;
/** Options (RFC 9293, 3.2; RFC 7323, 2). */
const Option = { END: 0, NOP: 1, MSS: 2, WINDOW_SCALE: 3 } as const;
const MOST_WINDOW_SHIFT = 14;

export interface TcpSegment {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly flags: number;
  /** As it stands in the header, not scaled. */
  readonly window: number;
  readonly data: Uint8Array;
  /** Only in segments with SYN. */
  readonly mss?: number;
  readonly windowShift?: number;
}

/** `undefined`: damaged. */
export function parseTcp(packet: Ipv4Packet): TcpSegment | undefined {
  const { payload } = packet;
  if (payload.length < TCP_HEADER_BYTES) return undefined;
  const view = viewOf(payload);
  const headerBytes = (view.getUint8(12) >> 4) * 4;
  if (headerBytes < TCP_HEADER_BYTES || headerBytes > payload.length) return undefined;
  if (internetSum(payload, pseudoHeaderSum(packet, payload.length)) !== 0xffff) return undefined;
  const flags = view.getUint8(13);
  return {
    sourcePort: view.getUint16(0),
    destinationPort: view.getUint16(2),
    sequence: view.getUint32(4),
    acknowledgement: view.getUint32(8),
    flags,
    window: view.getUint16(14),
    data: payload.subarray(headerBytes),
    ...((flags & TcpFlag.SYN) !== 0 ? readOptions(payload.subarray(TCP_HEADER_BYTES, headerBytes)) : {}),
  };
}

function readOptions(options: Uint8Array): Pick<TcpSegment, 'mss' | 'windowShift'> {
  let mss: number | undefined;
  let windowShift: number | undefined;
  for (let at = 0; at < options.length && options[at] !== Option.END; ) {
    if (options[at] === Option.NOP) {
      at++;
      continue;
    }
    const sizeBytes = options[at + 1] ?? 0;
    if (sizeBytes < 2 || at + sizeBytes > options.length) break;
    if (options[at] === Option.MSS && sizeBytes === 4) mss = (options[at + 2] << 8) | options[at + 3];
    if (options[at] === Option.WINDOW_SCALE && sizeBytes === 3)
      windowShift = Math.min(options[at + 2], MOST_WINDOW_SHIFT);
    at += sizeBytes;
  }
  return { ...(mss !== undefined && { mss }), ...(windowShift !== undefined && { windowShift }) };
}

export function makeTcp(source: number, destination: number, segment: TcpSegment): Ipv4Packet {
  const options = writeOptions(segment);
  const headerBytes = TCP_HEADER_BYTES + options.length;
  const payload = new Uint8Array(headerBytes + segment.data.length);
  const view = viewOf(payload);
  view.setUint16(0, segment.sourcePort);
  view.setUint16(2, segment.destinationPort);
  view.setUint32(4, segment.sequence);
  view.setUint32(8, segment.acknowledgement);
  view.setUint8(12, (headerBytes / 4) << 4);
  view.setUint8(13, segment.flags);
  view.setUint16(14, segment.window);
  payload.set(options, TCP_HEADER_BYTES);
  payload.set(segment.data, headerBytes);
  const packet = { source, destination, protocol: Protocol.TCP, payload };
  view.setUint16(16, onesComplement(internetSum(payload, pseudoHeaderSum(packet, payload.length))));
  return packet;
}

/** A multiple of four bytes. */
function writeOptions({ mss, windowShift }: TcpSegment): number[] {
  const options: number[] = [];
  if (mss !== undefined) options.push(Option.MSS, 4, mss >> 8, mss & 255);
  if (windowShift !== undefined) options.push(Option.NOP, Option.WINDOW_SCALE, 3, windowShift);
  return options;
}
