import type { Plugin } from '@polyvisor/plugin-api';
import { describe, expect, it } from 'vitest';
import { FakeClock, FakeHost, FakeMachine, FakeMemory, FakeVcpu } from './index.ts';

describe('FakeMemory', () => {
  it('is little-endian and shows the same bytes as words', () => {
    const memory = new FakeMemory(64);
    memory.write64(8, 0x1122334455667788n);
    expect(memory.read32(8)).toBe(0x55667788);
    expect(memory.read8(15)).toBe(0x11);
    expect(memory.words[3]).toBe(0x11223344);
  });

  it('refuses what lies outside and touches nothing', () => {
    const memory = new FakeMemory(16);
    expect(() => memory.write32(14, -1)).toThrow(RangeError);
    expect(() => memory.writeBytes(10, new Uint8Array(7).fill(1))).toThrow(RangeError);
    expect(() => memory.read8(-1)).toThrow(RangeError);
    expect([...memory.bytes]).toEqual(new Array(16).fill(0));
  });

  it('answers the old bit', () => {
    const memory = new FakeMemory(16);
    expect(memory.testAndSetBit(0, 9)).toBe(false);
    expect(memory.testAndSetBit(0, 9)).toBe(true);
    expect(memory.read8(1)).toBe(2);
    expect(memory.testAndClearBit(0, 9)).toBe(true);
    expect(memory.read8(1)).toBe(0);
  });
});

describe('FakeClock', () => {
  it('calls deadlines in order of time, cancelled ones never', () => {
    const clock = new FakeClock();
    const seen: string[] = [];
    clock.at(20, () => seen.push(`b at ${clock.nowNs()}`));
    clock.at(10, () => {
      seen.push(`a at ${clock.nowNs()}`);
      clock.at(15, () => seen.push(`c at ${clock.nowNs()}`));
    });
    clock.at(12, () => seen.push('never')).cancel();
    clock.advance(30);
    expect(seen).toEqual(['a at 10', 'c at 15', 'b at 20']);
    expect(clock.nowNs()).toBe(30);
  });
});

describe('FakeVcpu', () => {
  it('reads and writes across pages through a map of the test', () => {
    const memory = new FakeMemory(4 * 4096);
    const vcpu = new FakeVcpu(memory, { translate: (gva) => Number(gva) ^ 4096 });
    expect(vcpu.write(4094n, Uint8Array.of(1, 2, 3, 4))).toEqual({ ok: true });
    expect(memory.read16(8190)).toBe(0x0201);
    expect(memory.read16(0)).toBe(0x0403);
    expect(vcpu.read(4094n, 4)).toEqual({ ok: true, bytes: Uint8Array.of(1, 2, 3, 4) });
  });

  it('writes nothing when a page of it faults', () => {
    const memory = new FakeMemory(8192);
    const vcpu = new FakeVcpu(memory, { translate: (gva) => (gva < 4096n ? Number(gva) : undefined) });
    vcpu.cpl = 3;
    const result = vcpu.write(4094n, Uint8Array.of(1, 2, 3));
    expect(result).toEqual({ ok: false, fault: { gva: 4096n, errorCode: 6 } });
    expect(memory.read16(4094)).toBe(0);
  });
});

describe('FakeHost', () => {
  const plugin: Plugin = {
    name: 'word',
    version: '1.0.0',
    api: '^1.0',
    apply(host) {
      host.claim({ kind: 'ident', ident: 7 });
      host.hooks.configure.tap('word', (platform) => {
        platform.overheadBytes += 4096;
      });
      host.hooks.exit.for('hlt').tap('word', (vcpu) => {
        host.count('halts');
        vcpu.blocked = true;
        return 'handled';
      });
    },
  };

  it('keeps taps so that a test can call them', () => {
    const host = FakeHost.of(plugin);
    const machine = new FakeMachine();
    host.call('configure', machine.platform);
    expect(machine.platform.overheadBytes).toBe(4096);
    expect(host.exit(machine.vcpus[0], { kind: 'hlt', instructionLength: 1 })).toBe('handled');
    expect(host.exit(machine.vcpus[0], { kind: 'cpuid', instructionLength: 2 })).toBe('pass');
    expect(machine.vcpus[0].blocked).toBe(true);
    expect(host.counters.get('halts')).toBe(1);
    expect(host.claims).toEqual([{ kind: 'ident', ident: 7 }]);
  });
});
