/** What lguest's launcher reads and writes of a kernel's setup header (Linux, Documentation/arch/x86/boot.rst). */
const Field = { setupHeader: 0x1f1, jump: 0x200, protocol: 0x206 } as const;
const JUMP_BYTES = 2;
const SUBARCH_PROTOCOL = 0x207;

export interface Setup {
  readonly protocol: number;
  /** The header as it belongs into boot_params, at offset 0x1f1. */
  readonly bytes: Uint8Array;
}

/** Of a file that has been recognised as a bzImage. */
export function readSetup(file: Uint8Array): Setup {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const end = Field.jump + JUMP_BYTES + view.getUint8(Field.jump + 1);
  return { protocol: view.getUint16(Field.protocol, true), bytes: file.subarray(Field.setupHeader, end) };
}

export const hasSubarchField = ({ protocol }: Setup): boolean => protocol >= SUBARCH_PROTOCOL;
export const SETUP_HEADER_AT = Field.setupHeader;
