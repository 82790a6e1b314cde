const ETHERTYPE_IPV4 = 0x0800;
const IP = 14;
const TCP = 6;
const UDP = 17;
/** Where the checksum lies in each protocol's header (RFC 9293, 3.1; RFC 768). */
const CHECKSUM_AT: Readonly<Record<number, number>> = { [TCP]: 16, [UDP]: 6 };

/**
 * Fill in the TCP or UDP checksum that a guest left to its network card (NETTXF_csum_blank), over pseudo-header and
 * payload (RFC 9293, 3.1). `false`: this is no whole IPv4 TCP or UDP packet.
 */
export function completeChecksum(frame: Uint8Array): boolean {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  if (frame.length < IP + 20 || view.getUint16(12) !== ETHERTYPE_IPV4 || view.getUint8(IP) >> 4 !== 4) return false;
  const headerBytes = (view.getUint8(IP) & 15) * 4;
  const segment = IP + headerBytes;
  const end = IP + view.getUint16(IP + 2);
  const protocol = view.getUint8(IP + 9);
  const at = CHECKSUM_AT[protocol];
  if (headerBytes < 20 || at === undefined || segment + at + 2 > end || end > frame.length) return false;
  view.setUint16(segment + at, 0);
  let sum = protocol + (end - segment);
  for (let i = IP + 12; i < IP + 20; i += 2) sum += view.getUint16(i);
  let i = segment;
  for (; i + 1 < end; i += 2) sum += view.getUint16(i);
  if (i < end) sum += view.getUint8(i) << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  const checksum = ~sum & 0xffff;
  // UDP has no use for zero: it would mean "none".
  view.setUint16(segment + at, checksum === 0 && protocol === UDP ? 0xffff : checksum);
  return true;
}
