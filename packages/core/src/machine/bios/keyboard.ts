import type { GuestMemory } from '@polyvisor/plugin-api';
import { LINE_CONTROL_DIVISOR, LineStatus, Register as UartRegister } from '../../devices/uart/spec.ts';
import { Flag } from '../../isa/flags.ts';
import { Port } from '../platform/layout.ts';
import { type BiosCall, type BiosHost, Register, type ServiceAnswer } from './call.ts';
import { DATA_AREA_BASE, DataArea } from './data-area.ts';

const Call = { read: 0x00, peek: 0x01, shiftState: 0x02, readExtended: 0x10, peekExtended: 0x11 } as const;
const KEY_BYTES = 2;

/**
 * INT 16h (IBM PC/AT Technical Reference, BIOS listing, "KEYBOARD_IO"): keys are what comes in on the serial port, through
 * the buffer of the data area. Their scan codes are 0, as of characters that are typed by number.
 */
export function keyboardService(call: BiosCall, host: BiosHost): ServiceAnswer {
  const { memory } = host;
  const service = call.high(Register.AX);
  if (service === Call.shiftState) call.setLow(Register.AX, 0);
  const takes = service === Call.read || service === Call.readExtended;
  if (!takes && service !== Call.peek && service !== Call.peekExtended) return undefined;
  fillBuffer(host);
  const head = memory.read16(DataArea.keyboardHead);
  const isEmpty = head === memory.read16(DataArea.keyboardTail);
  if (!takes) call.setFlag(Flag.ZF, isEmpty);
  if (isEmpty) return takes ? 'wait' : undefined;
  call.setWord(Register.AX, memory.read16(DATA_AREA_BASE + head));
  if (takes) memory.write16(DataArea.keyboardHead, behind(head, memory));
  return undefined;
}

/** The next place in the buffer, whatever the data area has been made to say. */
function behind(place: number, memory: GuestMemory): number {
  const next = place + KEY_BYTES;
  return next >= memory.read16(DataArea.keyboardBufferEnd) ? memory.read16(DataArea.keyboardBufferStart) : next;
}

/** One byte of the serial port at most, if there is one and room for it. */
function fillBuffer({ memory, portRead }: BiosHost): void {
  const tail = memory.read16(DataArea.keyboardTail);
  const next = behind(tail, memory);
  if (next === memory.read16(DataArea.keyboardHead)) return;
  if (portRead(Port.uart + UartRegister.lineControl, 1) & LINE_CONTROL_DIVISOR) return;
  if (!(portRead(Port.uart + UartRegister.lineStatus, 1) & LineStatus.dataReady)) return;
  memory.write16(DATA_AREA_BASE + tail, portRead(Port.uart + UartRegister.data, 1));
  memory.write16(DataArea.keyboardTail, next);
}
