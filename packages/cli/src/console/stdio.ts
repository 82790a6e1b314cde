import { type GuestConsole, InputQueue } from './guest-console.ts';

/** Ctrl-]: leaves, as in telnet and `xl console`. */
const LEAVE_KEY = 0x1d;

/**
 * The process's own stdin and stdout. A terminal is put into raw mode, so that every key but
 * Ctrl-] reaches the guest (Ctrl-C too); a pipe or file is passed on byte for byte.
 * `onLeave` is called for Ctrl-], `onOutputClosed` when nobody reads stdout any more.
 */
export function openStdioConsole(onLeave: () => void, onOutputClosed: () => void): GuestConsole {
  const { stdin, stdout } = process;
  const input = new InputQueue();
  const raw = stdin.isTTY === true;
  const restore = () => {
    if (raw) stdin.setRawMode(false);
  };
  const onData = (chunk: Buffer) => {
    const leave = raw ? chunk.indexOf(LEAVE_KEY) : -1;
    const forGuest = leave < 0 ? chunk : chunk.subarray(0, leave);
    if (forGuest.length > 0) input.push(forGuest);
    if (leave >= 0) onLeave();
  };
  if (raw) stdin.setRawMode(true);
  process.on('exit', restore);
  stdin.on('data', onData);
  stdin.on('error', () => {});
  stdout.on('error', onOutputClosed);
  return {
    write: (bytes) => {
      // A copy: the stream may still hold it when the guest's memory has changed.
      if (!stdout.destroyed) stdout.write(bytes.slice());
    },
    onInput: (listener) => input.onInput(listener),
    async close() {
      stdin.off('data', onData);
      stdin.pause();
      restore();
      process.off('exit', restore);
    },
  };
}
