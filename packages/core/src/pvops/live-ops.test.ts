import type { CodePlace, ElfImage, TypescriptOps } from '@polyvisor/plugin-api';
import { describe, expect, it } from 'vitest';
import type { Machine } from '../machine/index.ts';
import { POWER_OFF, runNative } from '../machine/testing/native-guest.ts';
import { LiveOps } from './live-ops.ts';
import { readOpsObject } from './object-module.ts';
import { buildKernel } from './testing/kernel-fixture.ts';
import {
  attachTo,
  callTo,
  gvaOf,
  kernel,
  kernelOptions,
  makeReadOnly,
  placeKernel,
  RET,
  SITE,
  SLIDE,
} from './testing/kernel-in-memory.ts';
import { buildModule } from './testing/module-fixture.ts';

const attach = (machine: Machine, report?: (message: string) => void, nowNs?: () => number) =>
  attachTo(machine, kernel, report, nowNs);

/** At a safe point: halted, with interrupts on. */
function whileHalted<T>(machine: Machine, action: () => T): T {
  const [vcpu] = machine.vcpus;
  const { eflags } = vcpu;
  vcpu.blocked = true;
  vcpu.eflags = eflags | 0x200;
  try {
    return action();
  } finally {
    vcpu.blocked = false;
    vcpu.eflags = eflags;
  }
}

const callSite = (at: number) => callTo(gvaOf(at));
/** `mov rdi, 21; call value; mov rbp, rax`, then `halt`. */
const BOTH = `48c7c715000000${callSite(SITE.value)}4889c5${callSite(SITE.halt)}`;
const RBX = 3;
const RSP = 4;
const RBP = 5;
const manifest = { name: 'mine', version: '1.0.0', api: '^1.2', guest: 'linux64' } as const;

/** Runs {@link BOTH} with what `prepare` has loaded. */
async function run(prepare: (live: LiveOps, machine: Machine) => void, code = BOTH, nowNs = () => 0, vcpus = 1) {
  const said: string[] = [];
  let live: LiveOps | undefined;
  const { gpr, end } = await runNative(
    `48c7c400001a0031db${code}${POWER_OFF}`,
    {},
    () => ({ memoryBytes: 8 << 20, vcpus }),
    (made) => {
      placeKernel(made);
      live = attach(made, (message) => said.push(message), nowNs);
      if (live) prepare(live, made);
    },
  );
  if (!live) throw new Error('the kernel has not been found');
  if (end.report) throw new Error(end.report);
  return { rbx: gpr[RBX], rbp: gpr[RBP], live, said };
}
const load = (live: LiveOps, machine: Machine, ops: TypescriptOps['ops'], name = 'mine') =>
  whileHalted(machine, () => live.load({ ...manifest, name, ops }));

describe('a kernel with two vCPUs', () => {
  it('takes operations once both are where they may be written', async () => {
    const { rbp } = await run(
      (live, machine) => {
        const [, other] = machine.vcpus;
        other.offline = false;
        // In the kernel, wherever that is.
        expect(load(live, machine, { value: () => 5n })).toBeUndefined();
        // Halted with interrupts off, in the handler of an interrupt that came within a site.
        other.blocked = true;
        other.gpr[RSP] = 0x180000n;
        machine.memory.write64(0x180010, gvaOf(SITE.value) + 2n);
        expect(load(live, machine, { value: () => 5n })).toBeUndefined();
        other.eflags |= 0x200;
        expect(load(live, machine, { value: () => 5n })).toBeDefined();
        live.unload('mine');
        // As a processor that has been taken offline.
        other.eflags &= ~0x200;
        expect(load(live, machine, { value: () => 5n })).toBeUndefined();
        machine.memory.write64(0x180010, gvaOf(SITE.value));
        expect(load(live, machine, { value: () => 5n })).toBeDefined();
      },
      BOTH,
      undefined,
      2,
    );
    expect(rbp).toBe(5n);
  });

  it('takes none that keep the interrupt flag in memory', async () => {
    const code = ({ cells }: CodePlace) => Uint8Array.of(...RET, Number(cells.interruptsOff & 0xffn));
    const prepare = (live: LiveOps, machine: Machine) =>
      expect(() => load(live, machine, { halt: { code } })).toThrow(
        expect.objectContaining({ code: 'PV5018', message: expect.stringContaining('several vCPUs') }),
      );
    await run(prepare, BOTH, undefined, 2);
  });
});

