import { type BiosCall, type BiosHost, Register, type ServiceAnswer } from './call.ts';
import { COLUMNS, DataArea, ROWS } from './data-area.ts';

const Call = {
  setMode: 0x00,
  setCursorShape: 0x01,
  setCursorPosition: 0x02,
  readCursor: 0x03,
  teletype: 0x0e,
  readMode: 0x0f,
} as const;
/** Bit 7 of a mode: do not clear the display. */
const MODE = 0x7f;
const Character = { backspace: 8, lineFeed: 10, carriageReturn: 13, firstPrinted: 32 } as const;

/**
 * INT 10h (IBM PC/AT Technical Reference, BIOS listing, "VIDEO_IO"): there is no display adapter; teletype output goes to
 * the console, as with a serial console that a server's firmware redirects to. All else leaves the registers as they are,
 * which is how callers recognise that there is neither EGA, VGA nor VBE.
 */
export function videoService(call: BiosCall, host: BiosHost): ServiceAnswer {
  const { memory } = host;
  switch (call.high(Register.AX)) {
    case Call.setMode:
      memory.write8(DataArea.videoMode, call.low(Register.AX) & MODE);
      memory.write16(DataArea.cursorPosition, 0);
      break;
    case Call.setCursorShape:
      memory.write16(DataArea.cursorShape, call.word(Register.CX));
      break;
    case Call.setCursorPosition:
      memory.write16(DataArea.cursorPosition, call.word(Register.DX));
      break;
    case Call.readCursor:
      call.setWord(Register.CX, memory.read16(DataArea.cursorShape));
      call.setWord(Register.DX, memory.read16(DataArea.cursorPosition));
      break;
    case Call.teletype:
      print(call.low(Register.AX), host);
      break;
    case Call.readMode:
      call.setWord(Register.AX, (COLUMNS << 8) | memory.read8(DataArea.videoMode));
      call.setHigh(Register.BX, 0);
      break;
    default:
  }
  return undefined;
}

/** To the console, and the cursor of the data area follows. */
function print(byte: number, { memory, print: toConsole }: BiosHost): void {
  toConsole(byte);
  const position = memory.read16(DataArea.cursorPosition);
  let [row, column] = [position >> 8, position & 0xff];
  if (byte === Character.carriageReturn) column = 0;
  else if (byte === Character.lineFeed) row++;
  else if (byte === Character.backspace) column = Math.max(0, column - 1);
  else if (byte >= Character.firstPrinted) column++;
  if (column >= COLUMNS) [row, column] = [row + 1, 0];
  memory.write16(DataArea.cursorPosition, (Math.min(row, ROWS - 1) << 8) | column);
}
