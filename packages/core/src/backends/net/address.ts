/** IPv4 addresses are unsigned 32-bit numbers here, the first octet in the highest bits. */
export function ipv4(text: string): number {
  return text.split('.').reduce((value, octet) => value * 256 + Number(octet), 0);
}

export function ipv4Text(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join('.');
}

/** The network in which the guest is alone with its router. */
export const NETWORK = {
  /** The router; for the guest it also stands for the host's loopback. */
  ROUTER: ipv4('10.0.2.2'),
  /** Answers DNS by asking the host's resolver. */
  DNS: ipv4('10.0.2.3'),
  /** What DHCP gives out, and where forwarded ports lead. */
  GUEST: ipv4('10.0.2.15'),
  MASK: ipv4('255.255.255.0'),
  BROADCAST: ipv4('10.0.2.255'),
} as const;

/** The router's Ethernet address, locally administered (IEEE 802, 8.4). */
export const ROUTER_MAC = Uint8Array.of(2, 0, 0, 0, 2, 2);
export const BROADCAST_MAC = new Uint8Array(6).fill(0xff);

/** Whether a guest may use this address as its own. */
export function isGuestAddress(address: number): boolean {
  const host = (address & ~NETWORK.MASK) >>> 0;
  return (
    (address & NETWORK.MASK) >>> 0 === (NETWORK.ROUTER & NETWORK.MASK) >>> 0 &&
    host !== 0 &&
    address !== NETWORK.BROADCAST &&
    address !== NETWORK.ROUTER &&
    address !== NETWORK.DNS
  );
}

/**
 * Whether a packet to this address can leave: a unicast address outside the guest's network, this host and the reserved
 * blocks (RFC 6890).
 */
export function isOutside(address: number): boolean {
  const first = address >>> 24;
  const inside = (address & NETWORK.MASK) >>> 0 === (NETWORK.ROUTER & NETWORK.MASK) >>> 0;
  return first !== 0 && first !== 127 && first < 224 && !inside;
}
