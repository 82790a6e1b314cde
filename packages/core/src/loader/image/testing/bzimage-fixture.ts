export interface BzImageOptions {
  readonly payload: Uint8Array;
  readonly protocol?: number;
  readonly version?: string;
  readonly code32Start?: number;
  readonly xloadflags?: number;
  /** Machine of a PE header; without it there is none. */
  readonly peMachine?: number;
}

const SETUP_SECTS = 4;
const PAYLOAD_OFFSET = 0x40;
const PE_AT = 0x80;

/** A boot sector and setup header with sectors of setup (Linux, Documentation/arch/x86/boot.rst). */
export function buildBzImage(options: BzImageOptions): Uint8Array {
  const { payload, protocol = 0x20f, version = '1.2.3 (who@where) #1', code32Start = 0x100000 } = options;
  const start = (SETUP_SECTS + 1) * 512;
  const file = new Uint8Array(start + PAYLOAD_OFFSET + payload.length);
  const view = new DataView(file.buffer);
  file[0x1f1] = SETUP_SECTS;
  view.setUint16(0x1fe, 0xaa55, true);
  file.set([0xeb, 0x6a], 0x200);
  view.setUint32(0x202, 0x53726448, true);
  view.setUint16(0x206, protocol, true);
  view.setUint16(0x20e, 0x300, true);
  file[0x211] = 1;
  view.setUint32(0x214, code32Start, true);
  view.setUint32(0x230, 0x200000, true);
  file[0x234] = 1;
  view.setUint16(0x236, options.xloadflags ?? 0, true);
  file.set(new TextEncoder().encode(version), 0x500);
  view.setUint32(0x248, PAYLOAD_OFFSET, true);
  view.setUint32(0x24c, payload.length, true);
  view.setBigUint64(0x258, 0x1000000n, true);
  if (options.peMachine !== undefined) {
    view.setUint16(0, 0x5a4d, true);
    view.setUint32(0x3c, PE_AT, true);
    view.setUint32(PE_AT, 0x4550, true);
    view.setUint16(PE_AT + 4, options.peMachine, true);
    view.setUint32(PE_AT + 24 + 16, 0x1234, true);
  }
  file.set(payload, start + PAYLOAD_OFFSET);
  return file;
}
