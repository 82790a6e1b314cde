import { FakeClock } from '@polyvisor/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ApicBus } from '../apic-bus/apic-bus.ts';
import { LocalApic } from './local-apic.ts';
import { Register } from './spec.ts';
import { xapicPage } from './xapic-page.ts';

/** Processors 0, 1, … with software-enabled APICs, spurious vector 0xff. */
function processors(count = 1, options: { enabled?: boolean } = {}) {
  const clock = new FakeClock();
  const bus = new ApicBus();
  const ended: number[] = [];
  let retries = 0;
  bus.attachIoApic({ endOfInterrupt: (vector) => ended.push(vector), retry: () => retries++ });
  const cpus = Array.from({ length: count }, (_, id) => {
    const events: string[] = [];
    const apic = new LocalApic({
      id,
      bootstrap: id === 0,
      clock,
      bus,
      acknowledgeExternal: () => 0x31,
      processor: {
        interruptPending: () => events.push('intr'),
        nmi: () => events.push('nmi'),
        smi: () => events.push('smi'),
        init: () => events.push('init'),
        startup: (vector) => events.push(`sipi ${vector.toString(16)}`),
      },
    });
    if (options.enabled ?? true) apic.writeRegister(Register.SVR, 0x1ff);
    return { apic, events };
  });
  const [{ apic, events }] = cpus;
  /** Vectors in the order in which they can be taken without an EOI. */
  const takeAll = (from = apic) => {
    const taken: number[] = [];
    while (from.hasDeliverable()) taken.push(from.acknowledge());
    return taken;
  };
  const fixed = (vector: number, level = false) =>
    apic.receive({ destination: 0, logical: false, deliveryMode: 0, vector, level, asserted: true });
  return { clock, bus, ended, retries: () => retries, cpus, apic, events, takeAll, fixed };
}

const read = (apic: LocalApic, offset: number) => apic.readRegister(offset >> 4);
const write = (apic: LocalApic, offset: number, value: number) => apic.writeRegister(offset >> 4, value);

describe('reset state (SDM vol. 3A, 10.4.7.1)', () => {
  it('has every LVT entry masked, the APIC software-disabled, the flat model', () => {
    const { apic } = processors(1, { enabled: false });
    const lvt = [0x320, 0x330, 0x340, 0x350, 0x360, 0x370].map((offset) => read(apic, offset));
    expect(lvt).toEqual(new Array(6).fill(0x10000));
    expect([0x20, 0x30, 0x80, 0xd0, 0xe0, 0xf0].map((offset) => read(apic, offset))).toEqual([
      0, 0x1050014, 0, 0, 0xffffffff, 0xff,
    ]);
    expect([apic.base.low, apic.pageGpa]).toEqual([0xfee00900, 0xfee00000]);
  });

  it('takes no fixed interrupt before it is enabled, and no LVT entry can be unmasked', () => {
    const { apic, fixed, retries } = processors(1, { enabled: false });
    write(apic, 0x350, 0x41);
    expect([fixed(0x40), apic.hasDeliverable(), read(apic, 0x350)]).toEqual([false, false, 0x10041]);
    write(apic, 0xf0, 0x1ff);
    expect([fixed(0x40), apic.acknowledge(), retries()]).toEqual([true, 0x40, 1]);
  });

  it('disabling masks the LVT and keeps what is pending', () => {
    const { apic, fixed } = processors();
    write(apic, 0x320, 0x50);
    fixed(0x60);
    write(apic, 0xf0, 0xff);
    expect([read(apic, 0x320), apic.acknowledge()]).toEqual([0x10050, 0x60]);
  });
});

