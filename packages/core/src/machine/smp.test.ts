/** Several vCPUs on the whole PC: how they are started, what they share, and what each has for itself. */
import { describe, expect, it } from 'vitest';
import type { EngineOptions } from '../engine/engine.ts';
import { hex } from '../engine/testing/test-bench.ts';
import type { Machine } from './machine.ts';
import { BankKeys, mmuFlags } from './mmu-state.ts';
import { NATIVE_CODE, POWER_OFF, runNative } from './testing/native-guest.ts';
import { testGuest } from './testing/test-guest.ts';

/** Where the page of a SIPI's vector is, and a page for what the code tells. */
const STARTUP_VECTOR = 8;
const STARTUP = STARTUP_VECTOR << 12;
const TOLD = 0x9000;

/** `mov ecx, MSR; mov eax, LOW; mov edx, HIGH; wrmsr`. */
const wrmsr = (index: number, low: number, high = 0) => `b9${le(index)} b8${le(low)} ba${le(high)} 0f30`;
const le = (value: number) =>
  [0, 8, 16, 24].map((shift) => ((value >>> shift) & 255).toString(16).padStart(2, '0')).join('');
const X2APIC = wrmsr(0x1b, 0xfee00d00);
const command = (low: number, destination = 1) => wrmsr(0x830, low, destination);
const INIT = command(0x4500);
const SIPI = command(0x4600 | STARTUP_VECTOR);
const NMI = command(0x4400);
/** `pause; cmp byte [TOLD + at], value; jne` back to the PAUSE. */
const waitFor = (at: number, value: number) => `f390 803c25${le(TOLD + at)}${value.toString(16).padStart(2, '0')} 75f4`;
/** In real-address mode: `mov byte [TOLD + at], value`. */
const tell = (at: number, value: number) =>
  `c606${at.toString(16).padStart(2, '0')}90${value.toString(16).padStart(2, '0')}`;

const TIERS: readonly [string, EngineOptions][] = [
  ['tier 0', { regions: false }],
  ['both tiers', { regions: { threshold: 2, batch: 1 } }],
  ['tier 1', { regions: { threshold: 1, batch: 1, growAfter: 16 } }],
];

const run = (
  code: string,
  startup: string,
  engine: EngineOptions = {},
  prepare: (machine: Machine) => void = () => {},
) =>
  runNative(
    X2APIC + code + POWER_OFF,
    {},
    () => ({ vcpus: 2, engine }),
    (machine) => {
      machine.memory.writeBytes(STARTUP, hex(startup));
      prepare(machine);
    },
  );

describe.each(TIERS)('two processors: %s', (_name, engine) => {
  it('INIT and SIPI start the second in real-address mode at vector × 4096', async () => {
    // mov ax, cs; mov [TOLD + 2], ax; mov eax, 1; cpuid; shr ebx, 24; mov [TOLD + 4], bl; tell; hlt
    const startup = `8cc8 a30290 66b801000000 0fa2 66c1eb18 881e0490 ${tell(0, 0x55)} f4`;
    const { end, machine } = await run(INIT + SIPI + waitFor(0, 0x55), startup, engine);
    expect(end.reason).toEqual({ kind: 'poweroff' });
    expect([machine.memory.read16(TOLD + 2), machine.memory.read8(TOLD + 4)]).toEqual([STARTUP >> 4, 1]);
    expect(machine.vcpus.map((vcpu) => vcpu.cr0 & 1n)).toEqual([1n, 0n]);
  });

  it('a second SIPI does nothing, INIT stops it, and it can be started again', async () => {
    // inc byte [TOLD]; jmp to itself
    const code = INIT + SIPI + SIPI + waitFor(0, 1) + INIT + SIPI + waitFor(0, 2);
    const { end, machine } = await run(code, 'fe060090 ebfe', engine);
    expect(end.reason).toEqual({ kind: 'poweroff' });
    expect(machine.memory.read8(TOLD)).toBe(2);
    expect(machine.vcpus[1].rip).toBe(4n);
  });

  it('an NMI wakes it from HLT', async () => {
    // tell; hlt; tell; hlt. Its handler: mov byte [TOLD + 1], 7; iret
    const startup = `${tell(0, 1)} f4 ${tell(0, 2)} f4`;
    const handler = (machine: Machine) => {
      machine.memory.write32(2 * 4, 0x8100);
      machine.memory.writeBytes(0x8100, hex(`${tell(1, 7)} cf`));
    };
    const { end, machine } = await run(INIT + SIPI + waitFor(0, 1) + NMI + waitFor(0, 2), startup, engine, handler);
    expect(end.reason).toEqual({ kind: 'poweroff' });
    expect(machine.memory.read8(TOLD + 1)).toBe(7);
  });

  it("what one writes over the other's code is what that executes", async () => {
    // mov al, 1; mov [TOLD], al; jmp to the start. Then: mov byte [STARTUP + 1], 2
    const code = `${INIT}${SIPI}${waitFor(0, 1)} c60425${le(STARTUP + 1)}02 ${waitFor(0, 2)}`;
    const { end } = await run(code, 'b001 a20090 ebf9', engine);
    expect(end.reason).toEqual({ kind: 'poweroff' });
  });

  it('a plug-in may have the second begin otherwise, once, or not at all', async () => {
    // It is started four times: once elsewhere in the page, and the last time not.
    const starts: string[] = [];
    const again = (value: number) => `${INIT}${SIPI}${waitFor(0, value)}`;
    const startup = `fe060090 f4`;
    const { machine } = await run(`${again(1)}${again(5)}${again(6)}${INIT}${SIPI}`, startup, engine, (made) => {
      const [, second] = made.vcpus;
      // `mov byte [TOLD], 5; hlt` in the same page.
      made.memory.writeBytes(STARTUP + 0x80, hex('c606009005 f4'));
      const others: (() => void)[] = [
        () => {},
        () => {
          second.rip = 0x80n;
        },
        () => {},
        () => {
          second.offline = true;
        },
      ];
      const begin = () => {
        starts.push(`0x${second.segment(1).base.toString(16)}:${second.rip}`);
        others.shift()?.();
        if (others.length > 0) second.atStartup = begin;
      };
      second.atStartup = begin;
    });
    expect(starts).toEqual(Array.from({ length: 4 }, () => `0x${STARTUP.toString(16)}:0`));
    expect([machine.memory.read8(TOLD), machine.vcpus[1].offline]).toEqual([6, true]);
  });

  it('a lock is held by one at a time', async () => {
    // Each 500 times: take a lock at TOLD + 8 by XCHG, pausing while it is held; load the word at TOLD + 0x10, PAUSE, add 1,
    // store it; release. The same instructions in 64-bit and in real-address mode.
    const wide =
      'bef4010000 b801000000 87042508900000 85c0 7404 f390 ebec' +
      '8b0c2510900000 f390 ffc1 890c2510900000 c7042508900000 00000000 ffce 75cb';
    const real =
      '66bef4010000 66b801000000 6687060890 6685c0 7404 f390 ebec' +
      '668b0e1090 f390 6641 66890e1090 66c706089000000000 664e 75d1';
    const { end, machine } = await run(INIT + SIPI + wide + waitFor(0, 1), `${real}${tell(0, 1)}f4`, engine);
    expect(end.reason).toEqual({ kind: 'poweroff' });
    expect(machine.memory.read32(TOLD + 0x10)).toBe(1000);
  });
});

