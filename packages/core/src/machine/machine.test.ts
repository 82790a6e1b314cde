import type { PluginHost } from '@polyvisor/plugin-api';
import { describe, expect, it } from 'vitest';
import { PluginRegistry } from '../plugin/index.ts';
import { Machine } from './machine.ts';
import { CODE, machineOptions, type TestGuest, testGuest } from './testing/test-guest.ts';

const AT = BigInt(CODE);

describe('refusals', () => {
  it('nobody has a door', async () => {
    await expect(Machine.create(machineOptions(new PluginRegistry()))).rejects.toMatchObject({
      code: 'PV2012',
      exitCode: 3,
    });
  });
  it('the door asked for is not there, and what there is is said', async () => {
    const created = testGuest({ code: {}, options: { entryName: 'front' } });
    await expect(created).rejects.toMatchObject({ code: 'PV2012' });
    await expect(created).rejects.toThrow(/front.*bench/);
  });
  it('memory that cannot be had', async () => {
    await expect(testGuest({ code: {}, options: { memoryBytes: 5 * 2 ** 30 } })).rejects.toMatchObject({
      code: 'PV2011',
    });
  });
  it('a door that nobody opens', async () => {
    const registry = new PluginRegistry();
    const plugin = {
      name: 'shut',
      version: '1.0.0',
      api: '^1.0',
      apply(host: PluginHost) {
        host.hooks.findEntries.tap('shut', () => ({
          entries: [{ name: 'shut', abi: 'test', address: 0n, foundIn: 'test', plugin: 'shut', priority: 1 }],
          missing: [],
        }));
      },
    };
    registry.load(plugin, { where: 'test' });
    await expect(Machine.create(machineOptions(registry))).rejects.toMatchObject({ code: 'PV2010' });
  });
});

describe('a run', () => {
  it('is the same twice with the instruction clock, timers and RDTSC included', async () => {
    const once = async () => {
      const ticks: bigint[] = [];
      // l: inc rbx ; test bl,bl ; jnz l ; rdtsc ; xor rcx,rax ; jmp l
      const guest = await testGuest({
        code: { [CODE]: '48ffc3 84db 75f9 0f31 4831c1 ebf2' },
        prepare({ machine, vcpu }) {
          const tick = () => {
            ticks.push(vcpu.gpr[3]);
            if (ticks.length === 20) machine.shutdown({ kind: 'poweroff' });
            else machine.clock.at(machine.clock.nowNs() + 12_345, tick);
          };
          machine.clock.at(1, tick);
        },
      });
      const end = await guest.run();
      return { end, ticks, gpr: [...guest.vcpu.gpr], now: guest.machine.clock.nowNs() };
    };
    const first = await once();
    expect(first.end.reason).toEqual({ kind: 'poweroff' });
    expect(first.ticks.length).toBe(20);
    expect(await once()).toEqual(first);
  });

  it('moves instruction time to the next timer while the guest sleeps, however near that is', async () => {
    for (const ns of [10, 150_000, 5_000_000_000]) {
      const guest: TestGuest = await testGuest({
        code: { [CODE]: 'f4 0f0b' },
        prepare({ machine, vcpu }) {
          machine.clock.at(ns, () => {
            vcpu.wake();
            vcpu.inject(0x40);
          });
        },
        tap(host) {
          host.hooks.exit.for('hlt').tap('sleep', (vcpu) => (vcpu.rip === AT ? 'common' : 'pass'));
        },
      });
      await guest.run();
      expect(guest.stoppedIn).toBe(0x40);
      expect(guest.machine.clock.nowNs()).toBeGreaterThanOrEqual(ns);
      expect(guest.machine.clock.nowNs()).toBeLessThan(ns + 100);
    }
  });

  it('ends when it is stopped from outside, and gives the host its turns', async () => {
    let turns = 0;
    const guest: TestGuest = await testGuest({
      code: { [CODE]: 'ebfe' },
      options: {
        clockKind: 'wall',
        idle: async () => {
          await new Promise(setImmediate);
          if (++turns === 3) guest.machine.stop();
        },
      },
    });
    expect((await guest.run()).reason).toEqual({ kind: 'stopped' });
    expect(guest.vcpu.rip).toBe(AT);
  });

  it('answers of plug-ins: handled, common, another fault', async () => {
    const guest = await testGuest({
      code: { [CODE]: '0fa2 0f32' },
      prepare: ({ vcpu }) => vcpu.gpr.fill(5n, 0, 4),
      tap(host) {
        host.hooks.exit.for('cpuid').tap('bench', () => 'handled');
        host.hooks.exit.for('rdmsr').tap('bench', () => ({ fault: 11, errorCode: 0x20 }));
      },
    });
    await guest.run();
    expect(guest.stoppedIn).toBe(11);
    expect(guest.stack(2)).toEqual([0x20n, AT + 2n]);
    expect(guest.vcpu.gpr[3]).toBe(5n);
  });

  it('shows exceptions to plug-ins first', async () => {
    const seen: unknown[] = [];
    const guest = await testGuest({
      code: { [CODE]: '8b0425 00002000 f4' },
      tap(host) {
        host.hooks.exit.for('exception').tap('bench', (vcpu, exit) => {
          seen.push(exit);
          vcpu.rip += 7n;
          return 'handled';
        });
      },
    });
    await guest.run();
    expect(seen).toEqual([{ kind: 'exception', vector: 14, errorCode: 0, cr2: 0x200000n }]);
    expect([guest.vcpu.rip, guest.vcpu.cr2]).toEqual([AT + 8n, 0n]);
  });

  it('a triple fault is reported with RIP, code and registers', async () => {
    const guest = await testGuest({
      code: { [CODE]: '0f0b' },
      prepare: ({ vcpu }) => {
        vcpu.tables.idtr.limit = 0;
      },
    });
    const { reason, report } = await guest.run();
    expect(reason).toMatchObject({ kind: 'crash' });
    expect(report).toMatch(/rip 0000000000010000.*cpl 0/);
    expect(report).toContain('code 0f 0b');
  });
});

