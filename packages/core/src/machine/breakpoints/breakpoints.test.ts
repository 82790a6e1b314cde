import { describe, expect, it } from 'vitest';
import { DR } from '../../cpu/state.ts';
import { hex } from '../../engine/testing/test-bench.ts';
import { CODE, HANDLERS, type TestGuest, testGuest } from '../testing/test-guest.ts';

const DATA = 0x18000;
/** DR7: R/W and LEN of breakpoint 0, globally enabled. */
const armed = (kind: number, length: number) => BigInt((kind << 16) | (length << 18) | 0x402);
const EXECUTE = armed(0, 0);
const DEBUG = 1;

async function run(code: string, dr0: number, dr7: bigint, prepare?: (guest: TestGuest) => void): Promise<TestGuest> {
  const guest = await testGuest({
    code: { [CODE]: code },
    prepare: (made) => {
      made.vcpu.setSlot64(DR[0], BigInt(dr0));
      made.vcpu.setSlot64(DR[7], dr7);
      prepare?.(made);
    },
  });
  await guest.run();
  return guest;
}
const dr6 = ({ vcpu }: TestGuest) => Number(vcpu.slot64(DR[6]) & 0xffffn);
/** RIP that the #DB pushed, from the start of the code. */
const pushedRip = (guest: TestGuest) => Number(guest.stack(1)[0]) - CODE;

describe('an instruction breakpoint', () => {
  it('stops before the instruction', async () => {
    // nop; inc rax; hlt
    const guest = await run('90 48ffc0 f4', CODE + 1, EXECUTE);
    expect([guest.stoppedIn, pushedRip(guest), guest.vcpu.gpr[0], dr6(guest)]).toEqual([DEBUG, 1, 0n, 0x0ff1]);
  });

  it('lets it pass if the handler sets RF, and stops there again the next time', async () => {
    // again: inc rax; cmp rax, 3; jb again; hlt. Handler: inc rbx; or dword [rsp+16], 10000h; iretq
    const guest = await run('48ffc0 4883f803 72f7 f4', CODE, EXECUTE, ({ machine }) => {
      machine.memory.writeBytes(HANDLERS + 16 * DEBUG, hex('48ffc3 814c241000000100 48cf'));
    });
    expect([guest.vcpu.gpr[0], guest.vcpu.gpr[3], guest.stoppedIn]).toEqual([3n, 3n, undefined]);
  });

  it('stops behind MOV SS too, and tells what MOV SS has held back', async () => {
    // mov ss, [DATA]; inc rax; hlt
    const code = '8e142500800100 48ffc0 f4';
    const prepare = ({ machine, vcpu }: TestGuest) => {
      machine.memory.write16(DATA, 0x10);
      // Breakpoint 1: reads and writes of DATA.
      vcpu.setSlot64(DR[1], BigInt(DATA));
      vcpu.setSlot64(DR[7], EXECUTE | 0x30_0008n);
    };
    const guest = await run(code, CODE + 7, EXECUTE, prepare);
    expect([guest.stoppedIn, pushedRip(guest), guest.vcpu.gpr[0], dr6(guest)]).toEqual([DEBUG, 7, 0n, 0x0ff3]);
  });

  it('is not one while DR7 does not enable it', async () => {
    const guest = await run('90 48ffc0 f4', CODE + 1, 0x400n);
    expect([guest.stoppedIn, guest.vcpu.gpr[0]]).toEqual([undefined, 1n]);
  });
});

describe('a data breakpoint', () => {
  // mov rdi, DATA; then the access; nop; hlt
  const access = (code: string) => `48c7c700800100 ${code} 90 f4`;

  it.each([
    ['a write', '8807', 1, 0, 2],
    ['a read of what waits for both', '8a07', 3, 0, 2],
    ['a write that reaches into its 8 bytes', '66894707', 1, 2, 4],
    ['the write of an addition', '480107', 1, 0, 3],
    ['a push', '4889fc57', 1, 0, 0],
    ['a vector store', '0f1107', 1, 3, 3],
    ['a string store', 'aa', 1, 0, 1],
  ])('traps after %s', async (_name, code, kind, length, size) => {
    const isPush = size === 0;
    const guest = await run(access(code), isPush ? DATA - 8 : DATA, armed(kind, length));
    expect(guest.stoppedIn).toBe(DEBUG);
    expect(dr6(guest)).toBe(0x0ff1);
    if (!isPush) expect(pushedRip(guest)).toBe(7 + size);
  });

  it.each([
    ['a read of what waits for writes', '8a07', 1, 0],
    ['a write beside it', '884701', 1, 0],
    ['an address that is only computed', '488d07', 3, 0],
  ])('does not trap after %s', async (_name, code, kind, length) => {
    const guest = await run(access(code), DATA, armed(kind, length));
    expect([guest.stoppedIn, dr6(guest)]).toEqual([undefined, 0x0ff0]);
  });

  it('of MOV SS waits for the next instruction', async () => {
    // mov rdi, DATA; mov ss, [rdi]; inc rax; nop; hlt
    const guest = await run('48c7c700800100 8e17 48ffc0 90 f4', DATA, armed(3, 0), ({ machine }) => {
      machine.memory.write16(DATA, 0x10);
    });
    expect([guest.stoppedIn, pushedRip(guest), guest.vcpu.gpr[0], dr6(guest)]).toEqual([DEBUG, 12, 1n, 0x0ff1]);
  });
});

it('an I/O breakpoint traps after IN and OUT, with CR4.DE', async () => {
  // out 80h, al; nop; hlt
  const prepare = ({ vcpu }: TestGuest) => {
    vcpu.cr4 |= 8n;
  };
  const guest = await run('e680 90 f4', 0x80, armed(2, 0), prepare);
  expect([guest.stoppedIn, pushedRip(guest), dr6(guest)]).toEqual([DEBUG, 2, 0x0ff1]);
  expect((await run('e680 90 f4', 0x80, armed(2, 0))).stoppedIn).toBe(undefined);
});

it('general detect stops a MOV to a debug register, and is off in the handler', async () => {
  // mov dr1, rax; hlt
  const guest = await run('0f23c8 f4', 0, 0x2400n);
  expect([guest.stoppedIn, pushedRip(guest), dr6(guest)]).toEqual([DEBUG, 0, 0x2ff0]);
  expect(guest.vcpu.slot64(DR[7])).toBe(0x400n);
});
