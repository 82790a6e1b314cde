/** Interruption information of VM entries and VM exits, and IDT-vectoring information, which share a format (SDM vol. 3C, 24.8.3 and 24.9.2). */
import type { DeliveredEvent } from '@polyvisor/plugin-api';

export const Interruption = {
  ...{
    VECTOR_MASK: 0xff,
    TYPE_SHIFT: 8,
    TYPE_MASK: 7 << 8,
    ERROR_CODE: 1 << 11,
    RESERVED: 0x7fff_f000,
    VALID: 0x8000_0000,
  },
} as const;
export const InterruptionType = {
  ...{
    EXTERNAL: 0,
    RESERVED: 1,
    NMI: 2,
    HARDWARE_EXCEPTION: 3,
    SOFTWARE_INTERRUPT: 4,
    PRIVILEGED_SOFTWARE_EXCEPTION: 5,
  },
  ...{ SOFTWARE_EXCEPTION: 6, OTHER: 7 },
} as const;

export const typeOf = (information: number): number =>
  (information & Interruption.TYPE_MASK) >>> Interruption.TYPE_SHIFT;
/** INT n, INT1, INT3 and INTO: the event is one of an instruction, which has a length. */
export const isOfInstruction = (information: number): boolean => {
  const type = typeOf(information);
  return type >= InterruptionType.SOFTWARE_INTERRUPT && type <= InterruptionType.SOFTWARE_EXCEPTION;
};

export function interruption(type: number, vector: number, errorCode?: number): number {
  const base = Interruption.VALID | (type << Interruption.TYPE_SHIFT) | vector;
  return (errorCode === undefined ? base : base | Interruption.ERROR_CODE) >>> 0;
}

const TYPES = {
  interrupt: InterruptionType.EXTERNAL,
  nmi: InterruptionType.NMI,
  exception: InterruptionType.HARDWARE_EXCEPTION,
  softwareInterrupt: InterruptionType.SOFTWARE_INTERRUPT,
} as const satisfies Readonly<Record<DeliveredEvent['source'], number>>;
/** INT3 and INTO as the first byte of an instruction. */
const SOFTWARE_EXCEPTIONS: ReadonlySet<number> = new Set([0xcc, 0xce]);

/** IDT-vectoring information. @param opcode of the instruction, for an event of one */
export function vectoring({ source, vector, errorCode }: DeliveredEvent, opcode: number | undefined): number {
  const isException = source === 'softwareInterrupt' && opcode !== undefined && SOFTWARE_EXCEPTIONS.has(opcode);
  return interruption(isException ? InterruptionType.SOFTWARE_EXCEPTION : TYPES[source], vector, errorCode);
}

const SOURCES: readonly DeliveredEvent['source'][] = [
  ...([
    'interrupt',
    'interrupt',
    'nmi',
    'exception',
    'softwareInterrupt',
    'exception',
    'softwareInterrupt',
    'exception',
  ] as const),
];

/** The event that a VM entry injects; the information has been found legal. */
export function eventOf(information: number, errorCode: number): DeliveredEvent {
  return {
    source: SOURCES[typeOf(information)],
    vector: information & Interruption.VECTOR_MASK,
    errorCode: information & Interruption.ERROR_CODE ? errorCode : undefined,
  };
}
