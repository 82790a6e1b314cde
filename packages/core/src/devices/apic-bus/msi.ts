import type { ApicBus } from './apic-bus.ts';
import { DeliveryMode, type InterruptMessage, widenDestination } from './message.ts';

/** Bits 31:20 of the address of every interrupt message (SDM vol. 3A, 10.11.1). */
const MSI_ADDRESS = 0xfee0_0000;
const MSI_ADDRESS_MASK = 0xfff0_0000;
const REDIRECTION_HINT = 0x08;
const LOGICAL = 0x04;
/** Message data (SDM vol. 3A, 10.11.2). */
const DATA_LEVEL_TRIGGERED = 0x8000;
const DATA_ASSERT = 0x4000;

/**
 * Read a message-signalled interrupt out of a memory write by a device.
 * @param address lower 32 bits of the address
 * @returns `undefined` if the address is not that of an interrupt message
 */
function decodeMsi(address: number, data: number): InterruptMessage | undefined {
  if ((address & MSI_ADDRESS_MASK) >>> 0 !== MSI_ADDRESS) return undefined;
  const logical = (address & LOGICAL) !== 0;
  const mode = (data >> 8) & 7;
  // RH with a logical destination: one of the set gets it, the one with the lowest priority.
  const lowest = logical && (address & REDIRECTION_HINT) !== 0 && mode === DeliveryMode.FIXED;
  const level = (data & DATA_LEVEL_TRIGGERED) !== 0;
  return {
    destination: widenDestination((address >> 12) & 0xff, logical),
    logical,
    deliveryMode: lowest ? DeliveryMode.LOWEST_PRIORITY : mode,
    vector: data & 0xff,
    level,
    asserted: !level || (data & DATA_ASSERT) !== 0,
  };
}

/**
 * Deliver a device's interrupt message.
 * @returns whether a local APIC accepted it; `false` also for an address that is none of theirs
 */
export function deliverMsi(bus: ApicBus, address: number, data: number): boolean {
  const message = decodeMsi(address, data);
  // A level de-assert message changes nothing at the local APICs.
  return message?.asserted ? bus.deliver(message) : false;
}
