/**
 * mmu_update, update_va_mapping and mmuext_op of PV kernels without an exit: everything that can be seen afterwards, the frame table among
 * it, is as if each had left.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import xen from '../../packages/plugin-xen/src/index.ts';
import { seen } from '../guests/ended.ts';
import { machineInProcess } from '../guests/in-process.ts';
import { imm32, pvKernel, reason, SHUTDOWN_BY_EDI, VIRT_BASE } from '../guests/pv-kernel.ts';
import { BASE_32, call32, move, pv32Kernel, SEGMENT_BYTES_32 } from '../guests/pv32-kernel.ts';

const LIST = 0x1000;
const STACK = 0x1f00;
/** One call to be made: number and four arguments, what comes back, and a request that the arguments may point to. */
const Step = { NUMBER: 0, ARGS: 8, RESULTS: 40, REQUEST: 64, TOUCH: 88, TOUCHED: 96, SIZE: 104 } as const;
const MOST_STEPS = 30;
const Call = { mmu_update: 1, update_va_mapping: 14, xen_version: 17, mmuext_op: 26 } as const;
const MMUEXT_INVLPG_LOCAL = 7;
const SPARES = 6;
const PTE_FRAME = 0x000f_ffff_ffff_f000n;

interface Model {
  readonly name: 'PV64' | 'PV32';
  readonly base: bigint;
  /** The first of pages that are mapped and not used. */
  readonly spare: bigint;
  readonly shifts: readonly bigint[];
  readonly file: Buffer;
}

const PV64: Model = {
  name: 'PV64',
  base: VIRT_BASE + 0x10_0000n,
  spare: VIRT_BASE + 0x4_0000n,
  shifts: [39n, 30n, 21n],
  file: pvKernel({
    code: [
      ...[0x48, 0xc7, 0xc3, ...imm32(Number(BigInt.asUintN(32, VIRT_BASE)) + 0x10_0000 + LIST)], // mov rbx, list
      ...[0x48, 0xc7, 0xc4, ...imm32(Number(BigInt.asUintN(32, VIRT_BASE)) + 0x10_0000 + STACK)], // mov rsp
      ...[0x48, 0x8b, 0x03], // mov rax, [rbx]
      ...[0x48, 0x8b, 0x7b, 0x08], // mov rdi, [rbx+8]
      ...[0x48, 0x8b, 0x73, 0x10], // mov rsi, [rbx+16]
      ...[0x48, 0x8b, 0x53, 0x18], // mov rdx, [rbx+24]
      ...[0x4c, 0x8b, 0x53, 0x20], // mov r10, [rbx+32]
      ...[0x0f, 0x05], // syscall
      ...[0x48, 0x89, 0x43, 0x28], // mov [rbx+40], rax
      ...[0x48, 0x89, 0x4b, 0x30], // mov [rbx+48], rcx
      ...[0x4c, 0x89, 0x5b, 0x38], // mov [rbx+56], r11
      ...[0x48, 0x8b, 0x4b, Step.TOUCH], // mov rcx, [rbx]
      ...[0x8a, 0x09, 0x88, 0x4b, Step.TOUCHED], // mov cl, [rcx]; mov [rbx], cl
      ...[0x48, 0x83, 0xc3, Step.SIZE], // add rbx
      ...[0x83, 0x3b, 0xff], // cmp dword [rbx], -1
      ...[0x75, 0xcd], // jne
      ...[0xb8, ...imm32(Call.xen_version), 0x31, 0xff, 0x0f, 0x05], // xen_version(0)
      ...reason(0),
      ...SHUTDOWN_BY_EDI,
    ],
  }),
};

function kernel32(): Buffer {
  const bytes = new Array(SEGMENT_BYTES_32).fill(0);
  const code = [
    ...move(5, BASE_32 + LIST), // mov ebp, list
    ...move(4, BASE_32 + STACK), // mov esp
    ...[0x8b, 0x45, 0x00], // mov eax, [ebp]
    ...[0x8b, 0x5d, 0x08], // mov ebx, [ebp+8]
    ...[0x8b, 0x4d, 0x10], // mov ecx, [ebp+16]
    ...[0x8b, 0x55, 0x18], // mov edx, [ebp+24]
    ...[0x8b, 0x75, 0x20], // mov esi, [ebp+32]
    ...[0xcd, 0x82], // int 0x82
    ...[0x89, 0x45, 0x28], // mov [ebp+40], eax
    ...[0x8b, 0x4d, Step.TOUCH], // mov ecx, [ebp]
    ...[0x8a, 0x09, 0x88, 0x4d, Step.TOUCHED], // mov cl, [ecx]; mov [ebp], cl
    ...[0x83, 0xc5, Step.SIZE], // add ebp
    ...[0x83, 0x7d, 0x00, 0xff], // cmp dword [ebp], -1
    ...[0x75, 0xdb], // jne
    ...call32(Call.xen_version, 0),
    ...[0x6a, 0x00, 0x89, 0xe1], // push 0; mov ecx, esp
    ...move(3, 2), // SCHEDOP_shutdown
    ...move(0, 29),
    ...[0xcd, 0x82],
  ];
  bytes.splice(0, code.length, ...code);
  return pv32Kernel(bytes);
}
const PV32: Model = {
  name: 'PV32',
  base: BigInt(BASE_32),
  spare: 0xc004_0000n,
  shifts: [30n, 21n],
  file: kernel32(),
};

