import { FakeMemory } from '@polyvisor/testkit';
import { describe, expect, it } from 'vitest';
import { ExitCode } from './exit-codes.ts';
import { Intercept, readIntercepts } from './intercepts.ts';
import { VMCB_BYTES, Vmcb } from './vmcb.ts';

/** Intercepts with one bit set: of vector `bit / 32`. */
function withBit(bit: number) {
  const memory = new FakeMemory(VMCB_BYTES);
  memory.testAndSetBit(0, bit);
  return readIntercepts(new Vmcb(memory, 0));
}
const BITS = Object.values(Intercept);

describe('intercepts', () => {
  it('of vectors 3, 4 and 5 are each on their own bit', () => {
    for (const bit of BITS) {
      const intercepts = withBit(bit);
      expect(BITS.filter((other) => intercepts.has(other))).toEqual([bit]);
    }
  });

  it('have the numbers of their exit codes', () => {
    const exitNames: Readonly<Record<string, string>> = {
      INTn: 'SWINT',
      IOIO_PROT: 'IOIO',
      MSR_PROT: 'MSR',
      MWAIT_ARMED: 'MWAIT_CONDITIONAL',
    };
    const codes: Readonly<Record<string, number>> = ExitCode;
    for (const [name, bit] of Object.entries(Intercept))
      expect([name, codes[exitNames[name] ?? name]]).toEqual([name, bit]);
  });

  it.each([0, 2, 3, 4, 8, 15])('register %i: reads in the lower half, writes in the upper', (n) => {
    const [readCr, writeCr, readDr, writeDr] = [n, 16 + n, 32 + n, 48 + n].map(withBit);
    for (let other = 0; other < 16; other++) {
      const is = other === n;
      expect([readCr.readsCr(other), readCr.writesCr(other)]).toEqual([is, false]);
      expect([writeCr.readsCr(other), writeCr.writesCr(other)]).toEqual([false, is]);
      expect([readDr.readsDr(other), readDr.writesDr(other)]).toEqual([is, false]);
      expect([writeDr.readsDr(other), writeDr.writesDr(other)]).toEqual([false, is]);
      expect(withBit(ExitCode.CR0_WRITE_TRAP + n).trapsCrWrite(other)).toBe(is);
    }
  });

  it('an exception is one of 32', () => {
    expect(withBit(64 + 14).exception(14)).toBe(true);
    expect(withBit(64 + 14).exception(13)).toBe(false);
    expect(withBit(64 + 31).exception(31)).toBe(true);
    expect(withBit(64).exception(32)).toBe(false);
  });

  it('stay as they were read', () => {
    const memory = new FakeMemory(VMCB_BYTES);
    const vmcb = new Vmcb(memory, 0);
    const intercepts = readIntercepts(vmcb);
    memory.fill(0, 24, 0xff);
    expect(BITS.some((bit) => intercepts.has(bit))).toBe(false);
    expect(readIntercepts(vmcb).has(Intercept.VMRUN)).toBe(true);
  });
});
