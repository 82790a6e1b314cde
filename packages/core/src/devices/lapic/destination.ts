import { BROADCAST } from '../apic-bus/message.ts';

interface Address {
  readonly id: number;
  readonly x2apic: boolean;
  /** LDR and DFR as the registers hold them. */
  readonly ldr: number;
  readonly dfr: number;
}

/** In x2APIC mode the logical ID follows from the APIC ID: cluster in 31:16, a bit for the member (SDM vol. 3A, 10.12.10.2). */
export function x2apicLdr(id: number): number {
  return (((id >>> 4) << 16) | (1 << (id & 15))) >>> 0;
}

/** Whether a message is for this local APIC (SDM vol. 3A, 10.6.2.1, 10.6.2.2 and 10.12.10). */
export function isAddressed(address: Address, destination: number, logical: boolean): boolean {
  const { id, x2apic, ldr, dfr } = address;
  if (!logical) return destination === id || destination === BROADCAST;
  if (x2apic) {
    return destination === BROADCAST || (ldr >>> 16 === destination >>> 16 && (ldr & destination & 0xffff) !== 0);
  }
  if (destination > 0xff) return false;
  const mine = ldr >>> 24;
  if (dfr >>> 28 === 0xf) return (mine & destination) !== 0;
  // Cluster model: cluster 15 is all clusters.
  const cluster = destination >> 4;
  return (cluster === 0xf || cluster === mine >> 4) && (mine & destination & 0xf) !== 0;
}
