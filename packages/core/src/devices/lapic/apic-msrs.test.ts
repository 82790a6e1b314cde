import { FakeClock } from '@polyvisor/testkit';
import { describe, expect, it } from 'vitest';
import { ApicBus } from '../apic-bus/apic-bus.ts';
import { ApicMsrs } from './apic-msrs.ts';
import { LocalApic } from './local-apic.ts';

const BASE = 0x1b;
const DEADLINE = 0x6e0;

function machine(ids: readonly number[] = [0], options: { x2apic?: boolean } = {}) {
  const bus = new ApicBus();
  const clock = new FakeClock();
  const moves: (number | undefined)[] = [];
  const cpus = ids.map((id) => {
    const apic = new LocalApic({
      id,
      bootstrap: id === ids[0],
      clock,
      bus,
      acknowledgeExternal: () => expect.unreachable(),
      processor: { interruptPending() {}, nmi() {}, smi() {}, init() {}, startup() {} },
    });
    const msrs = new ApicMsrs(apic, {
      x2apic: options.x2apic ?? true,
      physicalAddressBits: 40,
      baseChanged: () => moves.push(apic.pageGpa),
    });
    return { apic, msrs };
  });
  const enableX2apic = () => {
    for (const { msrs } of cpus) {
      expect(msrs.write(BASE, 0xfee00c00, 0)).toBe(true);
      expect(msrs.write(0x80f, 0x1ff, 0)).toBe(true);
    }
  };
  return { clock, cpus, moves, enableX2apic, ...cpus[0] };
}

describe('IA32_APIC_BASE', () => {
  it.each([
    ['reserved bits', 0xfee00901, 0, false],
    ['bit 9', 0xfee00b00, 0, false],
    ['beyond MAXPHYADDR', 0xfee00900, 0x100, false],
    ['another address', 0xfed40900, 0x12, true],
    ['disabled', 0xfee00100, 0, true],
    ['x2APIC from xAPIC', 0xfee00d00, 0, true],
    ['EXTD without EN', 0xfee00500, 0, false],
  ])('%s', (_name, low, high, allowed) => {
    const { msrs } = machine();
    expect(msrs.write(BASE, low, high)).toBe(allowed);
    expect(msrs.read(BASE)).toBe(allowed ? (BigInt(high) << 32n) | BigInt(low) : 0xfee00900n);
  });

  it('x2APIC is left only through disabled, and entered only from xAPIC (figure 10-27)', () => {
    const { msrs, moves } = machine();
    const writes = [0xfee00d00, 0xfee00900, 0xfee00100, 0xfee00d00, 0xfee00900].map((low) => msrs.write(BASE, low, 0));
    expect(writes).toEqual([true, false, true, false, true]);
    expect(moves).toEqual([undefined, undefined, 0xfee00000]);
  });

  it('EXTD is reserved without x2APIC', () => {
    expect(machine([0], { x2apic: false }).msrs.write(BASE, 0xfee00d00, 0)).toBe(false);
  });

  it('moves the page', () => {
    const { msrs, apic } = machine();
    msrs.write(BASE, 0x12345900, 0x7);
    expect(apic.pageGpa).toBe(0x7_1234_5000);
  });
});

describe('x2APIC registers as MSRs', () => {
  it('are there in x2APIC mode only', () => {
    const { msrs, enableX2apic } = machine();
    expect([msrs.read(0x802), msrs.write(0x808, 0, 0), msrs.has(0x802), msrs.has(0x900)]).toEqual([
      undefined,
      false,
      true,
      false,
    ]);
    enableX2apic();
    expect([msrs.read(0x802), msrs.write(0x808, 0x20, 0), msrs.read(0x808)]).toEqual([0n, true, 0x20n]);
  });

  it('raise #GP as table 10-6 says', () => {
    const { msrs, enableX2apic } = machine();
    enableX2apic();
    const gpOnRead = Array.from({ length: 0x100 }, (_, index) => index).filter(
      (index) => msrs.read(0x800 + index) === undefined,
    );
    const readable = [0x02, 0x03, 0x08, 0x0a, 0x0d, 0x0f, ...range(0x10, 0x28), 0x30, ...range(0x32, 0x39), 0x3e];
    expect(gpOnRead).toEqual(range(0, 0xff).filter((index) => !readable.includes(index)));
    const writable = range(0, 0xff).filter((index) => msrs.write(0x800 + index, 0, 0));
    expect(writable).toEqual([0x08, 0x0b, 0x0f, 0x28, 0x30, ...range(0x32, 0x38), 0x3e, 0x3f]);
  });

  it.each([
    ['EOI of anything but 0', 0x80b, 1, 0],
    ['ESR of anything but 0', 0x828, 1, 0],
    ['TPR beyond 8 bits', 0x808, 0x100, 0],
    ['upper half', 0x808, 0, 1],
    ['SVR', 0x80f, 0x800, 0],
    ['LVT timer', 0x832, 0x100, 0],
    ['ICR', 0x830, 0x2000, 0],
    ['divide configuration', 0x83e, 4, 0],
  ])('reserved: %s', (_name, msr, low, high) => {
    const { msrs, enableX2apic } = machine();
    enableX2apic();
    expect(msrs.write(msr, low, high)).toBe(false);
  });

  it('one write of ICR sends to 32-bit destinations, physical and logical', () => {
    const { cpus, msrs, enableX2apic } = machine([0, 5, 0x123]);
    enableX2apic();
    expect(cpus.map((cpu) => cpu.msrs.read(0x80d))).toEqual([1n, 0x20n, 0x12_0008n]);
    expect(msrs.write(0x830, 0x40, 0x123)).toBe(true);
    expect(msrs.write(0x830, 0x841, 0x21)).toBe(true);
    expect(msrs.write(0x830, 0x842, 0x12_000c)).toBe(true);
    expect(cpus.map(({ apic }) => apic.saveState().queue.irr[2])).toEqual([0b010, 0b010, 0b101]);
    expect(msrs.read(0x830)).toBe(0x0012_000c_0000_0842n);
    expect(msrs.write(0x830, 0x50, 0xffffffff)).toBe(true);
    expect(cpus.every(({ apic }) => apic.saveState().queue.irr[2] & 0x10000)).toBe(true);
  });

  it('SELF IPI leaves ICR alone', () => {
    const { apic, msrs, enableX2apic } = machine();
    enableX2apic();
    expect([msrs.write(0x83f, 0x77, 0), apic.acknowledge(), msrs.read(0x830)]).toEqual([true, 0x77, 0n]);
    expect([msrs.write(0x80b, 0, 0), msrs.write(0x83f, 5, 0), msrs.write(0x828, 0, 0), msrs.read(0x828)]).toEqual([
      true,
      true,
      true,
      0x20n,
    ]);
  });

  it('IA32_TSC_DEADLINE', () => {
    const { clock, apic, msrs } = machine();
    msrs.write(BASE, 0xfee00d00, 0);
    msrs.write(0x80f, 0x1ff, 0);
    expect([msrs.write(DEADLINE, 5, 0), msrs.read(DEADLINE)]).toEqual([true, 0n]);
    msrs.write(0x832, 0x40040, 0);
    msrs.write(DEADLINE, 0xffffffff, 2);
    expect(msrs.read(DEADLINE)).toBe(0x2_ffff_ffffn);
    clock.advance(0x2_ffff_ffff);
    expect([apic.acknowledge(), msrs.read(DEADLINE)]).toEqual([0x40, 0n]);
  });
});

const range = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, index) => first + index);
