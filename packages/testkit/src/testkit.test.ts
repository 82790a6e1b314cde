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

  it('shows registers in halves and moves words', () => {
    const vcpu = new FakeVcpu(new FakeMemory(8192));
    vcpu.rip = 0x1_ffff_ffffn;
    vcpu.gpr[3] = 0x5_0000_0006n;
    expect([[...vcpu.ripHalves], [...vcpu.gprHalves.subarray(6, 8)]]).toEqual([
      [-1, 1],
      [6, 5],
    ]);
    vcpu.setRip(2, -1);
    vcpu.eflags = -2;
    expect([vcpu.rip, vcpu.rflags, vcpu.eflags]).toEqual([0xffff_ffff_0000_0002n, 0xffff_fffen, -2]);
    vcpu.setSegment(5, { selector: 43, base: 1n, limit: 0, accessRights: 0xf3 });
    vcpu.kernelGsBase = 2n;
    vcpu.swapGs();
    expect([vcpu.selector(5), vcpu.accessRights(5), vcpu.segment(5).base, vcpu.kernelGsBase]).toEqual([
      43,
      0xf3,
      2n,
      1n,
    ]);
    const into = new Int32Array(2);
    expect(vcpu.writeWords(4094, 0, Int32Array.of(-5, 7), 2)).toBe(true);
    expect([vcpu.readWords(4094, 0, into, 2), [...into]]).toEqual([true, [-5, 7]]);
    expect(vcpu.readWords(8190, 0, into, 1)).toBe(false);
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