describe('turns by the host’s clock', () => {
  /** Instructions of the first slice, in which the clock is asked so often; it goes on by `stepNs` each time. */
  const slice = async (stepNs: number) => {
    let asked = 0;
    const wallClock = { nowNs: () => ++asked * stepNs, epochNs: () => 0n };
    const guest = await testGuest({
      // l: inc rbx ; jmp l
      code: { [CODE]: '48ffc3 ebfb' },
      options: { clockKind: 'wall', wallClock, idle: async () => guest.machine.stop() },
    });
    await guest.run();
    return { instructions: Number(guest.machine.stats().instructions), asked };
  };

  it('are of 200,000 instructions, and longer where they are over soon', async () => {
    const [slow, quick] = [await slice(400_000), await slice(20_000)];
    expect(slow.instructions % 200_000).toBe(0);
    expect(slow.instructions).toBeLessThanOrEqual(slow.asked * 200_000);
    expect(quick.instructions).toBeGreaterThan(quick.asked * 400_000);
    expect(quick.instructions).toBeLessThanOrEqual(quick.asked * 1_600_000);
  });
});

describe.each(['icount', 'wall'] as const)('a paused machine under --clock %s', (clockKind) => {
  /** inc rbx ; jmp to it */
  const LOOP = '48ffc3 ebfb';

  it('executes nothing and its time stands still, until it is resumed', async () => {
    let hostNs = 0;
    const wallClock = { nowNs: () => (hostNs += 10_000), epochNs: () => 0n };
    let turns = 0;
    let turn = () => {};
    const idle = async () => {
      turns++;
      turn();
      await new Promise(setImmediate);
    };
    const guest = await testGuest({ code: { [CODE]: LOOP }, options: { clockKind, wallClock, idle } });
    const { machine } = guest;
    const seen: unknown[] = [];
    const state = () => [machine.vcpus[0].gpr[3], machine.clock.nowNs(), turns];
    turn = () => {
      if (turns === 2) machine.pause();
    };
    const ended = guest.run();
    while (!machine.paused) await new Promise(setImmediate);
    const before = state();
    let fired = false;
    machine.clock.at(machine.clock.nowNs(), () => {
      fired = true;
    });
    hostNs += 1e12;
    for (let i = 0; i < 20; i++) await new Promise(setImmediate);
    seen.push(state(), fired);
    expect(seen).toEqual([before, false]);
    turn = () => {
      if (turns === 4) machine.stop();
    };
    machine.resume();
    expect(await ended).toEqual({ reason: { kind: 'stopped' } });
    expect([fired, machine.vcpus[0].gpr[3] > (before[0] as bigint)]).toEqual([true, true]);
    expect(machine.clock.nowNs() - (before[1] as number)).toBeLessThan(1e12);
  });

  it('can be stopped', async () => {
    const guest = await testGuest({ code: { [CODE]: LOOP }, options: { clockKind } });
    guest.machine.pause();
    const ended = guest.run();
    guest.machine.stop();
    expect(await ended).toEqual({ reason: { kind: 'stopped' } });
  });
});

it('a guest is asked to power off by the first plug-in that can', async () => {
  const asked: string[] = [];
  const guest = await testGuest({
    code: {},
    tap(host) {
      host.hooks.requestPoweroff.tap('deaf', () => void asked.push('deaf'));
      host.hooks.requestPoweroff.tap('button', () => {
        asked.push('button');
        return true;
      });
    },
  });
  expect([guest.machine.requestPoweroff(), asked]).toEqual([true, ['deaf', 'button']]);
  expect((await testGuest({ code: {} })).machine.requestPoweroff()).toBe(false);
});