describe('a kernel that runs', () => {
  it('is found where it has moved to, and says what its slots have', async () => {
    const { live, rbx, rbp } = await run(() => {});
    expect(live.kernel.slide).toBe(SLIDE);
    expect(live.slots().map(({ slot, state, targetName }) => [slot.name, state, targetName])).toEqual([
      ['halt', 'native', 'native_halt'],
      ['value', 'native', 'native_value'],
    ]);
    expect([rbx, rbp]).toEqual([1n, 42n]);
  });

  it('is not found while its memory is not mapped, or another one runs', async () => {
    const found: unknown[] = [];
    await runNative(
      POWER_OFF,
      {},
      () => ({}),
      (machine) => {
        found.push(attach(machine));
      },
    );
    expect(found).toEqual([undefined]);
  });
});

/** A file's kernel in memory. */
const look = async (elf: ElfImage, action: (live: LiveOps | undefined, machine: Machine) => void) => {
  await runNative(
    POWER_OFF,
    {},
    () => ({ memoryBytes: 8 << 20 }),
    (machine) => {
      placeKernel(machine, elf);
      action(attachTo(machine, elf), machine);
    },
  );
};

describe('a kernel that is found in steps', () => {
  it('is as one that is found at once, and waits where its memory is not mapped', async () => {
    const waited: number[] = [];
    let live: LiveOps | undefined;
    const { gpr } = await runNative(
      `48c7c400001a0031db${BOTH}${POWER_OFF}`,
      {},
      () => ({ memoryBytes: 8 << 20 }),
      (machine) => {
        const [vcpu] = machine.vcpus;
        const before = vcpu.cr3;
        placeKernel(machine);
        const mapped = vcpu.cr3;
        const steps = LiveOps.attachInSteps(
          machine,
          kernel,
          { nowNs: () => 0, cpuNs: () => 0, report: () => {} },
          true,
        );
        // The guest may be in user space, where its kernel is not mapped, whenever nothing else is asked for.
        vcpu.cr3 = before;
        let step = steps.next();
        for (let count = 1; !step.done; count++) {
          const isMoment = step.value;
          vcpu.cr3 = before;
          if (isMoment) {
            expect(isMoment()).toBe(false);
            vcpu.cr3 = mapped;
            expect(isMoment()).toBe(true);
            waited.push(count);
          }
          step = steps.next();
        }
        vcpu.cr3 = mapped;
        live = step.value;
        expect(live && load(live, machine, { value: () => 5n })?.sites).toBe(2);
      },
    );
    // For the kernel, and for its place.
    expect(waited.length).toBeGreaterThanOrEqual(2);
    expect([gpr[RBX], gpr[RBP]]).toEqual([1n, 5n]);
    expect(live?.slots().map(({ state }) => state)).toEqual(['forgotten', 'own']);
  });

  it('is looked at some sites at a time', async () => {
    const sites = Array.from({ length: 40 }, (_, i) => ({ at: 0x8 * i, slot: 0 }));
    const stepsOf = async (elf: ElfImage) => {
      let count = 0;
      await look(elf, (_live, machine) => {
        const steps = LiveOps.attachInSteps(machine, elf, { nowNs: () => 0, cpuNs: () => 0, report: () => {} }, true);
        for (let step = steps.next(); !step.done; step = steps.next()) {
          if (step.value) expect(step.value()).toBe(true);
          count++;
        }
      });
      return count;
    };
    const ofMany = await stepsOf(buildKernel({ ...kernelOptions, parainstructions: sites }));
    expect(ofMany).toBeGreaterThan(await stepsOf(kernel));
  });

  it('has memory for operations that is cleared, whatever the guest has written to it', async () => {
    await runNative(
      POWER_OFF,
      {},
      () => ({ memoryBytes: 8 << 20 }),
      (machine) => {
        const { memory, hiddenMemory } = machine;
        const end = hiddenMemory.gpa + hiddenMemory.sizeBytes;
        placeKernel(machine);
        memory.fill(end - 4096, 4096, 0xaa);
        expect(attachTo(machine, kernel)).toBeDefined();
        expect(memory.readBytes(end - 4096, 4096)).toEqual(new Uint8Array(4096));
      },
    );
  });

  it('gives its code piece by piece', async () => {
    const symbols = { ...(kernelOptions.symbols as Record<string, bigint>), _etext: 0x24321n };
    const file = buildKernel({ ...kernelOptions, symbols });
    await look(file, (live) => {
      const pieces: Uint8Array[] = [];
      const steps = (live as LiveOps).textInSteps((piece) => pieces.push(piece));
      let step = steps.next();
      for (; !step.done; step = steps.next()) expect(step.value?.()).toBe(true);
      expect([step.value, pieces.length]).toEqual([true, 3]);
      expect(Buffer.concat(pieces)).toEqual(Buffer.from(live?.text() as Uint8Array));
    });
  });
});

