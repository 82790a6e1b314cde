/**
 * A CPUID that asks to be emulated: UD2, three letters that name who should, CPUID. On a processor without anyone there it is
 * an undefined instruction; hypervisors answer it with what CPUID says here, since no fault could tell the guest otherwise.
 */
export const FORCED_CPUID_BYTES = 7;
const UD2 = [0x0f, 0x0b] as const;
const CPUID = [0x0f, 0xa2] as const;
const isLetter = (byte: number) => byte >= 0x61 && byte <= 0x7a;

/** Whether {@link FORCED_CPUID_BYTES} of code are one. */
export function isForcedCpuid(code: Uint8Array): boolean {
  return (
    UD2.every((byte, index) => code[index] === byte) &&
    code.subarray(2, 5).every(isLetter) &&
    CPUID.every((byte, index) => code[5 + index] === byte)
  );
}