describe('priorities (10.8.3)', () => {
  it('a vector interrupts if its class is above TPR and above what is in service', () => {
    const { apic, fixed, takeAll } = processors();
    for (const vector of [0x31, 0x3f, 0x52, 0x51, 0xe0]) fixed(vector);
    expect(takeAll()).toEqual([0xe0]);
    expect(read(apic, 0xa0)).toBe(0xe0);
    write(apic, 0xb0, 0);
    write(apic, 0x80, 0x57);
    expect([takeAll(), read(apic, 0xa0)]).toEqual([[], 0x57]);
    apic.cr8 = 4;
    expect([takeAll(), read(apic, 0x80), apic.cr8]).toEqual([[0x52], 0x40, 4]);
    write(apic, 0xb0, 0);
    expect(takeAll()).toEqual([0x51]);
  });

  it('answers the spurious vector if nothing may interrupt, and puts nothing into service', () => {
    const { apic, fixed } = processors();
    fixed(0x30);
    write(apic, 0x80, 0x30);
    write(apic, 0xf0, 0x1ef);
    expect([apic.acknowledge(), read(apic, 0x110), read(apic, 0x210)]).toEqual([0xef, 0, 1 << 16]);
  });

  it('tells the processor once, when something becomes deliverable', () => {
    const { apic, events, fixed } = processors();
    write(apic, 0x80, 0xf0);
    fixed(0x30);
    expect(events).toEqual([]);
    write(apic, 0x80, 0x20);
    fixed(0x80);
    expect(events).toEqual(['intr']);
  });

  it('broadcasts the end of a level-triggered vector only, and not if software suppresses it', () => {
    const { apic, ended, fixed } = processors();
    for (const [vector, level] of [
      [0x40, true],
      [0x41, false],
      [0x42, true],
    ] as const) {
      if (vector === 0x42) write(apic, 0xf0, 0x11ff);
      fixed(vector, level);
      apic.acknowledge();
      expect(read(apic, 0x1a0) & (1 << (vector & 31))).toBe(level ? 1 << (vector & 31) : 0);
      write(apic, 0xb0, 0);
    }
    write(apic, 0xb0, 0);
    expect(ended).toEqual([0x40]);
  });

  type Step = { kind: 'interrupt' | 'take' | 'eoi' | 'tpr'; value: number };
  const step = fc.record<Step>({
    kind: fc.constantFrom('interrupt', 'interrupt', 'take', 'eoi', 'tpr'),
    value: fc.nat(255),
  });

  it('equal a model that sorts', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const { apic, fixed } = processors();
        const requested = new Set<number>();
        const served: number[] = [];
        let tpr = 0;
        const top = () => Math.max(-1, ...requested);
        const priority = () => Math.max(tpr >> 4, Math.max(-1, ...served) >> 4);
        for (const { kind, value } of steps) {
          if (kind === 'interrupt' && value >= 16) {
            fixed(value);
            requested.add(value);
          }
          if (kind === 'tpr') write(apic, 0x80, (tpr = value));
          if (kind === 'take' && top() >> 4 > priority()) {
            const vector = top();
            expect(apic.acknowledge()).toBe(vector);
            requested.delete(vector);
            served.push(vector);
          }
          if (kind === 'eoi') {
            write(apic, 0xb0, 0);
            served.sort((a, b) => a - b).pop();
          }
          expect(apic.hasDeliverable()).toBe(top() >> 4 > priority());
          expect(read(apic, 0xa0) >> 4).toBe(Math.max(0, priority()));
        }
      }),
    );
  });
});