describe('a kernel without symbols of data and without types', () => {
  const { linux_banner, preempt_dynamic_mode, ...ofCode } = kernelOptions.symbols as Record<string, bigint>;
  /** `code` in .text, and symbols for it. */
  const file = (code: Readonly<Record<number, readonly number[]>> = {}, symbols: Record<string, bigint> = {}) =>
    buildKernel({
      ...kernelOptions,
      code: { ...kernelOptions.code, ...code },
      // "Linux version 1" with its zero.
      after: [0x65_76_20_78_75_6e_69_4cn, 0x00_31_20_6e_6f_69_73_72n],
      symbols: { ...ofCode, ...symbols },
    });

  it('is found by its version string', async () => {
    await look(file(), (live) => expect(live?.kernel.slide).toBe(SLIDE));
  });

  it('has booted once it cannot write its code', async () => {
    const elf = file();
    await look(elf, (_live, machine) => {
      const attachInKernel = () => LiveOps.attach(machine, elf, { nowNs: () => 0, cpuNs: () => 0, report: () => {} });
      const [vcpu] = machine.vcpus;
      vcpu.cr0 |= 1n << 16n;
      expect(attachInKernel()).toBeUndefined();
      makeReadOnly(machine);
      expect(attachInKernel()).toBeDefined();
    });
  });

  const irq = { preempt_schedule_irq: 0x3e0n };
  const trampoline = { __SCT__irqentry_exit_cond_resched: 0x3a0n, __x86_return_thunk: 0x3b0n };
  it.each<[string, boolean, ElfImage]>([
    ['has no code that preempts', true, file()],
    ['has such code, and no way to tell', false, file({}, irq)],
    ['has been told to return', true, file({ 928: RET }, { ...irq, ...trampoline })],
    ['has been told to return by the thunk', true, file({ 928: [0xe9, 0x0b, 0, 0, 0] }, { ...irq, ...trampoline })],
    ['has been told to preempt', false, file({ 928: [0xe9, 0x2b, 0, 0, 0] }, { ...irq, ...trampoline })],
  ])('that %s: its first change is %s', async (_what, isSafe, elf) => {
    await look(elf, (live, machine) => {
      expect(live && load(live, machine, { halt: 'nop' }) !== undefined).toBe(isSafe);
    });
  });
});

