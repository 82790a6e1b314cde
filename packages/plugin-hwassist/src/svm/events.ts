/** EVENTINJ and EXITINTINFO, which have one format (AMD APM vol. 2, 15.7.2 and 15.20). */
import type { DeliveredEvent } from '@polyvisor/plugin-api';
import { EventInfo, EventType } from './vmcb.ts';

const TYPES = {
  interrupt: EventType.INTR,
  nmi: EventType.NMI,
  exception: EventType.EXCEPTION,
  softwareInterrupt: EventType.SOFTWARE_INTERRUPT,
} as const satisfies Readonly<Record<DeliveredEvent['source'], number>>;
const SOURCES = new Map<number, DeliveredEvent['source']>(
  Object.entries(TYPES).map(([source, type]) => [type, source as DeliveredEvent['source']]),
);
const NMI_VECTOR = 2;

/** 64 bits; of no event all are zero. */
export function eventInfo(event: DeliveredEvent | undefined): bigint {
  if (!event) return 0n;
  const { vector, errorCode, source } = event;
  const low =
    EventInfo.V | (TYPES[source] << EventInfo.TYPE_SHIFT) | vector | (errorCode === undefined ? 0 : EventInfo.EV);
  return BigInt(low >>> 0) | (BigInt(errorCode ?? 0) << 32n);
}

/** The event that EVENTINJ asks for; `undefined`: none. The VMCB has been found legal. */
export function eventOf(info: bigint): DeliveredEvent | undefined {
  const low = Number(BigInt.asUintN(32, info));
  if ((low & EventInfo.V) === 0) return undefined;
  const source = SOURCES.get((low & EventInfo.TYPE_MASK) >>> EventInfo.TYPE_SHIFT) ?? 'exception';
  return {
    source,
    vector: source === 'nmi' ? NMI_VECTOR : low & EventInfo.VECTOR_MASK,
    errorCode: low & EventInfo.EV ? Number(info >> 32n) : undefined,
  };
}