/** What a value names before the machine frames are known: a page of the guest, or a frame by its number. */
type Frame = { readonly spare: number } | { readonly table: number } | { readonly mfn: bigint };
interface Entry {
  readonly frame: Frame;
  readonly flags: bigint;
}
interface AnyStep {
  readonly call: Exclude<keyof typeof Call, 'xen_version'>;
  /** Which L1 entry: that of a spare page, or one of the pinned table. */
  readonly page: number;
  readonly entry: Entry;
  /** mmu_update: added to the entry's machine address; update_va_mapping: to the page's address. */
  readonly offset: bigint;
  readonly count: bigint;
  readonly done: bigint;
  readonly domid: bigint;
  readonly flushFlags: bigint;
  /** mmuext_op: which, on a page's address. */
  readonly operation: number;
  /** A page to look at afterwards. */
  readonly touches: number | undefined;
}

async function run(model: Model, steps: readonly AnyStep[], exits?: 'all') {
  const options = exits && { exits };
  const { machine, counters } = await machineInProcess({ name: 'kernel', file: model.file, plugins: [[xen]], options });
  const { memory } = machine;
  const [vcpu] = machine.vcpus;
  const gpaOf = (gva: bigint): number => {
    const found = vcpu.translate(gva, 'read', { as: 'supervisor' });
    if (!found.ok) throw new Error(`0x${gva.toString(16)} is not mapped`);
    return found.gpa;
  };
  const tableOf = (gva: bigint): bigint => {
    // The root of a PAE guest hangs below the first entry of the hypervisor's.
    let table = model.name === 'PV32' ? memory.read64(Number(vcpu.cr3)) & PTE_FRAME : vcpu.cr3;
    for (const shift of model.shifts) table = memory.read64(Number(table + ((gva >> shift) & 511n) * 8n)) & PTE_FRAME;
    return table;
  };
  const spare = (index: number) => model.spare + BigInt(index % SPARES) * 4096n;
  const entryAt = (gva: bigint) => tableOf(gva) + ((gva >> 12n) & 511n) * 8n;
  const mfnOf = (frame: Frame): bigint => {
    if ('mfn' in frame) return frame.mfn;
    return 'spare' in frame ? BigInt(gpaOf(spare(frame.spare)) >> 12) : tableOf(spare(frame.table)) >> 12n;
  };
  const wordMask = model.name === 'PV32' ? 0xffff_ffffn : 0xffff_ffff_ffff_ffffn;
  const list = gpaOf(model.base + BigInt(LIST));
  const put = (at: number, value: bigint) => memory.write64(list + at, BigInt.asUintN(64, value & wordMask));
  for (let index = 0; index < SPARES; index++) memory.write8(gpaOf(spare(index)), 0x10 + index);
  steps.forEach((step, index) => {
    const at = index * Step.SIZE;
    const value = (mfnOf(step.entry.frame) << 12n) ^ step.entry.flags;
    const gva = spare(step.page);
    const args =
      step.call !== 'update_va_mapping'
        ? [model.base + BigInt(LIST + at + Step.REQUEST), step.count, step.done, step.domid]
        : model.name === 'PV64'
          ? [gva + step.offset, value, step.flushFlags, 0n]
          : [gva + step.offset, value & 0xffff_ffffn, value >> 32n, step.flushFlags];
    put(at + Step.NUMBER, BigInt(Call[step.call]));
    args.forEach((argument, i) => put(at + Step.ARGS + i * 8, argument));
    const request =
      step.call === 'mmu_update'
        ? [entryAt(gva) + step.offset, value]
        : model.name === 'PV64'
          ? [BigInt(step.operation), gva + step.offset, 0n]
          : [((gva + step.offset) << 32n) | BigInt(step.operation), 0n];
    request.forEach((word, i) => memory.write64(list + at + Step.REQUEST + i * 8, BigInt.asUintN(64, word)));
    put(at + Step.TOUCH, step.touches === undefined ? model.base : spare(step.touches));
  });
  memory.write32(list + steps.length * Step.SIZE, 0xffff_ffff);
  const ended = await machine.run();
  const stats = machine.stats();
  const calls = Object.fromEntries(Object.entries(counters()).filter(([name]) => name.includes('hypercall')));
  const left = Number(stats['exit.syscall'] ?? 0) + Number(stats['exit.softwareInterrupt'] ?? 0);
  const results = steps.map((_, index) => memory.read32(list + index * Step.SIZE + Step.RESULTS) | 0);
  const touched = steps.flatMap(({ touches }, index) =>
    touches === undefined ? [] : [memory.read8(list + index * Step.SIZE + Step.TOUCHED)],
  );
  return { ...seen({ machine, reason: ended.reason }), calls, left, results, touched };
}

