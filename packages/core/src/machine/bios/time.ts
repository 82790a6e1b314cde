import { Flag } from '../../isa/flags.ts';
import { Port } from '../platform/layout.ts';
import { type BiosCall, type BiosHost, Register, type ServiceAnswer } from './call.ts';
import { DataArea } from './data-area.ts';

const Call = { readTicks: 0x00, setTicks: 0x01, readTime: 0x02, readDate: 0x04 } as const;
/** Registers of the real-time clock; it keeps them in BCD, as the caller wants them, unless software has changed that. */
const Clock = { seconds: 0, minutes: 2, hours: 4, day: 7, month: 8, year: 9, century: 0x32 } as const;

/** INT 1Ah (IBM PC/AT Technical Reference, BIOS listing, "TIME_OF_DAY"). All else, PCI's BIOS among it, is CF: not there. */
export function timeService(call: BiosCall, host: BiosHost): ServiceAnswer {
  const { memory } = host;
  const clock = (register: number) => {
    host.portWrite(Port.rtc, 1, register);
    return host.portRead(Port.rtc + 1, 1);
  };
  const pair = (high: number, low: number) => (clock(high) << 8) | clock(low);
  let done = true;
  switch (call.high(Register.AX)) {
    case Call.readTicks:
      call.setWord(Register.CX, memory.read16(DataArea.ticks + 2));
      call.setWord(Register.DX, memory.read16(DataArea.ticks));
      call.setLow(Register.AX, memory.read8(DataArea.midnightPassed));
      memory.write8(DataArea.midnightPassed, 0);
      break;
    case Call.setTicks:
      memory.write16(DataArea.ticks + 2, call.word(Register.CX));
      memory.write16(DataArea.ticks, call.word(Register.DX));
      break;
    case Call.readTime:
      call.setWord(Register.CX, pair(Clock.hours, Clock.minutes));
      call.setWord(Register.DX, clock(Clock.seconds) << 8);
      break;
    case Call.readDate:
      call.setWord(Register.CX, pair(Clock.century, Clock.year));
      call.setWord(Register.DX, pair(Clock.month, Clock.day));
      break;
    default:
      done = false;
  }
  call.setFlag(Flag.CF, !done);
  return undefined;
}
