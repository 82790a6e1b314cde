import type { WordBytes } from '../abi/struct.ts';
import { PAGE_BYTES } from '../layout.ts';

const STUB_BYTES = 32;
const IRET = 23;

/**
 * The hypercall page: stub n at n × 32 loads EAX with n and enters Xen; the iret stub is jumped to and pushes what the
 * frame of iret begins with (docs/guest-guide/x86/hypercall-abi.rst). PV64 stubs keep RCX and R11, which SYSCALL destroys.
 */
export function hypercallPage(wordBytes: WordBytes): Uint8Array {
  const page = new Uint8Array(PAGE_BYTES);
  const [call, iret] = wordBytes === 8 ? [callStub, iretStub] : [callStub32, iretStub32];
  for (let number = 0; number < PAGE_BYTES / STUB_BYTES; number++) {
    page.set(number === IRET ? iret() : call(number), number * STUB_BYTES);
  }
  return page;
}

/** mov eax, number */
function loadNumber(number: number): number[] {
  return [0xb8, number, 0, 0, 0];
}

function callStub32(number: number): number[] {
  return [
    ...loadNumber(number),
    0xcd,
    0x82, // int 0x82
    0xc3, // ret
  ];
}

function iretStub32(): number[] {
  return [
    0x50, // push eax
    ...loadNumber(IRET),
    0xcd,
    0x82, // int 0x82
  ];
}

function callStub(number: number): number[] {
  return [
    0x51, // push rcx
    0x41,
    0x53, // push r11
    ...loadNumber(number),
    0x0f,
    0x05, // syscall
    0x41,
    0x5b, // pop r11
    0x59, // pop rcx
    0xc3, // ret
  ];
}

function iretStub(): number[] {
  return [
    0x51, // push rcx
    0x41,
    0x53, // push r11
    0x50, // push rax
    ...loadNumber(IRET),
    0x0f,
    0x05, // syscall
  ];
}
