import { BROADCAST, DeliveryMode, type InterruptMessage, widenDestination } from '../apic-bus/message.ts';
import { Icr, IcrShorthand } from './spec.ts';

/**
 * The message that an interrupt command stands for (SDM vol. 3A, 10.6.1 and table 10-3).
 * @returns `undefined` for a combination that sends nothing
 */
export function icrMessage(low: number, high: number, x2apic: boolean): InterruptMessage | undefined {
  const deliveryMode = (low >> 8) & 7;
  const shorthand = low >>> 18;
  const logical = (low & Icr.LOGICAL) !== 0;
  // 3 and 7 are reserved; only fixed interrupts go to oneself alone; INIT and the like never to all including oneself.
  if (deliveryMode === 3 || deliveryMode === DeliveryMode.EXT_INT) return undefined;
  if (shorthand === IcrShorthand.SELF && deliveryMode !== DeliveryMode.FIXED) return undefined;
  if (shorthand === IcrShorthand.ALL && deliveryMode !== DeliveryMode.FIXED) return undefined;
  const destination = x2apic ? high >>> 0 : widenDestination(high >>> 24, logical);
  const deassert = deliveryMode === DeliveryMode.INIT && (low & Icr.LEVEL) !== 0 && (low & Icr.ASSERT) === 0;
  return {
    destination: shorthand === IcrShorthand.NONE ? destination : BROADCAST,
    logical,
    deliveryMode,
    vector: low & 0xff,
    // Since the Pentium 4 an IPI is an edge, whatever the trigger mode says.
    level: false,
    asserted: !deassert,
  };
}
