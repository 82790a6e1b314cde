import { PAGE_BYTES } from '../layout.ts';

const STUB_BYTES = 32;
const IRET = 23;

/**
 * The PV64 hypercall page: stub n at n × 32 loads EAX with n and issues SYSCALL, keeping RCX and R11,
 * which SYSCALL destroys. The iret stub is jumped to and pushes what struct iret_context begins with
 * (docs/guest-guide/x86/hypercall-abi.rst).
 */
export function hypercallPage(): Uint8Array {
  const page = new Uint8Array(PAGE_BYTES);
  for (let number = 0; number < PAGE_BYTES / STUB_BYTES; number++) {
    page.set(number === IRET ? iretStub() : callStub(number), number * STUB_BYTES);
  }
  return page;
}

function callStub(number: number): number[] {
  return [
    0x51, // push rcx
    0x41,
    0x53, // push r11
    0xb8,
    number,
    0,
    0,
    0, // mov eax, number
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
    0xb8,
    IRET,
    0,
    0,
    0, // mov eax, 23
    0x0f,
    0x05, // syscall
  ];
}
