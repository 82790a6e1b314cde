/** Delivery modes, the same in ICR, LVT, redirection entry and MSI (SDM vol. 3A, 10.6.1; 82093AA 290566-001, 3.2.4). */
export const DeliveryMode = {
  FIXED: 0,
  LOWEST_PRIORITY: 1,
  SMI: 2,
  NMI: 4,
  INIT: 5,
  STARTUP: 6,
  EXT_INT: 7,
} as const;

/** Physical destination of a message for everybody. 8-bit destinations of 0xff are widened to it. */
export const BROADCAST = 0xffff_ffff;

/** An interrupt on its way to local APICs (SDM vol. 3A, 10.6.2). */
export interface InterruptMessage {
  /** APIC ID, or a set of them by LDR if `logical`. Unsigned, 32 bits. */
  readonly destination: number;
  readonly logical: boolean;
  readonly deliveryMode: number;
  readonly vector: number;
  /** Level triggered: whoever takes it broadcasts its end. */
  readonly level: boolean;
  /** `false` only for the INIT level de-assert message, which no processor since the Pentium 4 acts on. */
  readonly asserted: boolean;
}

/** A destination field of 8 bits as messages carry it. */
export function widenDestination(destination: number, logical: boolean): number {
  return destination === 0xff && !logical ? BROADCAST : destination;
}