describe('operations in TypeScript', () => {
  it('get arguments and give results; what they do not name is as before', async () => {
    const { rbx, rbp } = await run((live, machine) => {
      expect(load(live, machine, { value: (call) => call.arg(0) + 1n })?.sites).toBe(2);
    });
    expect([rbx, rbp]).toEqual([1n, 22n]);
  });

  it('go on with what was there before, natively, or come back with its result', async () => {
    for (const answer of ['previous', 'native'] as const) {
      expect((await run((live, machine) => load(live, machine, { value: () => answer }))).rbp).toBe(42n);
    }
    const after = await run((live, machine) =>
      load(live, machine, { value: () => ({ previous: (result) => result + 100n }) }),
    );
    expect(after.rbp).toBe(142n);
  });

  it('are told that a kernel without types has no members of structs', async () => {
    const { rbp } = await run((live, machine) =>
      load(live, machine, { value: ({ member }) => (member('flush_tlb_info', 'end') ? 1n : 0n) }),
    );
    expect(rbp).toBe(0n);
  });

  it('can be nothing, or unwanted', async () => {
    expect((await run((live, machine) => load(live, machine, { halt: 'nop' }))).rbx).toBe(0n);
    const unwanted = await run((live, machine) => load(live, machine, { halt: 'unwanted' }));
    expect(unwanted.rbx).toBe(1n);
    expect(unwanted.said).toEqual([expect.stringMatching(/^PV5019: .*mine.*halt.*unwanted/)]);
  });

  it('that throw are out of their slot; registers and the guest are as if they had not been', async () => {
    const { rbx, rbp, live, said } = await run((live, machine) =>
      load(live, machine, {
        halt: ({ vcpu }) => {
          vcpu.gpr[RBX] = 99n;
          throw new Error('on purpose');
        },
        value: () => 5n,
      }),
    );
    expect([rbx, rbp]).toEqual([1n, 5n]);
    expect(said).toEqual([expect.stringMatching(/^PV5019: ops module mine has failed in halt.*on purpose/)]);
    expect(live.modules[0].failed.map(({ slot }) => slot)).toEqual(['halt']);
  });
});

describe('loading and unloading', () => {
  it('leaves the code bit for bit as it was', async () => {
    await run((live, machine) => {
      const before = live.text();
      load(live, machine, { value: () => 1n, halt: () => 'native' });
      expect(live.text()).not.toEqual(before);
      expect(live.strays()).toEqual([]);
      live.unload('mine');
      expect(live.text()).toEqual(before);
      expect(live.modules).toEqual([]);
    });
  });

  it('is made ready page by page, and nothing has changed by that', async () => {
    const { rbx, rbp } = await run((live, machine) => {
      const rehearse = (slots: readonly string[]) => {
        const before = live.text();
        const steps = [...live.rehearse('mine', slots)].length;
        expect(live.text()).toEqual(before);
        return steps;
      };
      const unchanged = rehearse([]);
      expect(rehearse(['value', 'halt'])).toBeGreaterThan(unchanged);
      expect(load(live, machine, { value: () => 7n })?.sites).toBe(2);
      // What it has already is not written again.
      expect(rehearse(['value'])).toBe(unchanged);
      expect(rehearse([])).toBeGreaterThan(unchanged);
    });
    expect([rbx, rbp]).toEqual([1n, 7n]);
  });

  it('leaves a nop of the kernel to the kernel', async () => {
    const nop = buildKernel({ ...kernelOptions, code: { ...kernelOptions.code, 768: RET } });
    await runNative(
      POWER_OFF,
      {},
      () => ({ memoryBytes: 8 << 20 }),
      (machine) => {
        placeKernel(machine, nop);
        const live = attachTo(machine, nop) as LiveOps;
        expect(load(live, machine, { halt: 'nop', value: 'nop' })?.sites).toBe(2);
        expect(live.modules).toMatchObject([{ slots: ['value'], needless: ['halt'] }]);
        expect(live.slotsOf({ ...manifest, ops: { halt: 'nop', value: 'nop' } })).toEqual(['value']);
      },
    );
  });

  it('replaces a version in one step, slots that it no longer has included', async () => {
    const { rbx, rbp } = await run((live, machine) => {
      load(live, machine, { value: () => 1n, halt: 'nop' });
      load(live, machine, { value: () => 2n });
      expect(live.slots().map(({ state, module }) => [state, module])).toEqual([
        ['forgotten', undefined],
        ['own', 'mine'],
      ]);
    });
    expect([rbx, rbp]).toEqual([1n, 2n]);
  });

  it('waits while the kernel is in the midst of something', async () => {
    await run((live) => {
      expect(live.load({ ...manifest, ops: { halt: 'nop' } })).toBeUndefined();
      expect(live.modules).toEqual([]);
    });
  });

  it('is refused with a code that names the slot, and changes nothing', async () => {
    await run((live, machine) => {
      const before = live.text();
      const refusal = (name: string, ops: TypescriptOps['ops'], mode?: 'strict') => {
        const options = mode ? { mode } : {};
        return () => whileHalted(machine, () => live.load({ ...manifest, name, ops }, options));
      };
      expect(refusal('mine', { nothing: 'nop' })).toThrow(expect.objectContaining({ code: 'PV5001' }));
      expect(refusal('mine', { halt: 'nop' }, 'strict')).toThrow(expect.objectContaining({ code: 'PV5002' }));
      expect(() => whileHalted(machine, () => live.load({ ...manifest, guest: 'linux32', ops: {} }))).toThrow(
        expect.objectContaining({ code: 'PV5022' }),
      );
      expect(live.text()).toEqual(before);
      load(live, machine, { halt: 'nop' });
      expect(refusal('other', { halt: 'nop' })).toThrow(/both claim halt/);
      expect(() => live.unload('other')).toThrow(expect.objectContaining({ code: 'PV5017' }));
    });
  });
});

