/** Real-mode code that stands where a bzImage's setup code does, and calls the BIOS until it halts. */
import { type BlockBackend, NO_DEVICES, type PluginHost } from '@polyvisor/plugin-api';
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
async function run(
  code: string,
  atStart?: (machine: Machine, console: FakeConsole) => void,
  disks: readonly BlockBackend[] = [],
): Promise<Ran> {
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
  const devices = { ...NO_DEVICES, disks };
  const options = { image, entryName: 'linux16', memoryBytes: MEMORY_BYTES, console, commandLine: '', devices };
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

/** Each sector is full of its number, counted from 1; writes are kept. */
function memoryDisk(sectors: number, readOnly = false): BlockBackend & { readonly bytes: Uint8Array } {
  const bytes = Uint8Array.from({ length: sectors * 512 }, (_, at) => (at >> 9) + 1);
  return {
    ...{ name: 'disk', sizeBytes: bytes.length, readOnly, bytes, flush: () => true },
    read(at, into) {
      into.set(bytes.subarray(at, at + into.length));
      return true;
    },
    write(at, from) {
      bytes.set(from, at);
      return !readOnly;
    },
  };
}

describe('INT 13h', () => {
  // After each call: pushf; pop bp
  const CALL = 'cd13 9c5d';
  const AT = 0x94000;
  const BUFFER = 0x95000;
  const [ES_DI, DISK] = ['bb0050', 'ba8000'];
  /** A packet at DS:4000h: sectors, buffer at 9000:5000, first sector. */
  const packet =
    (sectors: number, first: bigint, buffer = 0x9000_5000) =>
    (machine: Machine) => {
      machine.memory.write32(AT, (sectors << 16) | 24);
      machine.memory.write32(AT + 4, buffer);
      machine.memory.write64(AT + 8, first);
      machine.memory.write64(AT + 16, BigInt(BUFFER));
    };
  const ended = ({ machine, word }: Ran) => ({ status: word(AX) >> 8, failed: machine.vcpus[0].gpr[BP] & CF });
  const DONE = { status: 0, failed: 0n };
  const bufferOf = ({ machine }: Ran, sectors: number) =>
    Array.from({ length: sectors }, (_, i) => machine.memory.read8(BUFFER + i * 512 + 511));

  it('reads by cylinder, head and sector', async () => {
    // mov ax, 0203h; cylinder 0, head 1, sector 2
    const ran = await run(`${ES_DI} b90200 ba8001 b80302 ${CALL} f4`, undefined, [memoryDisk(200)]);
    expect([ended(ran), ran.word(AX) & 0xff, bufferOf(ran, 3)]).toEqual([DONE, 3, [65, 66, 67]]);
  });

  it.each([
    ['a segment and an offset', 0x9000_5000],
    ['a flat address', 0xffff_ffff],
  ])('reads by number, to %s', async (_name, buffer) => {
    // mov si, 4000h; mov ah, 42h
    const ran = await run(`be0040 ${DISK} b442 ${CALL} f4`, packet(2, 100n, buffer), [memoryDisk(200)]);
    expect([ended(ran), bufferOf(ran, 2)]).toEqual([DONE, [101, 102]]);
  });

  it('writes by number and by cylinder, and verifies', async () => {
    const disk = memoryDisk(200);
    const code = `be0040 ${DISK} b443 ${CALL} ${ES_DI} b90500 ba8000 b80103 ${CALL} ba8000 b444 ${CALL} f4`;
    const ran = await run(code, packet(1, 150n), [disk]);
    expect([ended(ran), disk.bytes[150 * 512], disk.bytes[4 * 512], disk.bytes[5 * 512]]).toEqual([DONE, 0, 0, 6]);
  });

  it.each<[string, string, Parameters<typeof packet>, number, boolean?]>([
    ['of what lies behind the end', 'b442', [2, 199n], 4],
    ['of a number that no disk has', 'b442', [1, 2n ** 63n], 4],
    ['of as many sectors as a packet takes', 'b442', [127, 0n, 0x1000_0000], 0, false],
    ['of more sectors than a packet takes', 'b442', [128, 0n], 1],
    ['to a disk that cannot be written', 'b443', [1, 0n], 3, true],
    ['by a service that there is none of', 'b4ff', [1, 0n], 1],
  ])('a transfer %s ends with a status', async (_name, service, values, status, readOnly = false) => {
    const ran = await run(`be0040 ${DISK} ${service} ${CALL} f4`, packet(...values), [memoryDisk(200, readOnly)]);
    expect(ended(ran)).toEqual({ status, failed: status === 0 ? 0n : CF });
  });

  it('a flat address beyond memory is refused', async () => {
    const beyond = (machine: Machine) => {
      packet(1, 0n, 0xffff_ffff)(machine);
      machine.memory.write64(AT + 16, 2n ** 40n);
    };
    const ran = await run(`be0040 ${DISK} b442 ${CALL} f4`, beyond, [memoryDisk(200)]);
    expect(ended(ran)).toEqual({ status: 1, failed: CF });
  });

  it('tells geometry, size and extensions', async () => {
    const disks = [memoryDisk(255 * 63 * 2), memoryDisk(8)];
    // AH = 08h
    const geometry = await run(`${DISK} b408 ${CALL} f4`, undefined, disks);
    expect([ended(geometry), geometry.word(CX), geometry.word(DX)]).toEqual([DONE, 0x013f, 0xfe02]);
    const type = await run(`${DISK} b415 ${CALL} f4`, undefined, disks);
    expect([type.word(AX) >> 8, type.word(CX), type.word(DX)]).toEqual([3, 0, 255 * 63 * 2]);
    const extensions = await run(`bbaa55 ${DISK} b441 ${CALL} f4`, undefined, disks);
    expect([extensions.word(BX), extensions.word(CX)]).toEqual([0xaa55, 1]);
    expect(ended(extensions)).toEqual({ status: 0x30, failed: 0n });
    const table = await run(`be0040 ba8100 b448 ${CALL} f4`, (machine) => machine.memory.write16(AT, 30), disks);
    expect([ended(table), table.machine.memory.read64(AT + 16), table.machine.memory.read16(AT + 24)]).toEqual([
      ...[DONE, 8n, 512],
    ]);
    expect(table.machine.memory.read8(0x475)).toBe(2);
  });

  it('remembers how the last call ended', async () => {
    // A disk that is not there, then AH = 01h, twice.
    const ran = await run(`ba8500 b402 ${CALL} ${DISK} b401 ${CALL} 89c6 b401 ${CALL} f4`, undefined, [memoryDisk(8)]);
    expect([ran.word(SI) >> 8, ended(ran)]).toEqual([1, DONE]);
  });
});

it('a boot sector is started at 7C00h with the number of its disk, and reads the rest', async () => {
  const disk = memoryDisk(4);
  // int 10h with al = dl; then sector 2 to 0:8000h by INT 13h, and there
  disk.bytes.set(hex('88d0 b40e cd10 bb0080 b90200 b80102 cd13 ea00800000'));
  disk.bytes.set([0x55, 0xaa], 510);
  // mov ax, 0e42h; int 10h; then the reset
  disk.bytes.set(hex('b8420e cd10 ea0000ffff'), 512);
  const console = new FakeConsole();
  const image = { name: 'disk', description: '', format: 'disk', file: disk.bytes } as const;
  const make = (disks: readonly BlockBackend[]) => {
    const options = { image, memoryBytes: MEMORY_BYTES, console, commandLine: '', devices: { ...NO_DEVICES, disks } };
    return Machine.create(machineOptions(new PluginRegistry(), options));
  };
  const machine = await make([disk]);
  expect([machine.entry.name, (await machine.run()).reason]).toEqual(['bios', { kind: 'reboot' }]);
  expect(console.output).toContain('B');
  for (const disks of [[], [memoryDisk(4)]]) {
    await expect(make(disks).then((unable) => unable.run())).rejects.toMatchObject({ code: 'PV2016' });
  }
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
