/**
 * A PV32 kernel with 4gb_segments_notify: thread-local storage at negative offsets of a segment that ends below the hole works,
 * and the kernel's handler of vector 15 is called for it.
 */
import { describe, expect, it } from 'vitest';
import xen from '../../packages/plugin-xen/src/index.ts';
import { machineInProcess } from '../guests/in-process.ts';
import {
  BASE_32 as BASE,
  call32 as call,
  imm32,
  move,
  pv32Kernel,
  SEGMENT_BYTES_32 as SEGMENT_BYTES,
} from '../guests/pv32-kernel.ts';

const At = {
  FRAMES: 0x2000,
  TRAPS: 0x2040,
  MMUEXT: 0x2080,
  LOCAL: 0x2800,
  GDT: 0x3000,
  HANDLER: 0x800,
  STACK: 0x1f00,
} as const;
const THREAD_BASE = BASE + At.LOCAL;
const Call = { TRAPS: 0, SET_GDT: 2, UPDATE_VA: 14, VM_ASSIST: 21, IRET: 23, MMUEXT: 26, SCHED_OP: 29 } as const;
const MMUEXT_SET_LDT = 13;
const DOMID_SELF = 0x7ff0;
const ASSIST = { SEGMENTS: 0, NOTIFY: 1 } as const;
const FLAT_RING1_CS = 0xe019;
/** Of the second descriptor, by table. */
const SELECTOR = { gdt: 0x09, ldt: 0x0d } as const;
const [EBX, ECX, EDX] = [3, 1, 2];

/** Data of 4 GiB at the thread's base, DPL 3, as Linux describes TLS. */
const DESCRIPTOR = [
  ...[0xff, 0xff, THREAD_BASE & 0xff, (THREAD_BASE >>> 8) & 0xff],
  ...[(THREAD_BASE >>> 16) & 0xff, 0xf3, 0xcf, THREAD_BASE >>> 24],
];

interface Plan {
  readonly table: keyof typeof SELECTOR;
  readonly assists: readonly number[];
  readonly handles: boolean;
  readonly code: readonly number[];
}

async function run({ table, assists, handles, code }: Plan) {
  const main = [
    ...move(4, BASE + At.STACK),
    ...assists.flatMap((type) => call(Call.VM_ASSIST, 0, type)),
    ...(handles ? call(Call.TRAPS, BASE + At.TRAPS) : []),
    ...call(Call.UPDATE_VA, BASE + At.GDT, 0, 0, 2), // the entry is filled in below
    ...(table === 'gdt'
      ? call(Call.SET_GDT, BASE + At.FRAMES, 512)
      : call(Call.MMUEXT, BASE + At.MMUEXT, 1, 0, DOMID_SELF)),
    ...move(EBX, SELECTOR[table]),
    ...[0x8e, 0xeb], // mov gs, ebx
    ...code,
    ...[0x6a, 0x00, 0x89, 0xe1], // push 0; mov ecx, esp
    ...move(EBX, 2),
    ...move(0, Call.SCHED_OP),
    ...[0xcd, 0x82],
  ];
  const handler = [
    ...[0xff, 0x05, ...imm32(BASE + At.LOCAL + 0x100)], // inc [count]
    ...[0x50], // push eax
    ...move(0, Call.IRET),
    ...[0xcd, 0x82],
  ];
  const bytes = new Array(SEGMENT_BYTES).fill(0);
  const put = (offset: number, values: readonly number[]) => bytes.splice(offset, values.length, ...values);
  put(0, main);
  put(At.HANDLER, handler);
  put(At.TRAPS, [15, 0, FLAT_RING1_CS & 0xff, FLAT_RING1_CS >> 8, ...imm32(BASE + At.HANDLER)]);
  put(At.MMUEXT, [MMUEXT_SET_LDT, BASE + At.GDT, 512].flatMap(imm32));
  put(At.GDT + 8, DESCRIPTOR);
  put(At.LOCAL - 8, [...imm32(0x1111), ...imm32(0x2222)]);
  const { machine } = await machineInProcess({ name: 'kernel', file: pv32Kernel(bytes), plugins: [[xen]] });
  const [vcpu] = machine.vcpus;
  const gpaOf = (offset: number) => {
    const found = vcpu.translate(BigInt(BASE + offset), 'read', { as: 'supervisor' });
    if (!found.ok) throw new Error('not mapped');
    return found.gpa;
  };
  const gdt = gpaOf(At.GDT);
  machine.memory.write32(gpaOf(At.FRAMES), gdt / 4096);
  const entryAt = main.findIndex((_, i) => [...move(ECX, 0), ...move(EDX, 0)].every((byte, k) => main[i + k] === byte));
  machine.memory.write32(gpaOf(entryAt + 1), gdt | 1);
  const { reason } = await machine.run();
  const word = (offset: number) => machine.memory.read32(gpaOf(offset));
  return {
    reason,
    eax: word(At.LOCAL + 0x104),
    notified: word(At.LOCAL + 0x100),
    local: [word(At.LOCAL - 8), word(At.LOCAL - 4)],
    limit: machine.memory.read32(gdt + 8) & 0xffff,
    limitHigh: (machine.memory.read32(gdt + 12) >>> 16) & 0xf,
  };
}

/** mov eax, gs:[-4]; mov [result], eax; mov dword gs:[-8], 0x3333 */
const USE_LOCAL = [
  ...[0x65, 0xa1, ...imm32(-4)],
  ...[0xa3, ...imm32(BASE + At.LOCAL + 0x104)],
  ...[0x65, 0xc7, 0x05, ...imm32(-8), ...imm32(0x3333)],
];
const BOTH = [ASSIST.SEGMENTS, ASSIST.NOTIFY];

describe.each(['gdt', 'ldt'] as const)(
  'a 32-bit guest with thread-local storage at negative offsets, its %s',
  (table) => {
    it('is told once for a segment, which then reaches to 4 GiB', async () => {
      const ended = await run({ table, assists: BOTH, handles: true, code: USE_LOCAL });
      expect(ended).toEqual({
        reason: { kind: 'poweroff' },
        eax: 0x2222,
        notified: 1,
        local: [0x3333, 0x2222],
        limit: 0xffff,
        limitHigh: 0xf,
      });
    });

    it('has its segment end below the hole until then', async () => {
      const pages = Math.floor((0xf580_0000 - THREAD_BASE) / 4096) - 1;
      const ended = await run({ table, assists: BOTH, handles: true, code: [] });
      expect(ended).toMatchObject({ notified: 0, limit: pages & 0xffff, limitHigh: pages >>> 16 });
    });

    it('works without being told if there is no handler, or without segments that end', async () => {
      const silent = await run({ table, assists: BOTH, handles: false, code: USE_LOCAL });
      const whole = await run({ table, assists: [ASSIST.SEGMENTS], handles: true, code: USE_LOCAL });
      for (const ended of [silent, whole])
        expect(ended).toMatchObject({ eax: 0x2222, notified: 0, local: [0x3333, 0x2222] });
    });

    it('gets its #GP where the offset does not wrap to its own memory, or where it has not asked', async () => {
      const hole = 0xf600_0000 - THREAD_BASE;
      const inHole = await run({ table, assists: BOTH, handles: true, code: [0x65, 0xa1, ...imm32(hole)] });
      const unasked = await run({ table, assists: [ASSIST.NOTIFY], handles: true, code: USE_LOCAL });
      for (const { reason } of [inHole, unasked])
        expect(reason).toMatchObject({ kind: 'crash', message: expect.stringContaining('unhandled #GP') });
    });
  },
);
