/** Real-mode code that stands where a bzImage's setup code does, and calls the BIOS until it halts. */
import type { PluginHost } from '@polyvisor/plugin-api';
import { FakeConsole } from '@polyvisor/testkit';
import { describe, expect, it } from 'vitest';
import { hex } from '../../engine/testing/test-bench.ts';
import { buildBzImage } from '../../loader/image/testing/bzimage-fixture.ts';
import { PluginRegistry } from '../../plugin/index.ts';
import { Machine } from '../machine.ts';
import type { RunEnd } from '../options.ts';
import { machineOptions } from '../testing/test-guest.ts';

const MEMORY_BYTES = 20 << 20;
const ROM = 0xf0000n;
const HIDDEN_BYTES = 2 << 20;
/** File offset that the jump at 0x200 leads to. */
const SETUP_CODE = 0x26c;
const CF = 1n;
const ZF = 0x40n;
const [AX, CX, DX, BX, BP, SI] = [0, 1, 2, 3, 5, 6];

interface Ran {
  readonly machine: Machine;
  readonly console: FakeConsole;
  readonly end: RunEnd;
  word(register: number): number;
}

/** Runs code from the 16-bit entry to its HLT; HLT in the ROM is its own. */
async function run(code: string, atStart?: (machine: Machine, console: FakeConsole) => void): Promise<Ran> {
  const file = buildBzImage({ payload: new Uint8Array(64) });
  file.set(hex(code), SETUP_CODE);
  const registry = new PluginRegistry();
  let machine: Machine | undefined;
  const plugin = {
    name: 'bench',
    version: '1.0.0',
    api: '^1.0',
    apply(host: PluginHost) {
      host.hooks.exit.for('hlt').tap('bench', (vcpu) => {
        if (vcpu.segment(1).base === ROM) return 'pass';
        machine?.shutdown({ kind: 'poweroff' });
        return 'handled';
      });
    },
  };
  registry.load(plugin, { where: 'test' });
  const console = new FakeConsole();
  const image = { name: 'setup', description: 'setup code', format: 'bzimage', file } as const;
  const options = { image, entryName: 'linux16', memoryBytes: MEMORY_BYTES, console, commandLine: '' };
  machine = await Machine.create(machineOptions(registry, options));
  atStart?.(machine, console);
  const end = await machine.run();
  const [vcpu] = machine.vcpus;
  return { machine, console, end, word: (register) => Number(vcpu.gpr[register] & 0xffffn) };
}

describe('INT 15h', () => {
  it('E820h gives the memory map, entry by entry', async () => {
    // mov di, 4000h; xor ebx, ebx; again: mov eax, e820h; mov edx, "SMAP"; mov ecx, 20; int 15h; jc end; add di, 20;
    // test ebx, ebx; jnz again; end: hlt
    const { machine, word } = await run(
      'bf0040 6631db 66b820e80000 66ba50414d53 66b914000000 cd15 7208 83c714 6685db 75e2 f4',
    );
    const count = (word(7) - 0x4000) / 20;
    const entries = Array.from({ length: count }, (_, index) => {
      const at = 0x90000 + 0x4000 + index * 20;
      return [at, at + 8].map((field) => Number(machine.memory.read64(field))).concat(machine.memory.read32(at + 16));
    });
    expect(entries).toEqual([
      [0, 0x9fc00, 1],
      [0xe0000, 0x20000, 2],
      [0x100000, MEMORY_BYTES - 0x100000, 1],
      [MEMORY_BYTES, HIDDEN_BYTES, 2],
    ]);
  });

  it.each([
    ['E801h, in two ranges', 'b801e8', [0x3c00, 0x40]],
    ['88h, in KiB', 'b80088', [19 << 10, 0]],
  ])('%s', async (_name, mov, [ax, bx]) => {
    // mov ax, SERVICE; int 15h; pushf; pop bp; hlt
    const { machine, word } = await run(`${mov} cd15 9c5d f4`);
    expect([word(AX), word(BX), machine.vcpus[0].gpr[BP] & CF]).toEqual([ax, bx, 0n]);
  });

  it.each(['b80053', 'b880e9', 'b800ec', 'b80024'])('has no service %s: CF, and AH = 86h', async (mov) => {
    const { machine, word } = await run(`${mov} cd15 9c5d f4`);
    expect([word(AX) >> 8, machine.vcpus[0].gpr[BP] & CF]).toEqual([0x86, CF]);
  });

  it('C0h leads to a table that says PC/AT', async () => {
    // mov ah, c0h; int 15h; mov cx, es:[bx+2]
    const { word } = await run('b4c0 cd15 268b4f02 f4');
    expect(word(CX)).toBe(0x01fc);
  });
});

