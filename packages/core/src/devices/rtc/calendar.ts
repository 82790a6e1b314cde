import { B, DONT_CARE, PM, Register } from './spec.ts';

const SECONDS_PER_DAY = 86_400;
const MS_PER_DAY = SECONDS_PER_DAY * 1000;

/** Registers 0 to 9 and the century, as bytes. Their format is register B's. */
type Registers = number[];

const isBinary = (registers: Registers) => (registers[Register.B] & B.BINARY) !== 0;

function decode(registers: Registers, byte: number): number {
  return isBinary(registers) ? byte : (byte >> 4) * 10 + (byte & 15);
}
function encode(registers: Registers, value: number): number {
  return isBinary(registers) ? value : (Math.floor(value / 10) << 4) | (value % 10);
}
function decodeHours(registers: Registers): number {
  const byte = registers[Register.HOURS];
  if (registers[Register.B] & B.HOURS_24) return decode(registers, byte);
  return (decode(registers, byte & ~PM) % 12) + (byte & PM ? 12 : 0);
}
function encodeHours(registers: Registers, hours: number): number {
  if (registers[Register.B] & B.HOURS_24) return encode(registers, hours);
  return encode(registers, hours % 12 || 12) | (hours >= 12 ? PM : 0);
}

/** Set the registers to a time, UTC. */
export function setTime(registers: Registers, epochSeconds: number): void {
  const date = new Date(epochSeconds * 1000);
  writeDate(registers, date);
  registers[Register.DAY_OF_WEEK] = date.getUTCDay() + 1;
}

function writeDate(registers: Registers, date: Date): void {
  const set = (register: number, value: number) => (registers[register] = encode(registers, value));
  set(Register.SECONDS, date.getUTCSeconds());
  set(Register.MINUTES, date.getUTCMinutes());
  registers[Register.HOURS] = encodeHours(registers, date.getUTCHours());
  set(Register.DAY_OF_MONTH, date.getUTCDate());
  set(Register.MONTH, date.getUTCMonth() + 1);
  set(Register.YEAR, date.getUTCFullYear() % 100);
  set(Register.CENTURY, Math.floor(date.getUTCFullYear() / 100) % 100);
}

/** Add seconds to what the registers say. What software has written out of range is carried over. */
export function addSeconds(registers: Registers, seconds: number): void {
  const [second, minute, day, month, year, century] = [
    Register.SECONDS,
    Register.MINUTES,
    Register.DAY_OF_MONTH,
    Register.MONTH,
    Register.YEAR,
    Register.CENTURY,
  ].map((register) => decode(registers, registers[register]));
  const date = new Date(0);
  date.setUTCFullYear(century * 100 + year, month - 1, day);
  const midnight = date.getTime();
  const time = midnight + (decodeHours(registers) * 3600 + minute * 60 + second + seconds) * 1000;
  writeDate(registers, new Date(time));
  const days = Math.floor((time - midnight) / MS_PER_DAY);
  registers[Register.DAY_OF_WEEK] = ((registers[Register.DAY_OF_WEEK] + 6 + days) % 7) + 1;
}

/** Whether the alarm matches in one of the `seconds` seconds after the one that the registers say. */
export function alarmWithin(registers: Registers, seconds: number): boolean {
  const now =
    decodeHours(registers) * 3600 +
    decode(registers, registers[Register.MINUTES]) * 60 +
    decode(registers, registers[Register.SECONDS]);
  const matches = (register: number, byte: number) =>
    (registers[register] & DONT_CARE) === DONT_CARE || registers[register] === byte;
  for (let ahead = 1; ahead <= Math.min(seconds, SECONDS_PER_DAY); ahead++) {
    const time = (now + ahead) % SECONDS_PER_DAY;
    if (
      matches(Register.SECONDS_ALARM, encode(registers, time % 60)) &&
      matches(Register.MINUTES_ALARM, encode(registers, Math.floor(time / 60) % 60)) &&
      matches(Register.HOURS_ALARM, encodeHours(registers, Math.floor(time / 3600)))
    ) {
      return true;
    }
  }
  return false;
}
