import type { CodePlace, ElfImage } from '@polyvisor/plugin-api';
import { describe, expect, it } from 'vitest';
import { BtfWriter } from '../loader/image/testing/btf-fixture.ts';
import type { Machine } from '../machine/index.ts';
import { POWER_OFF, runNative } from '../machine/testing/native-guest.ts';
import type { LiveOps } from './live-ops.ts';
import { buildKernel, DATA } from './testing/kernel-fixture.ts';
import { attachTo, callTo, gvaOf, KERNEL_AT, placeKernel, rdi } from './testing/kernel-in-memory.ts';

const RET = 0xc3;
const RBP = 5;
const TRACER_NOP = [0x0f, 0x1f, 0x44, 0, 0];
const [START, PLACEHOLDER, INLINED] = [0x3c0, 0x3a0, 0x40];
/** lea rax, [rdi+rdi]: what the kernel inlines for slot `value`. */
const DOUBLE = [0x48, 0x8d, 0x04, 0x3f, 0x66, 0x90];
const LIST = 0x31000;

/** struct module and what it leads to, as Linux 6.1 lays them out, in short. */
function types(): Uint8Array {
  const btf = new BtfWriter();
  const word = btf.int('long', 8);
  const int = btf.int('int');
  const list = btf.struct('list_head', 16, [['next', word, 0]]);
  const area = btf.struct('module_layout', 80, [
    ['base', word, 0],
    ['text_size', int, 12],
  ]);
  const attribute = btf.struct('attribute', 16, [['name', word, 0]]);
  const binary = btf.struct('bin_attribute', 64, [['attr', attribute, 0]]);
  const section = btf.struct('module_sect_attr', 72, [
    ['battr', binary, 0],
    ['address', word, 64],
  ]);
  btf.struct('module_sect_attrs', 48, [
    ['nsections', int, 40],
    ['attrs', btf.array(section, 0), 48],
  ]);
  const state = btf.enumeration(
    'module_state',
    ['LIVE', 'COMING', 'GOING', 'UNFORMED'].map((s) => `MODULE_STATE_${s}`),
  );
  btf.struct('module', 320, [
    ['state', state, 0],
    ['list', list, 8],
    ['name', btf.array(btf.int('char', 1), 56), 24],
    ['core_layout', area, 80],
    ['init_layout', area, 160],
    ['sect_attrs', word, 240],
  ]);
  return btf.bytes();
}

/** Slot `value` returns 2 RDI; a site at 0x40 has that inlined. */
const kernel: ElfImage = buildKernel({
  slots: [0x300, 0x310],
  code: {
    768: [0x48, 0xff, 0xc3, RET],
    784: [0x48, 0x8d, 0x04, 0x3f, RET],
    [INLINED + 6]: [RET],
    [START]: [...TRACER_NOP, RET],
    [PLACEHOLDER]: [0x0f, 0x0b],
  },
  parainstructions: [{ at: INLINED, slot: 1 }],
  alternatives: [{ at: 0x20, feature: 117 }],
  after: [0x00_00_78_75_6e_69_4cn],
  btf: types(),
  symbols: {
    ...{ _stext: 0n, _etext: 0x400n, _end: 0x90000n, native_halt: 0x300n, native_value: 0x310n },
    ...{ pv_ops: DATA, linux_banner: DATA + 16n, asm_exc_page_fault: 0x3f0n, modules: BigInt(LIST) },
    ...{ do_init_module: BigInt(START), BUG_func: BigInt(PLACEHOLDER) },
  },
});

const STATE = { live: 0, coming: 1 } as const;

/** A module at an offset of the kernel's: code at its start, of the initialisation 0x1000 behind it, tables 0x2000. */
class FakeModule {
  readonly #machine: Machine;
  readonly #at: number;