it('INT 11h and 12h tell of one serial port and of 639 KiB', async () => {
  // int 11h; mov cx, ax; int 12h
  const { word } = await run('cd11 89c1 cd12 f4');
  expect([word(CX), word(AX)]).toEqual([0x0222, 639]);
});

it('INT 13h has no drives', async () => {
  // mov ax, 4100h; mov dl, 80h; int 13h; pushf; pop bp
  const { machine, word } = await run('b80041 b280 cd13 9c5d f4');
  expect([word(AX) >> 8, machine.vcpus[0].gpr[BP] & CF]).toEqual([1, CF]);
});

it('INT 10h types on the console, and its cursor follows', async () => {
  // mov ax, 0e41h; int 10h; mov ax, 0e0ah; int 10h; mov ah, 3; int 10h
  const { console, word } = await run('b8410e cd10 b80a0e cd10 b403 cd10 f4');
  expect([console.output, word(DX), word(CX)]).toEqual(['A\n', 0x0101, 0x0607]);
});

it('INT 16h waits for a key, and then there is none', async () => {
  // xor ax, ax; int 16h; mov si, ax; mov ah, 1; int 16h; pushf; pop bp
  const { machine, word } = await run('31c0 cd16 89c6 b401 cd16 9c5d f4', ({ clock }, console) => {
    clock.at(clock.nowNs() + 200_000_000, () => console.type('k'));
  });
  expect([word(SI), machine.vcpus[0].gpr[BP] & ZF]).toEqual([0x6b, ZF]);
});

it('INT 1Ah counts ticks, 18.2 a second', async () => {
  // sti; mov ecx, 60,000,000; loop (60 ms); xor ax, ax; int 1ah. The first tick comes with the 8254's mode.
  const { word } = await run('fb 66b900879303 67e2fd 31c0 cd1a f4');
  expect([word(CX), word(DX)]).toEqual([0, 2]);
});

it('INT 1Ah sets the count of ticks', async () => {
  // mov ah, 1; mov cx, 18h; mov dx, 123h; int 1ah; xor ax, ax; xor cx, cx; xor dx, dx; int 1ah
  const { word } = await run('b401 b91800 ba2301 cd1a 31c0 31c9 31d2 cd1a f4');
  expect([word(AX), word(CX), word(DX)]).toEqual([0, 0x18, 0x123]);
});

it('INT 1Ah knows date and time, in BCD', async () => {
  // mov ah, 4; int 1ah; mov bx, cx; mov si, dx; mov ah, 2; int 1ah
  const { word } = await run('b404 cd1a 89cb 89d6 b402 cd1a f4');
  expect([word(BX), word(SI), word(CX)]).toEqual([0x1970, 0x0101, 0]);
});

it('the address where processors begin resets the machine', async () => {
  // jmp ffffh:0
  const { end } = await run('ea0000ffff f4');
  expect(end.reason).toEqual({ kind: 'reboot' });
});

it('a VMCALL elsewhere is none of the BIOS’s', async () => {
  const { machine, end } = await run('0f01c1 f4', ({ memory }) => {
    // #UD: mov bp, 1234h; hlt
    memory.write32(6 * 4, 0x90007000);
    memory.writeBytes(0x97000, hex('bd3412 f4'));
  });
  expect(end.reason).toEqual({ kind: 'poweroff' });
  expect(machine.vcpus[0].gpr[BP] & 0xffffn).toBe(0x1234n);
});