describe('operations in machine code', () => {
  it('run in the guest, with a way to the host and one to what was there before', async () => {
    const jump = (address: bigint, to: bigint) => {
      const bytes = Buffer.alloc(5, 0xe9);
      bytes.writeInt32LE(Number(to - address - 5n), 1);
      return bytes;
    };
    const { rbx, rbp } = await run((live, machine) =>
      load(live, machine, {
        // mov eax, 7; ret
        value: { code: () => Uint8Array.of(0xb8, 7, 0, 0, 0, 0xc3) },
        halt: {
          code: ({ address, trap }) => jump(address, trap),
          trap: ({ vcpu }) => {
            vcpu.gpr[RBX] += 10n;
            return 'previous';
          },
        },
      }),
    );
    expect([rbx, rbp]).toEqual([11n, 7n]);
  });

  it('share the interrupt flag with the machine', async () => {
    const seen: number[] = [];
    // mov byte [cell], 1; jmp trap
    const code: string = BOTH;
    await run(
      (live, machine) =>
        load(live, machine, {
          halt: {
            code: ({ address, trap, cells }) => {
              const bytes = Buffer.alloc(12);
              bytes.set([0xc6, 0x05]);
              bytes.writeInt32LE(Number(cells.interruptsOff - (address + 7n)), 2);
              bytes.set([1, 0xe9], 6);
              bytes.writeInt32LE(Number(trap - (address + 12n)), 8);
              return bytes;
            },
            trap: ({ vcpu }) => {
              seen.push(vcpu.eflags & 0x200);
              vcpu.eflags |= 0x200;
              seen.push(vcpu.eflags & 0x200);
              vcpu.eflags &= ~0x200;
            },
          },
        }),
      code,
    );
    expect(seen).toEqual([0, 0x200]);
  });
});