describe('interrupt commands (10.6)', () => {
  const send = (apic: LocalApic, low: number, destination = 0) => {
    write(apic, 0x310, (destination << 24) >>> 0);
    write(apic, 0x300, low);
  };

  it.each([
    ['physical', 0x000040, 1, [1]],
    ['physical broadcast', 0x000040, 0xff, [0, 1, 2]],
    ['nobody', 0x000040, 9, []],
    ['logical', 0x000840, 0b110, [1, 2]],
    ['self', 0x040040, 9, [0]],
    ['all', 0x080040, 9, [0, 1, 2]],
    ['all but self', 0x0c0040, 9, [1, 2]],
  ] as const)('fixed to %s', (_name, low, destination, expected) => {
    const { cpus, apic } = processors(3);
    for (const [id, cpu] of cpus.entries()) write(cpu.apic, 0xd0, 1 << (24 + id));
    send(apic, low, destination);
    expect(cpus.flatMap((cpu, id) => (cpu.apic.hasDeliverable() ? [id] : []))).toEqual(expected);
    expect(read(apic, 0x300)).toBe(low);
  });

  it('clusters: bits 31:28 of the LDR choose the cluster, 27:24 its members', () => {
    const { cpus, apic } = processors(4);
    for (const [id, cpu] of cpus.entries()) {
      write(cpu.apic, 0xe0, 0x0fffffff);
      write(cpu.apic, 0xd0, ((id >> 1) << 28) | (1 << (24 + (id & 1))));
    }
    const got = (destination: number) => {
      send(apic, 0x840, destination);
      return cpus.flatMap((cpu, id) => (cpu.apic.hasDeliverable() ? [cpu.apic.acknowledge() && id] : []));
    };
    expect(got(0x12)).toEqual([3]);
    for (const cpu of cpus) write(cpu.apic, 0xb0, 0);
    expect(got(0xff)).toEqual([0, 1, 2, 3]);
  });

  it('NMI, SMI, INIT and SIPI reach processors whose APIC is software-disabled', () => {
    const { cpus, apic } = processors(2);
    write(cpus[1].apic, 0xf0, 0xff);
    for (const low of [0x4400, 0x0200, 0x4500, 0x8500, 0x4699]) send(apic, low, 1);
    expect(cpus[1].events).toEqual(['nmi', 'smi', 'init', 'sipi 99']);
  });

  it('INIT resets the registers, less ID and base', () => {
    const { cpus, apic } = processors(2);
    const { apic: other } = cpus[1];
    write(other, 0x80, 0x20);
    write(other, 0x320, 0x20050);
    write(other, 0x380, 1000);
    send(apic, 0x40, 1);
    send(apic, 0xc500, 1);
    expect([0x20, 0x80, 0xf0, 0x210, 0x220, 0x320, 0x380, 0x390].map((offset) => read(other, offset))).toEqual([
      1 << 24,
      0,
      0xff,
      0,
      0,
      0x10000,
      0,
      0,
    ]);
    expect([other.hasDeliverable(), other.base.low]).toEqual([false, 0xfee00800]);
  });

  it('lowest priority goes to one: the least busy, then the lowest ID, never to one that is disabled', () => {
    const { cpus, apic } = processors(4);
    for (const [id, cpu] of cpus.entries()) write(cpu.apic, 0xd0, 1 << (24 + id));
    write(cpus[0].apic, 0x80, 0x20);
    write(cpus[1].apic, 0xf0, 0xff);
    send(apic, 0x0950, 0x0f);
    expect(cpus.map((cpu) => cpu.apic.hasDeliverable())).toEqual([false, false, true, false]);
  });

  it('an illegal vector is not sent, and shows in ESR after a write to it', () => {
    const { cpus, apic } = processors(2);
    write(apic, 0x370, 0xfe);
    send(apic, 0x0f, 1);
    expect([cpus[1].apic.hasDeliverable(), read(apic, 0x280), apic.acknowledge()]).toEqual([false, 0, 0xfe]);
    write(apic, 0x280, 0);
    expect(read(apic, 0x280)).toBe(0x20);
    write(apic, 0x280, 0);
    expect(read(apic, 0x280)).toBe(0);
  });

  it('combinations that table 10-3 calls invalid send nothing', () => {
    const { cpus, apic } = processors(2);
    for (const low of [0x44400, 0x84500, 0x0300, 0x0740, 0x40140]) send(apic, low, 1);
    expect(cpus.map((cpu) => [cpu.events, cpu.apic.hasDeliverable()])).toEqual([
      [[], false],
      [[], false],
    ]);
  });
});

describe('errors (10.5.3)', () => {
  it('a received illegal vector and an access to a register that is not there', () => {
    const { apic, fixed } = processors();
    expect(fixed(3)).toBe(false);
    expect(read(apic, 0x40)).toBe(0);
    write(apic, 0x280, 0);
    expect(read(apic, 0x280)).toBe(0xc0);
    write(apic, 0x3f0, 0x40);
    write(apic, 0x30, 0);
    write(apic, 0x280, 0);
    expect(read(apic, 0x280)).toBe(0x80);
  });

  it('an illegal vector in the error entry itself comes to an end', () => {
    const { apic, fixed } = processors();
    write(apic, 0x370, 0x02);
    fixed(1);
    write(apic, 0x280, 0);
    expect([read(apic, 0x280), apic.hasDeliverable()]).toEqual([0x40, false]);
  });
});

