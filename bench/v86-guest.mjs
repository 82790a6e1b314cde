// `node v86-guest.mjs V86 BIOS VGABIOS KERNEL INITRD COMMANDLINE MEMORY_MB TEXT`: boots a bzImage in v86 (V86 is the folder of
// npm's package) with its serial port on stdout, until TEXT has appeared there. Plain JavaScript, so that its start costs v86 nothing.
import { readFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [v86Path, bios, vgaBios, kernel, initrd, commandLine, memoryMegabytes, text] = process.argv.slice(2);
const { V86 } = await import(pathToFileURL(path.join(v86Path, 'build', 'libv86.mjs')).href);
const fileOf = (name) => ({ buffer: new Uint8Array(readFileSync(name)).buffer });

const machine = new V86({
  wasm_path: path.join(v86Path, 'build', 'v86.wasm'),
  memory_size: Number(memoryMegabytes) * 2 ** 20,
  vga_memory_size: 2 ** 21,
  bios: fileOf(bios),
  vga_bios: fileOf(vgaBios),
  bzimage: fileOf(kernel),
  initrd: fileOf(initrd),
  cmdline: commandLine,
  fastboot: true,
  autostart: true,
});

const COUNTER = 2 ** 32;
let instructions = 0;
let counted = 0;

/** v86 counts modulo 2^32. */
function count() {
  const now = machine.get_instruction_counter();
  instructions += (now - counted + COUNTER) % COUNTER;
  counted = now;
}

let shown = '';
machine.add_listener('serial0-output-byte', (byte) => {
  writeSync(1, Uint8Array.of(byte));
  shown = (shown + String.fromCharCode(byte)).slice(-text.length);
  if (shown !== text) return;
  count();
  console.error(`v86: instructions ${instructions}`);
  process.exit(0);
});
setInterval(count, 500);
