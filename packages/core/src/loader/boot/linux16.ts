import { type BootRequest, Gpr } from '@polyvisor/plugin-api';
import { LoaderField, readSetupHeader } from '../image/setup-header.ts';
import { doesNotFit } from './boot-error.ts';
import { type BootSurroundings, LOADER_UNDEFINED, placeLinux32, writeCommandLine } from './linux.ts';
import { enterRealMode } from './real-mode.ts';

/** Where loaders have always put boot sector and setup code, and what may be used behind them up to the command line. */
const SETUP_SEGMENT = 0x9000;
const SETUP_AT = SETUP_SEGMENT * 16;
const SETUP_MOST_BYTES = 0x8000;
const HEAP_END = 0xe000;
const COMMAND_LINE_AT = SETUP_AT + HEAP_END;
/** The extended BIOS data area is behind it. */
const COMMAND_LINE_END = 0x9fc00;
/** heap_end_ptr counts from the setup code and leaves room for the stack ("Details of Header Fields"). */
const HEAP_END_POINTER = HEAP_END - 0x200;
/** loadflags, bit 7. */
const CAN_USE_HEAP = 0x80;
/** vid_mode: as the display is. */
const NORMAL_VGA = 0xffff;

/**
 * The boot protocol's 16-bit entry (Linux, Documentation/arch/x86/boot.rst, "Loading The Rest of The Kernel" and
 * "Running the Kernel"): boot sector and setup code at 0x90000, entered behind the boot sector in real-address mode;
 * they ask the BIOS for what the zero page holds, and go to the protected-mode code. NOT IMPLEMENTED: `vga=`.
 * @throws PolyvisorError PV2013, PV2014 for what does not fit
 */
export function bootLinux16(request: BootRequest, surroundings: BootSurroundings): void {
  const { memory, vcpu } = surroundings;
  const header = readSetupHeader(request.image.file);
  if (header.setup.length > SETUP_MOST_BYTES) {
    throw doesNotFit('the setup code', header.setup.length, `between 0x${SETUP_AT.toString(16)} and its stack`);
  }
  const initrd = placeLinux32(request, header, surroundings);
  const setup = header.setup.slice();
  const view = new DataView(setup.buffer);
  view.setUint16(LoaderField.videoMode, NORMAL_VGA, true);
  view.setUint8(LoaderField.typeOfLoader, LOADER_UNDEFINED);
  view.setUint8(LoaderField.loadFlags, view.getUint8(LoaderField.loadFlags) | CAN_USE_HEAP);
  view.setUint16(LoaderField.heapEndPointer, HEAP_END_POINTER, true);
  view.setUint32(LoaderField.ramdiskImage, initrd?.at ?? 0, true);
  view.setUint32(LoaderField.ramdiskSize, initrd?.sizeBytes ?? 0, true);
  view.setUint32(LoaderField.commandLinePointer, COMMAND_LINE_AT, true);
  memory.writeBytes(SETUP_AT, setup);
  writeCommandLine(request.commandLine, header, memory, { first: COMMAND_LINE_AT, end: COMMAND_LINE_END });
  enterRealMode(vcpu, { code: SETUP_SEGMENT + 0x20, data: SETUP_SEGMENT });
  vcpu.gpr[Gpr.RSP] = BigInt(HEAP_END);
}
