import { type BootRequest, Gpr } from '@polyvisor/plugin-api';
import { FakeHost, FakeMachine } from '@polyvisor/testkit';
import { describe, expect, it } from 'vitest';
import { hwassistPlugin } from './plugin.ts';

const OWN = { eax: 0x8000_0008, ebx: 1, ecx: 0x100, edx: 3 };
const VM_CR = 0xc001_0114n;
const FEATURE_CONTROL = 0x3an;

/** @param isFirst nobody has answered `boot` before this plug-in was asked */
function start(isFirst: boolean, options: Readonly<Record<string, string>> = {}) {
  const machine = new FakeMachine({ cpuid: { 0: OWN, 1: OWN, 7: OWN, 2147483648: OWN, 2147483649: OWN } });
  const host = FakeHost.of(hwassistPlugin, options);
  if (isFirst) expect(host.call('boot', {} as BootRequest, machine)).toEqual([undefined]);
  const [vcpu] = machine.vcpus;
  const cpuid = (leaf: number) => {
    vcpu.gpr[Gpr.RAX] = BigInt(leaf);
    const answer = host.exit(vcpu, { kind: 'cpuid', instructionLength: 2 });
    const { RAX, RBX, RCX, RDX } = Gpr;
    return { answer, registers: [RAX, RBX, RCX, RDX].map((register) => Number(vcpu.gpr[register])) };
  };
  return { host, vcpu, cpuid };
}

describe('plug-in hwassist', () => {
  it('adds SVM to what the processor says of itself, and nothing else', () => {
    const { cpuid } = start(true);
    expect(cpuid(0x8000_0000)).toEqual({ answer: 'handled', registers: [0x8000_000a, 1, 0x100, 3] });
    expect(cpuid(0x8000_0001)).toEqual({ answer: 'handled', registers: [0x8000_0008, 1, 0x104, 3] });
    expect(cpuid(0x8000_000a)).toEqual({ answer: 'handled', registers: [1, 64, 0, 0b1001] });
    expect(cpuid(1).answer).toBe('pass');
  });

  it('gives VMX to a processor of the other vendor, if that is wanted', () => {
    const { cpuid, host, vcpu } = start(true, { vmx: '' });
    const text = (registers: number[]) =>
      [1, 3, 2]
        .map((i) => String.fromCharCode(...[0, 8, 16, 24].map((shift) => (registers[i] >>> shift) & 0xff)))
        .join('');
    expect(text(cpuid(0).registers)).toBe('GenuineIntel');
    expect(cpuid(1).registers).toEqual([OWN.eax, 1, 0x120, 3]);
    expect(cpuid(7).registers[3] >>> 0).toBe(0x2000_0003);
    expect(cpuid(0x8000_0001).registers).toEqual([0, 0, 0x100, 0]);
    expect(cpuid(0x8000_0000).registers).toEqual([0x8000_0008, 0, 0, 0]);
    expect(cpuid(0x8000_000a).answer).toBe('pass');
    expect(cpuid(0x8000_0021).registers).toEqual([0, 0, 0, 0]);
    vcpu.gpr[Gpr.RCX] = FEATURE_CONTROL;
    expect(host.exit(vcpu, { kind: 'rdmsr', instructionLength: 2 })).toBe('handled');
    expect(vcpu.gpr[Gpr.RAX]).toBe(5n);
    expect(host.exit(vcpu, { kind: 'wrmsr', instructionLength: 2 })).toEqual({ fault: 13, errorCode: 0 });
  });

  it.each<Readonly<Record<string, string>>>([{ vmx: 'on' }, { svm: '', vmx: '' }])('refuses %j', (options) => {
    expect(() => FakeHost.of(hwassistPlugin, options)).toThrow(expect.objectContaining({ code: 'PV6101' }));
  });

  it('says once that it came too late, and changes nothing', () => {
    const { host, vcpu, cpuid } = start(false);
    expect([cpuid(0x8000_0001).answer, cpuid(0x8000_000a).answer]).toEqual(['pass', 'pass']);
    vcpu.gpr[Gpr.RCX] = VM_CR;
    expect(host.exit(vcpu, { kind: 'rdmsr', instructionLength: 2 })).toBe('pass');
    expect(host.logged).toEqual([{ level: 'warn', message: expect.stringContaining('name hwassist before it') }]);
  });
});