  constructor(machine: Machine, at: number, state: number, table: readonly [name: string, bytes: Uint8Array]) {
    this.#machine = machine;
    this.#at = at;
    const module = at + 0x3000;
    const [name, bytes] = table;
    for (const code of [0, 0x1000]) this.write(code, [...DOUBLE, RET]);
    this.write(0x2000, bytes);
    this.write(0x3000, new Uint8Array(0x1000));
    this.write(0x3000 + 24, new TextEncoder().encode('fake'));
    this.#word(0x3000 + 80, gvaOf(at));
    this.#machine.memory.write32(KERNEL_AT + module + 92, 0x1000);
    this.#word(0x3000 + 160, gvaOf(at + 0x1000));
    this.#machine.memory.write32(KERNEL_AT + module + 172, 0x1000);
    this.#word(0x3000 + 240, gvaOf(at + 0x3200));
    this.#machine.memory.write32(KERNEL_AT + at + 0x3200 + 40, 2);
    for (const [i, section] of [name, '.text'].entries()) {
      this.#word(0x3200 + 48 + i * 72, gvaOf(at + 0x3400 + i * 32));
      this.write(0x3400 + i * 32, new TextEncoder().encode(section));
      this.#word(0x3200 + 48 + i * 72 + 64, gvaOf(i === 0 ? at + 0x2000 : at));
    }
    // The end of the table: the next section.
    this.#machine.memory.write32(KERNEL_AT + at + 0x3200 + 40, 3);
    this.#word(0x3200 + 48 + 2 * 72, gvaOf(at + 0x3400 + 32));
    this.#word(0x3200 + 48 + 2 * 72 + 64, gvaOf(at + 0x2000 + bytes.length));
    this.state = state;
    setList(machine, gvaOf(module + 8));
    this.#word(0x3000 + 8, gvaOf(LIST));
  }
  get address(): bigint {
    return gvaOf(this.#at + 0x3000);
  }
  set state(state: number) {
    this.#machine.memory.write32(KERNEL_AT + this.#at + 0x3000, state);
  }
  write(offset: number, bytes: Uint8Array | readonly number[]): void {
    this.#machine.memory.writeBytes(KERNEL_AT + this.#at + offset, Uint8Array.from(bytes));
  }
  code(offset = 0): number[] {
    return [...this.#machine.memory.readBytes(KERNEL_AT + this.#at + offset, 6)];
  }
  #word(offset: number, value: bigint): void {
    this.#machine.memory.write64(KERNEL_AT + this.#at + offset, value);
  }
}
const setList = ({ memory }: Machine, first: bigint) => memory.write64(KERNEL_AT + LIST, first);

/** Rows of struct paravirt_patch_site: the code's start, that of the initialisation. */
function parainstructions(at: number): readonly [string, Uint8Array] {
  const bytes = new DataView(new ArrayBuffer(32));
  for (const [i, code] of [0, 0x1000].entries()) {
    bytes.setBigUint64(i * 16, gvaOf(at + code), true);
    bytes.setUint8(i * 16 + 8, 1);
    bytes.setUint8(i * 16 + 9, 6);
  }
  return ['.parainstructions', new Uint8Array(bytes.buffer)];
}
/** Rows of struct alt_instr with a placeholder's call as replacement: sites at the offsets. */
function altinstructions(sites: readonly number[]): readonly [string, Uint8Array] {
  const bytes = new DataView(new ArrayBuffer(sites.length * 14));
  for (const [i, site] of sites.entries()) {
    bytes.setInt32(i * 14, site - (0x2000 + i * 14), true);
    bytes.setInt32(i * 14 + 4, 0x800 - (0x2000 + i * 14 + 4), true);
    bytes.setUint8(i * 14 + 12, 6);
    bytes.setUint8(i * 14 + 13, 5);
  }
  return ['.altinstructions', new Uint8Array(bytes.buffer)];
}

const AT = 0x50000;
const TEN = { value: () => 10n };
const load = (live: LiveOps) =>
  live.load({ name: 'mine', version: '1.0.0', api: '^1.2', guest: 'linux64', ops: TEN }, { settled: true });

/** Runs code with RDI = 21; RAX after it. */
async function run(code: string, prepare: (live: LiveOps, machine: Machine) => void) {
  let live: LiveOps | undefined;
  const { gpr, end } = await runNative(
    `48c7c400001a00${rdi(21n)}${code}4889c5${POWER_OFF}`,
    {},
    () => ({ memoryBytes: 8 << 20 }),
    (machine) => {
      placeKernel(machine, kernel);
      machine.memory.writeBytes(KERNEL_AT + INLINED, Uint8Array.from(DOUBLE));
      setList(machine, gvaOf(LIST));
      live = attachTo(machine, kernel);
      if (live) prepare(live, machine);
    },
  );
  if (!live || end.report) throw new Error(end.report ?? 'the kernel has not been found');
  return { rax: gpr[RBP], live };
}

describe('call sites in kernel modules', () => {
  it('that are there lead to operations, and are put back', async () => {
    let module: FakeModule | undefined;
    const { rax, live } = await run(callTo(gvaOf(AT)), (ops, machine) => {
      module = new FakeModule(machine, AT, STATE.live, parainstructions(AT));
      expect(load(ops)?.sites).toBe(2);
      expect(ops.sites.map((site) => site.module)).toEqual([undefined, 'fake']);
    });
    expect(rax).toBe(10n);
    // Of code that is freed once the module has been initialised nothing is touched.
    expect(module?.code(0x1000)).toEqual(DOUBLE);
    expect(live.unload('mine')?.sites).toBe(2);
    expect(module?.code()).toEqual(DOUBLE);
  });

  it('that come meanwhile lead there before any of their code runs, that of the initialisation too', async () => {
    let module: FakeModule | undefined;
    const start = `${rdi(gvaOf(AT + 0x3000))}${callTo(gvaOf(START))}`;
    const { rax, live } = await run(`${start}${callTo(gvaOf(AT + 0x1000))}`, (ops, machine) => {
      load(ops);
      module = new FakeModule(machine, AT, STATE.coming, parainstructions(AT));
    });
    expect(rax).toBe(10n);
    expect(module?.code()).not.toEqual(DOUBLE);
    // The initialisation has ended, and its memory is used for other things.
    if (module) module.state = STATE.live;
    module?.write(0x1000, [1, 2, 3, 4, 5, 6]);
    live.unload('mine');
    expect([module?.code(), module?.code(0x1000)]).toEqual([DOUBLE, [1, 2, 3, 4, 5, 6]]);
  });

  it('are found while a change is made ready, and modules that come then are noticed; nothing is left of it if none follows', async () => {
    const start = `${rdi(gvaOf(AT + 0x3000))}${callTo(gvaOf(START))}`;
    let before: Uint8Array | undefined;
    const { rax, live } = await run(`${start}${callTo(gvaOf(AT))}`, (ops, machine) => {
      before = ops.text();
      const there = new FakeModule(machine, 2 * AT, STATE.live, parainstructions(2 * AT));
      for (const _ of ops.rehearse('mine', [])) expect(there.code()).toEqual(DOUBLE);
      expect(ops.sites.map(({ module }) => module)).toEqual([undefined, 'fake']);
      expect(ops.text()).not.toEqual(before);
      // In place of the other one.
      new FakeModule(machine, AT, STATE.coming, parainstructions(AT));
    });
    expect(rax).toBe(BigInt.asUintN(64, 2n * gvaOf(AT + 0x3000)));
    // It has been initialised, but for the list nothing is known of that yet.
    expect(live.sites.map(({ module, gva }) => [module, gva])).toEqual([
      [undefined, gvaOf(INLINED)],
      ['fake', gvaOf(AT)],
      ['fake', gvaOf(AT + 0x1000)],
    ]);
    live.rehearsed();
    expect(live.text()).toEqual(before);
    expect(live.sites.map(({ module }) => module)).toEqual([undefined]);
  });

  it('of a module that has gone are not written to', async () => {
    await run('', (live, machine) => {
      const module = new FakeModule(machine, AT, STATE.live, parainstructions(AT));
      load(live);
      setList(machine, gvaOf(LIST));
      module.write(0, [6, 5, 4, 3, 2, 1]);
      expect(live.unload('mine')?.sites).toBe(1);
      expect(module.code()).toEqual([6, 5, 4, 3, 2, 1]);
    });
  });

  it('are known by what the kernel has put into its own, where no table names the slot', async () => {
    const { rax, live } = await run(callTo(gvaOf(AT)), (ops, machine) => {
      const module = new FakeModule(machine, AT, STATE.live, altinstructions([0, 0x100, 0x200]));
      module.write(0x100, [0xfa, 0x90, 0x90, 0x90, 0x90, 0x90]);
      const displacement = Buffer.alloc(4);
      displacement.writeInt32LE(0x310 - (AT + 0x205));
      module.write(0x200, [0xe8, ...displacement, 0x90]);
      displacement.writeInt32LE(PLACEHOLDER - (AT + 0x805));
      module.write(0x800, [0xe8, ...displacement]);
      load(ops);
    });
    expect(rax).toBe(10n);
    expect(live.sites.map(({ module, slot }) => [module, slot])).toEqual([
      [undefined, 1],
      ['fake', 1],
      ['fake', 1],
    ]);
    expect(live.unknown).toBe(1);
  });

  it('are left alone in a module that makes no sense, and others are found', async () => {
    await run('', (live, machine) => {
      const module = new FakeModule(machine, AT, STATE.live, parainstructions(AT));
      machine.memory.write64(KERNEL_AT + AT + 0x3000 + 240, 0x1234_5678_9abc_def0n);
      expect(load(live)?.sites).toBe(1);
      expect(module.code()).toEqual(DOUBLE);
      // Where all code has to heed a cell, that is not enough.
      const code = ({ cells }: CodePlace) => Uint8Array.of(RET, Number(cells.interruptsOff & 0xffn));
      const shared = {
        name: 'mine',
        version: '1.0.1',
        api: '^1.3',
        guest: 'linux64',
        ops: { value: { code } },
      } as const;
      expect(() => live.load(shared, { settled: true })).toThrow(
        expect.objectContaining({ code: 'PV5018', message: expect.stringContaining('not all of these can be read') }),
      );
    });
  });

  it('are left alone if the list makes no sense, and then nothing is changed', async () => {
    await run('', (live, machine) => {
      setList(machine, 0x1234_5678_9abc_def0n);
      expect(load(live)).toBeUndefined();
      setList(machine, gvaOf(LIST));
      expect(load(live)?.sites).toBe(1);
    });
  });
});
