/** An ops module whose functions meet faults, after they have changed stack, flags and registers that they should keep. */
import { buildModule } from '../../packages/core/src/pvops/testing/module-fixture.ts';

/** `push rbx; xor ebx, ebx; xor ebp, ebp; xor edi, edi; cli`: the same in code of either width. */
const BEFORE = [0x53, 0x31, 0xdb, 0x31, 0xed, 0x31, 0xff, 0xfa];
/** What comes then, by the name of the function; the last two are 64-bit code. */
const FAULTS = {
  null_pointer: [0x8b, 0x03], // mov eax, [rbx]
  undefined: [0x0f, 0x0b], // ud2
  divide: [0xf7, 0xf3], // div ebx
  unmapped: [0x48, 0xc7, 0x04, 0x25, 0, 0, 0xdf, 0xff, 0, 0, 0, 0], // mov qword [-210000h], 0
  not_canonical: [0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0x12, 0xff, 0x00], // mov rax, 1200000000000000h; inc dword [rax]
};

/** Of slots and the fault that each is to meet: the file, and what is said of each. */
export function faultyModule(
  width: 32 | 64,
  slots: Readonly<Record<string, keyof typeof FAULTS>>,
): { readonly file: Uint8Array; readonly said: readonly string[] } {
  const bytes: number[] = [];
  const symbols = Object.entries(FAULTS).map(([name, code]) => {
    const symbol = { name, section: '.text', value: bytes.length, sizeBytes: BEFORE.length + code.length };
    bytes.push(...BEFORE, ...code);
    return symbol;
  });
  const sections = [{ name: '.text', flags: 6, bytes, alignBytes: 16 }];
  const said = Object.entries(slots).map(
    ([slot, fault]) => `PV5019: ops module fixture has failed in ${slot}, which is as before: a fault at ${fault}+0x`,
  );
  return { file: buildModule({ width, ops: slots, sections, symbols }), said: said.toSorted() };
}