const PLAIN: AnyStep = {
  call: 'mmu_update',
  page: 0,
  entry: { frame: { spare: 0 }, flags: 0x63n },
  offset: 0n,
  count: 1n,
  done: 0n,
  domid: 0x7ff0n,
  flushFlags: 0n,
  operation: MMUEXT_INVLPG_LOCAL,
  touches: undefined,
};
const ABSENT: Entry = { frame: { mfn: 0n }, flags: 0n };

const usual = <T>(value: T, ...others: readonly T[]) =>
  fc.oneof({ weight: 8, arbitrary: fc.constant(value) }, fc.constantFrom(...others));
const anyFrame = fc.oneof(
  { weight: 8, arbitrary: fc.record({ spare: fc.nat(SPARES - 1) }) },
  fc.record({ table: fc.nat(SPARES - 1) }),
  fc.record({ mfn: fc.constantFrom(0n, 1n, 2n, 100n, 0xff_ffffn, 0xfffff_fffffn) }),
);
const anyEntry = fc.record<Entry>({
  frame: anyFrame,
  flags: fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(0x61n, 0x63n, 0x67n, 0x27n, 0x1n, 0x60n, 0n) },
    fc.bigInt({ min: 0n, max: 0xfffn }),
    fc.tuple(fc.bigInt({ min: 0n, max: 0xfffn }), fc.nat(11)).map(([low, bit]) => low | (1n << BigInt(52 + bit))),
  ),
});
const anyStep = fc.record<AnyStep>({
  call: fc.constantFrom('mmu_update', 'mmu_update', 'update_va_mapping', 'update_va_mapping', 'mmuext_op'),
  page: fc.nat(SPARES - 1),
  entry: anyEntry,
  offset: usual(0n, 2n, 1n, 3n, 4n, 7n, 8n, -8n, 0x1000n, 0x8000_0000n, 0x1_0000_0000n, 0x8000_0000_0000n),
  count: usual(1n, 0n, 2n, 0x8000_0001n, 0x1_0000_0001n),
  done: usual(0n, 8n),
  domid: usual(0x7ff0n, 1n, 0n, 0x7ff1n, 0x1_7ff0n, 0x2_7ff0n, 0x1_0000_7ff0n),
  flushFlags: usual(0n, 1n, 2n, 2n, 3n, 4n, 6n, 0x1_0000_0002n),
  operation: usual(MMUEXT_INVLPG_LOCAL, 6, 11, 10, 9, 0, 99),
  touches: fc.option(fc.nat(SPARES - 1), { nil: undefined, freq: 8 }),
});

describe.each([PV64, PV32])('changes of L1 entries and INVLPG by a $name kernel', (model) => {
  it('do not leave, and end as if they had', async () => {
    const update = (page: number, entry: Entry, more: Partial<AnyStep> = {}) => ({ ...PLAIN, page, entry, ...more });
    const byAddress = { call: 'update_va_mapping', flushFlags: 2n } as const;
    const steps = [
      update(0, { frame: { spare: 1 }, flags: 0x63n }),
      update(0, { frame: { spare: 1 }, flags: 0x61n }, { ...byAddress, touches: 0 }),
      update(2, { frame: { spare: 1 }, flags: 0x67n }, byAddress),
      update(2, ABSENT),
      update(2, { frame: { spare: 3 }, flags: 0x25n }, { offset: 2n }),
      update(2, { frame: { spare: 4 }, flags: 0x63n }, { ...byAddress, touches: 2 }),
      update(2, { frame: { spare: 3 }, flags: 0x63n }),
      update(2, ABSENT, { call: 'mmuext_op', touches: 2 }),
    ];
    const [direct, whole] = [await run(model, steps), await run(model, steps, 'all')];
    const { left, ...rest } = direct;
    const { left: leftWhole, ...all } = whole;
    expect(rest).toEqual(all);
    expect(all.reason).toEqual({ kind: 'poweroff' });
    expect(all.results).toEqual(steps.map(() => 0));
    expect(all.touched).toEqual([0x11, 0x14, 0x13]);
    // Two of them drop the only writable mapping of a page: its type ends, which is the exit's.
    expect(leftWhole - left).toBe(steps.length - 2);
  });

  it('are the same whatever is asked for', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyStep, { minLength: 10, maxLength: MOST_STEPS }), async (steps) => {
        const { left, ...direct } = await run(model, steps);
        const { left: leftWhole, ...whole } = await run(model, steps, 'all');
        expect(direct).toEqual(whole);
        expect(left).toBeLessThanOrEqual(leftWhole);
      }),
      { numRuns: 15 },
    );
  }, 120_000);
});
