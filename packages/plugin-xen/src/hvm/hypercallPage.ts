import { PAGE_BYTES } from '../layout.ts';

const STUB_BYTES = 32;
const IRET = 23;

/** Instructions of a hypercall: Intel's processors know VMCALL, AMD's VMMCALL. */
export type HypercallInstruction = 'vmcall' | 'vmmcall';
const OPCODE = { vmcall: [0x0f, 0x01, 0xc1], vmmcall: [0x0f, 0x01, 0xd9] } as const;

/** The hypercall page of a guest on real page tables: stub n loads EAX with n; iret is not for it (hypercall-abi.rst). */
export function hvmHypercallPage(instruction: HypercallInstruction): Uint8Array {
  const page = new Uint8Array(PAGE_BYTES);
  for (let number = 0; number < PAGE_BYTES / STUB_BYTES; number++) {
    // ud2; or mov eax, number; the instruction; ret.
    const stub = number === IRET ? [0x0f, 0x0b] : [0xb8, number, 0, 0, 0, ...OPCODE[instruction], 0xc3];
    page.set(stub, number * STUB_BYTES);
  }
  return page;
}