it('runs alike in all tiers', async () => {
  const startup = `b001 fec0 a20090 ebf9`;
  const ends = [];
  for (const [, engine] of TIERS) {
    const { machine } = await run(INIT + SIPI + waitFor(0, 0x77), startup, engine);
    ends.push([machine.stats().instructions, machine.clock.nowNs(), ...machine.vcpus.map(({ gpr }) => [...gpr])]);
  }
  expect(ends[1]).toEqual(ends[0]);
  expect(ends[2]).toEqual(ends[0]);
});

it('each keeps its registers, wherever its state lies, and reads memory by its own page tables', async () => {
  const { machine } = await run('', '');
  const [first, second] = machine.vcpus;
  first.gpr[3] = 1n;
  second.gpr[3] = 2n;
  second.gprHalves[8] = 7;
  second.tables.gdtr.base = 0x1234n;
  const { cr3 } = first;
  expect(first.read(BigInt(NATIVE_CODE), 1).ok).toBe(true);
  // Without paging addresses are physical, with any CR3.
  expect(second.read(BigInt(STARTUP), 1).ok).toBe(true);
  expect([first.gpr[3], second.gpr[3], second.gpr[4], second.tables.gdtr.base]).toEqual([1n, 2n, 7n, 0x1234n]);
  second.cr3 = 0x5000n;
  expect([first.cr3, second.cr3]).toEqual([cr3, 0x5000n]);
});

it('translations are shared, but with PAE paging, whose upper entries each has loaded for itself', () => {
  const keys = new BankKeys(() => expect.unreachable());
  const manners = (efer: number) => {
    const flags = mmuFlags({ cr0: 1 << 31, cr4: 1 << 5, efer, eflags: 0, cpl: 0, hasSecondLevel: false });
    return [0, 1].map((vcpu) => {
      keys.vcpu = vcpu;
      return keys.manner(flags, 0);
    });
  };
  const [[long0, long1], [pae0, pae1]] = [manners(1 << 10), manners(0)];
  expect(long1).toBe(long0);
  expect(new Set([long0, pae0, pae1]).size).toBe(3);
});

it('INIT to the first is a reset', async () => {
  const { end } = await run(command(0x4500, 0), '');
  expect(end.reason).toEqual({ kind: 'reboot' });
});

it.each([0, 9, 1.5])('refuses %s vCPUs', async (vcpus) => {
  const refused = expect.objectContaining({ code: 'PV2024', message: expect.stringContaining('linux64') });
  await expect(runNative(POWER_OFF, {}, () => ({ vcpus }))).rejects.toEqual(refused);
});

it("refuses more than one through a plug-in's door that does not say it takes more", async () => {
  await expect(testGuest({ code: {}, options: { vcpus: 2 } })).rejects.toMatchObject({ code: 'PV2024' });
});
