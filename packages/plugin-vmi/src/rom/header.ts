import { PolyvisorError } from '@polyvisor/plugin-api';

/** Where the ROM is put, and where the room for option ROMs that kernels search ends (Linux, probe_vmi_rom). */
export const ROM_AREA = { first: 0xc8000, end: 0xe0000 } as const;

/** What a kernel reads of a VMI ROM before it calls it (Linux 2.6.32, arch/x86/include/asm/vmi.h, struct vrom_header). */
export interface VmiRom {
  readonly bytes: Uint8Array;
  readonly api: { readonly major: number; readonly minor: number };
  /** Where the hypervisor's part of the guest's address space begins; 0: it has none. */
  readonly virtualTop: number;
  readonly licence: string;
  readonly manufacturer: string;
  readonly product: string;
  /** `undefined`: the ROM has no PCI data structure, and kernels refuse it. */
  readonly version: { readonly major: number; readonly minor: number } | undefined;
}

const SIGNATURE = 0xaa55;
const VMI_SIGNATURE = 0x696d5663;
const CHUNK_BYTES = 512;
const HEADER_BYTES = 0x90;
const MAX_STRING_BYTES = 64;
/** Offsets in the header, in the PCI data structure and in the Plug and Play header. */
const Field = { vmiSignature: 8, minor: 12, major: 13, virtualTop: 16, licence: 22, pci: 24, pnp: 26 } as const;
const PCI_BYTES = 24;
const PciField = { minor: 18, major: 19 } as const;
const PNP_BYTES = 32;
const PnpField = { manufacturer: 14, product: 16 } as const;
const EXIT_CODE = 3;

const FIX = 'give a VMI ROM: docs/vmi.md describes one';

/** The room's own refusals. */
const refuse = (code: string, name: string, what: string, fix = FIX) =>
  new PolyvisorError(code, `ROM ${name}: ${what}`, fix, EXIT_CODE);

/**
 * Read and check a ROM. A kernel decides for itself about API version, licence and PCI data structure; what is refused
 * here is what no option ROM may be (PCI Firmware Specification 3.0, 5.1.1), and offsets that lead out of it.
 * @throws PolyvisorError PV6002–PV6007
 */
export function readRom(name: string, file: Uint8Array): VmiRom {
  const bytes = cutToLength(name, file);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.getUint32(Field.vmiSignature, true) !== VMI_SIGNATURE) {
    throw refuse('PV6006', name, 'it is an option ROM, but not of VMI: the signature "cVmi" is not at offset 8');
  }
  const structure = (field: number, what: string, sizeBytes: number): number | undefined => {
    const offset = view.getUint16(field, true);
    if (offset === 0) return undefined;
    if (offset + sizeBytes > bytes.length) throw refuse('PV6007', name, `its ${what} is at 0x${offset.toString(16)}`);
    return offset;
  };
  const text = (field: number, what: string): string => {
    const offset = structure(field, what, 1);
    return offset === undefined ? '' : stringAt(name, bytes, offset, what);
  };
  const pci = structure(Field.pci, 'PCI data structure', PCI_BYTES);
  const pnp = structure(Field.pnp, 'Plug and Play header', PNP_BYTES);
  return {
    bytes,
    api: { major: bytes[Field.major], minor: bytes[Field.minor] },
    virtualTop: view.getUint32(Field.virtualTop, true),
    licence: text(Field.licence, 'licence'),
    manufacturer: pnp === undefined ? '' : text(pnp + PnpField.manufacturer, 'manufacturer'),
    product: pnp === undefined ? '' : text(pnp + PnpField.product, 'product'),
    version: pci === undefined ? undefined : { major: bytes[pci + PciField.major], minor: bytes[pci + PciField.minor] },
  };
}

/** The ROM that the file holds, as long as its own header says. */
function cutToLength(name: string, file: Uint8Array): Uint8Array {
  const most = ROM_AREA.end - ROM_AREA.first;
  if (file.length < HEADER_BYTES) throw refuse('PV6002', name, `it has ${file.length} bytes, a VMI ROM at least 144`);
  if ((file[0] | (file[1] << 8)) !== SIGNATURE) {
    throw refuse('PV6003', name, 'it is no option ROM: it does not begin with 55 AA');
  }
  const sizeBytes = file[2] * CHUNK_BYTES;
  if (sizeBytes < HEADER_BYTES || sizeBytes > file.length) {
    throw refuse('PV6004', name, `its header says ${sizeBytes} bytes, the file has ${file.length}`);
  }
  if (sizeBytes > most) throw refuse('PV6002', name, `it has ${sizeBytes} bytes, there is room for ${most}`);
  const bytes = file.slice(0, sizeBytes);
  const sum = bytes.reduce((total, byte) => (total + byte) & 0xff, 0);
  if (sum !== 0) throw refuse('PV6005', name, `its bytes sum up to 0x${sum.toString(16)} instead of 0`);
  return bytes;
}

function stringAt(name: string, bytes: Uint8Array, offset: number, what: string): string {
  const end = bytes.indexOf(0, offset);
  if (end < 0 || end - offset > MAX_STRING_BYTES) {
    throw refuse(
      'PV6007',
      name,
      `its ${what} at 0x${offset.toString(16)} does not end within ${MAX_STRING_BYTES} bytes`,
    );
  }
  return String.fromCharCode(...bytes.subarray(offset, end));
}