describe('operations in machine code that avoid exits', () => {
  const ret = () => Uint8Array.of(0xc3);

  it('are left out where not all of these leave guest code, and their sites are as before', async () => {
    const { live } = await run((live, machine) => {
      const ops = { halt: { code: ret, avoids: ['hlt', 'cli'] }, value: { code: ret, avoids: ['hlt'] } } as const;
      expect(load(live, machine, ops)?.sites).toBe(2);
    });
    expect(live.modules).toMatchObject([{ slots: ['value'], needless: ['halt'] }]);
    expect(live.sites.filter(({ to }) => to !== undefined)).toHaveLength(2);
    expect(live.slots().map(({ state }) => state)).toEqual(['forgotten', 'own']);
  });

  it('share state for as long as somebody may be within their code', async () => {
    const seen: boolean[] = [];
    await run((live, machine) => {
      const [vcpu] = machine.vcpus;
      let cell = 0;
      const ops = {
        halt: {
          code: ({ cells }: CodePlace) => {
            cell = live.kernel.gpaOf(cells.interruptsOff) ?? 0;
            return ret();
          },
        },
      };
      const isKept = () => {
        const { eflags } = vcpu;
        const seen = [0x200, 0].map((flag) => {
          vcpu.eflags = (eflags & ~0x200) | flag;
          return machine.memory.readBytes(cell, 1)[0];
        });
        vcpu.eflags = eflags;
        return seen[0] === 0 && seen[1] === 1;
      };
      load(live, machine, ops);
      seen.push(isKept());
      // In the kernel, and not halted.
      live.unload('mine');
      seen.push(isKept());
      load(live, machine, { halt: 'native' });
      seen.push(isKept());
    });
    expect(seen).toEqual([true, true, false]);
  });
});

describe('counting', () => {
  it('tells how long operations in TypeScript took, and nothing of others', async () => {
    let nowNs = 0;
    const spent: ReadonlyMap<string, number>[] = [];
    const { live } = await run(
      (loaded, machine) => {
        const slow = () => {
          nowNs += 5000;
          return 'previous' as const;
        };
        load(loaded, machine, { value: slow, halt: 'native' });
        expect(whileHalted(machine, () => loaded.count(true))?.sites).toBe(3);
        spent.push(loaded.takeSpentNs());
      },
      BOTH,
      () => nowNs,
    );
    spent.push(live.takeSpentNs(), live.takeSpentNs());
    expect(spent.map((each) => [...each])).toEqual([[], [['value', 5000]], []]);
  });

  it('takes the time of operations in guest code from call to return, and no longer than calls are counted', async () => {
    let nowNs = 0;
    // lea rax, [rdi+2*rdi]; ret
    const sections = [{ name: '.text', flags: 6, bytes: [0x48, 0x8d, 0x04, 0x7f, ...RET], alignBytes: 16 }];
    const object = readOpsObject(buildModule({ ops: { value: 'op' }, sections }), 'three.o');
    const text: (Uint8Array | undefined)[] = [];
    const start = (before: boolean) => (loaded: LiveOps, machine: Machine) => {
      text.push(loaded.text());
      const steps = [
        () => loaded.loadObject(object, { settled: true }),
        () => whileHalted(machine, () => loaded.count(true)),
      ];
      for (const step of before ? steps : steps.toReversed()) expect(step()).toBeDefined();
    };
    for (const before of [true, false]) {
      const { live, rbp, rbx } = await run(start(before), BOTH, () => (nowNs += 1000));
      expect([rbx, rbp]).toEqual([1n, 63n]);
      const spent = [...live.takeSpentNs()];
      expect(spent).toEqual([['value', expect.any(Number)]]);
      expect(spent[0][1]).toBeGreaterThanOrEqual(1000);
      live.count(false);
      expect([...live.takeSpentNs()]).toEqual([]);
      live.unload('fixture');
      expect(live.text()).toEqual(text.pop());
    }
  });

  it('tells calls by site, changes nothing else, and leaves no trace', async () => {
    const before: (Uint8Array | undefined)[] = [];
    const { live, rbx, rbp } = await run((live, machine) => {
      before.push(live.text());
      expect(whileHalted(machine, () => live.count(true))?.sites).toBe(3);
    }, BOTH + callSite(SITE.halt));
    expect([rbx, rbp]).toEqual([2n, 42n]);
    expect(live.takeCounts()).toEqual([2, 1, 0]);
    expect(live.takeCounts()).toEqual([0, 0, 0]);
    live.count(false);
    expect(live.text()).toEqual(before[0]);
  });
});