describe('the pins (10.5.1)', () => {
  it('virtual wire: LINT0 passes the 8259s on, whatever the priorities; LINT1 is NMI', () => {
    const { apic, events } = processors(1, { enabled: false });
    apic.enterVirtualWireMode();
    write(apic, 0x80, 0xff);
    apic.lint0.set(true);
    expect([events, apic.hasDeliverable(), apic.acknowledge()]).toEqual([['intr'], true, 0x31]);
    apic.lint0.set(false);
    expect(apic.hasDeliverable()).toBe(false);
    apic.lint1.set(true);
    expect(events).toEqual(['intr', 'nmi']);
  });

  it('a masked LINT0 passes nothing on, an unmasked one at once', () => {
    const { apic } = processors();
    apic.lint0.set(true);
    write(apic, 0x350, 0x10700);
    expect(apic.hasDeliverable()).toBe(false);
    write(apic, 0x350, 0x00700);
    expect(apic.hasDeliverable()).toBe(true);
  });

  it('with the APIC disabled in IA32_APIC_BASE the pins are INTR and NMI', () => {
    const { apic, events } = processors();
    apic.setBase(0xfee00100, 0);
    apic.lint0.set(true);
    apic.lint1.set(true);
    expect([apic.hasDeliverable(), events, apic.pageGpa]).toEqual([true, ['intr', 'nmi'], undefined]);
  });

  it('a level-triggered pin asks again after its EOI while it is asserted', () => {
    const { apic, ended } = processors();
    write(apic, 0x350, 0x8041);
    apic.lint0.set(true);
    expect([apic.acknowledge(), read(apic, 0x350)]).toEqual([0x41, 0xc041]);
    write(apic, 0xb0, 0);
    expect([apic.acknowledge(), ended]).toEqual([0x41, [0x41]]);
    apic.lint0.set(false);
    write(apic, 0xb0, 0);
    expect([apic.hasDeliverable(), read(apic, 0x350)]).toEqual([false, 0x8041]);
  });

  it('an ExtINT message asks once', () => {
    const { bus, apic } = processors();
    bus.deliver({ destination: 0, logical: false, deliveryMode: 7, vector: 0, level: false, asserted: true });
    expect([apic.acknowledge(), apic.hasDeliverable()]).toEqual([0x31, false]);
  });
});

describe('the xAPIC page', () => {
  it('takes aligned 32-bit accesses; narrow reads see their bytes', () => {
    const { apic } = processors();
    const page = xapicPage(apic);
    page.writeMmio(0x80, 4, 0x45);
    page.writeMmio(0x80, 1, 0x99);
    page.writeMmio(0x84, 4, 0x99);
    expect([page.readMmio(0x80, 4), page.readMmio(0x30, 1), page.readMmio(0x32, 2), page.readMmio(0x34, 4)]).toEqual([
      0x45, 0x14, 0x105, 0,
    ]);
  });
});

describe('save and restore', () => {
  type Step = { kind: 'write' | 'fixed' | 'take' | 'pin' | 'time'; value: number; offset: number };
  const steps = fc.array(
    fc.record<Step>({
      kind: fc.constantFrom('write', 'write', 'fixed', 'take', 'pin', 'time'),
      value: fc.integer({ min: 0, max: 0xffffffff }),
      offset: fc.integer({ min: 0, max: 0x3f }),
    }),
    { maxLength: 30 },
  );
  const apply = ({ apic, clock, fixed }: ReturnType<typeof processors>, { kind, value, offset }: Step) => {
    if (kind === 'write') apic.writeRegister(offset, value);
    if (kind === 'fixed') fixed(value & 0xff, value > 2 ** 31);
    if (kind === 'pin') (offset & 1 ? apic.lint1 : apic.lint0).set((value & 1) !== 0);
    if (kind === 'time') clock.advance(value & 0xffff);
    return kind === 'take' ? apic.acknowledge() : 0;
  };

  it('a restored APIC goes on as the saved one, and restoring tells nobody', () => {
    fc.assert(
      fc.property(steps, steps, (before, after) => {
        const original = processors();
        for (const next of before) apply(original, next);
        const copy = processors();
        copy.events.length = 0;
        copy.clock.advance(original.clock.nowNs());
        copy.apic.restoreState(JSON.parse(JSON.stringify(original.apic.saveState())));
        expect([copy.events, copy.apic.hasDeliverable()]).toEqual([[], original.apic.hasDeliverable()]);
        original.events.length = original.ended.length = 0;
        for (const next of after) expect(apply(copy, next)).toBe(apply(original, next));
        expect([copy.events, copy.ended]).toEqual([original.events, original.ended]);
        expect(copy.apic.saveState()).toEqual(original.apic.saveState());
      }),
    );
  });
});
