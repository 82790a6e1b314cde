import { decode } from '../../isa/decoder.ts';
import type { CpuMode } from '../../isa/modes.ts';
import type { DecodedInstruction } from '../../isa/types.ts';

/** A field of a record that stands for an address, and where its bytes are. */
export interface AddressField {
  readonly field: 'imm' | 'disp';
  /** Offset of its first byte in the page. */
  readonly firstByte: number;
  /** 4 (sign-extended) or 8. */
  readonly sizeBytes: number;
  /** What is added to it for each byte that code moves up: 1, or −1 where it is counted from the code to what does not move. */
  readonly direction: 1 | -1;
}

export interface AddressFieldsOptions {
  /** Bytes of the instruction. */
  readonly bytes: Uint8Array;
  readonly mode: CpuMode;
  /** Linear address of its page. */
  readonly pageBase: bigint;
  /** Where it is in that. */
  readonly pageOffset: number;
  /** Of its record; displacements from RIP count from the page. */
  readonly imm: bigint;
  readonly disp: bigint;
  readonly ripRelative: boolean;
  /** Its immediate is a direct branch's. */
  readonly branches: boolean;
}

/** Code and what belongs to it are not further apart: a kernel's image. */
const NEAR_BYTES = 1n << 27n;

/**
 * Fields that change when code is moved together with what it is about, as a kernel moves itself (KASLR, "relocs" of Linux'
 * bzImage): addresses near the code; and distances from it to what is far, and so stays where it is. It is a guess from their values, and only
 * as to what may be asked for another time: whoever uses it compares all bytes. Kernels are in the upper half of the address space.
 */
export function addressFields(options: AddressFieldsOptions): AddressField[] {
  const { mode, imm, disp, ripRelative, branches } = options;
  const bits = mode === 'long64' ? 64 : 32;
  const pageBase = BigInt.asIntN(bits, options.pageBase);
  if (pageBase >= 0n) return [];
  const isNear = (distance: bigint) => distance < NEAR_BYTES && distance > -NEAR_BYTES;
  const isAddress = (value: bigint) => {
    const address = BigInt.asIntN(bits, value);
    return address < 0n && isNear(address - pageBase);
  };
  const fields: AddressField[] = [];
  if (!branches && isAddress(imm)) fields.push(...located(options, 'imm', 1));
  if (ripRelative ? !isNear(disp) : isAddress(disp)) fields.push(...located(options, 'disp', ripRelative ? -1 : 1));
  return fields.sort((a, b) => a.firstByte - b.firstByte);
}

/** Where a field is, if it has 4 or 8 bytes: its bits are those that change its value, and nothing else, when they are inverted. */
function located(options: AddressFieldsOptions, field: AddressField['field'], direction: 1 | -1): AddressField[] {
  const { bytes, mode, pageOffset } = options;
  for (const sizeBytes of [8, 4])
    for (let at = bytes.length - sizeBytes; at > 0; at--) {
      // Anew each time: what an instruction does not use is as the last one left it.
      const before = decodedAs(bytes, mode);
      const probe = bytes.map((byte, i) => (i >= at && i < at + sizeBytes ? byte ^ 0xff : byte));
      const after = decodedAs(probe, mode);
      if (before && after && isInverted(before, after, field))
        return [{ field, firstByte: pageOffset + at, sizeBytes, direction }];
    }
  return [];
}

function decodedAs(bytes: Uint8Array, mode: CpuMode): DecodedInstruction | undefined {
  const result = decode((i) => bytes[i] ?? -1, mode);
  return result.ok && result.instruction.lengthBytes === bytes.length ? { ...result.instruction } : undefined;
}
function isInverted(before: DecodedInstruction, after: DecodedInstruction, field: AddressField['field']): boolean {
  const [low, high] = [`${field}Low`, `${field}High`] as const;
  const others = (Object.keys(before) as (keyof DecodedInstruction)[]).filter((key) => key !== low && key !== high);
  // Addresses of 32 bits have nothing above.
  const isHigh = after[high] === ~before[high] || (after[high] === 0 && before[high] === 0);
  return isHigh && after[low] === ~before[low] && others.every((key) => after[key] === before[key]);
}
