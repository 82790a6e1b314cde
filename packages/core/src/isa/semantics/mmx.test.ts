import { describe, expect, it } from 'vitest';
import { FpuTrap } from '../../cpu/fpu-trap.ts';
import { CR4, FPU_TRAP, GPR, MXCSR, type Slot, X87, X87_STATUS, X87_TAG, XMM } from '../../cpu/state.ts';
import { TestCpu } from '../testing/execute.ts';

const PADDB = '0f fc c8'; // mm1, mm0
const EMMS = '0f 77';
const MOVDQ2Q = 'f2 0f d6 c8'; // mm1, xmm0
const CVTPI2PS_REGISTER = '0f 2a c1'; // xmm0, mm1
const CVTPI2PS_MEMORY = '0f 2a 07'; // xmm0, [rdi]
const TOP_5 = 5 << 11;
const ERROR_SUMMARY = 1 << 7;
const CR4_OSXMMEXCPT = 1 << 10;

function cpuWith(...slots: readonly (readonly [Slot, bigint | number])[]): TestCpu {
  const cpu = new TestCpu('long64');
  for (const [slot, value] of slots) cpu.set(slot, value);
  return cpu;
}
const signAndExponent = (cpu: TestCpu, register: number) => cpu.state.getUint16(X87[register].offset + 8, true);

describe('availability (SDM vol. 3A, 13.1)', () => {
  const both = FpuTrap.emulation | FpuTrap.taskSwitched;
  it.each([
    ['CR0.EM', PADDB, FpuTrap.emulation, 6],
    ['CR0.TS', PADDB, FpuTrap.taskSwitched, 7],
    ['CR0.EM before CR0.TS', EMMS, both, 6],
    ['CR4.OSFXSR clear, an XMM register', MOVDQ2Q, FpuTrap.sseDisabled, 6],
  ])('%s', (_, code, trap, vector) => {
    const cpu = cpuWith([FPU_TRAP, trap], [X87_STATUS, TOP_5 | ERROR_SUMMARY]);
    expect(cpu.run(code)).toMatchObject({ kind: 'fault', vector });
    expect(cpu.get(X87_STATUS)).toBe(BigInt(TOP_5 | ERROR_SUMMARY));
  });
  it('does not ask for CR4.OSFXSR without an XMM register', () => {
    expect(cpuWith([FPU_TRAP, FpuTrap.sseDisabled]).run(PADDB).kind).not.toBe('fault');
  });
  it.each([PADDB, EMMS, MOVDQ2Q, CVTPI2PS_REGISTER])('#MF by a pending x87 exception: %s', (code) => {
    expect(cpuWith([X87_STATUS, ERROR_SUMMARY]).run(code)).toMatchObject({ kind: 'fault', vector: 16 });
  });
  it('CVTPI2PS from memory neither waits for the x87 nor touches it', () => {
    const cpu = cpuWith([X87_STATUS, TOP_5 | ERROR_SUMMARY], [X87_TAG, 1], [MXCSR, 0x1f80], [GPR[7], 0x2000]);
    cpu.memory.setInt32(0x2000, -2, true);
    expect(cpu.run(CVTPI2PS_MEMORY).kind).not.toBe('fault');
    expect(cpu.state.getFloat32(XMM[0].offset, true)).toBe(-2);
    expect([cpu.get(X87_STATUS), cpu.get(X87_TAG)]).toEqual([BigInt(TOP_5 | ERROR_SUMMARY), 1n]);
  });
});

describe('the x87 state', () => {
  it('has TOP 0, all registers in use, and ones above what is written', () => {
    const cpu = cpuWith([X87_STATUS, TOP_5], [X87[0], 0x0102030405060708n], [X87[1], 0xffn]);
    cpu.run(PADDB);
    expect(cpu.get(X87[1])).toBe(0x0102030405060707n);
    expect([cpu.get(X87_STATUS), cpu.get(X87_TAG)]).toEqual([0n, 0xffn]);
    expect([signAndExponent(cpu, 0), signAndExponent(cpu, 1)]).toEqual([0, 0xffff]);
  });
  it('is empty after EMMS', () => {
    const cpu = cpuWith([X87_STATUS, TOP_5], [X87_TAG, 0xff]);
    cpu.run(EMMS);
    expect([cpu.get(X87_STATUS), cpu.get(X87_TAG)]).toEqual([0n, 0n]);
  });
  it.each(['0f 6f 0f', '0f fc 0f'])('stays when memory faults: %s', (code) => {
    const cpu = cpuWith([X87_STATUS, TOP_5], [X87_TAG, 1], [GPR[7], 0x20000]);
    expect(cpu.run(code)).toMatchObject({ kind: 'fault', vector: 14 });
    expect([cpu.get(X87_STATUS), cpu.get(X87_TAG)]).toEqual([BigInt(TOP_5), 1n]);
  });
  it('stays when a conversion raises #XM', () => {
    const cpu = cpuWith([X87_STATUS, TOP_5], [X87_TAG, 1], [MXCSR, 0], [CR4, CR4_OSXMMEXCPT]);
    cpu.set(X87[1], 0x7fffffffn);
    expect(cpu.run(CVTPI2PS_REGISTER)).toMatchObject({ kind: 'fault', vector: 19 });
    expect([cpu.get(X87_STATUS), cpu.get(X87_TAG)]).toEqual([BigInt(TOP_5), 1n]);
  });
});
