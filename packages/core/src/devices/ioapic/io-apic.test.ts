import { FakeClock } from '@polyvisor/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ApicBus } from '../apic-bus/apic-bus.ts';
import { deliverMsi } from '../apic-bus/msi.ts';
import { LocalApic } from '../lapic/local-apic.ts';
import { IoApic } from './io-apic.ts';

const LEVEL = 0x8000;
const MASKED = 0x1_0000;
const REMOTE_IRR = 0x4000;
const LAPIC_EOI = 0x0b;
const LAPIC_SVR = 0x0f;

function machine(count = 1) {
  const bus = new ApicBus();
  const ioApic = new IoApic(bus, 0);
  const cpus = Array.from({ length: count }, (_, id) => {
    const events: string[] = [];
    const apic = new LocalApic({
      id,
      bootstrap: id === 0,
      clock: new FakeClock(),
      bus,
      acknowledgeExternal: () => 0x31,
      processor: {
        interruptPending() {},
        nmi: () => events.push('nmi'),
        smi: () => events.push('smi'),
        init: () => events.push('init'),
        startup() {},
      },
    });
    apic.writeRegister(LAPIC_SVR, 0x1ff);
    apic.writeRegister(0x0d, 1 << (24 + id));
    return { apic, events };
  });
  const write = (register: number, value: number) => {
    ioApic.writeMmio(0x00, 4, register);
    ioApic.writeMmio(0x10, 4, value >>> 0);
  };
  const read = (register: number) => {
    ioApic.writeMmio(0x00, 4, register);
    return ioApic.readMmio(0x10, 4);
  };
  return {
    bus,
    ioApic,
    cpus,
    apic: cpus[0].apic,
    write,
    read,
    entry: (pin: number, low: number, destination = 0) => {
      write(0x11 + 2 * pin, destination << 24);
      write(0x10 + 2 * pin, low);
    },
    low: (pin: number) => read(0x10 + 2 * pin),
    eoi: (apic = cpus[0].apic) => apic.writeRegister(LAPIC_EOI, 0),
  };
}
const vectorsOf = ({ apic }: { apic: LocalApic }) => (apic.hasDeliverable() ? [apic.acknowledge()] : []);

describe('registers (82093AA, chapter 3)', () => {
  it('reset: masked entries, version 0x20 with 24 pins', () => {
    const { read, low } = machine();
    expect([read(0), read(1), read(2), low(0), low(23), read(0x11), read(0x40)]).toEqual([
      0,
      0x170020,
      0,
      MASKED,
      MASKED,
      0,
      0,
    ]);
  });

  it('keep what can be written: ID, entries without their status bits, polarity', () => {
    const { write, read, entry, low } = machine();
    write(0, 0xffffffff);
    entry(3, 0xffffffff, 0xff);
    expect([read(0), read(2), low(3), read(0x17)]).toEqual([0x0f000000, 0x0f000000, 0x1afff, 0xff000000]);
    write(0x40, 1);
    write(1, 0);
    expect(read(1)).toBe(0x170020);
  });

  it('narrow accesses: the select register by its byte, reads by their bytes, no narrow data writes', () => {
    const { ioApic } = machine();
    ioApic.writeMmio(0x00, 1, 0x01);
    expect([ioApic.readMmio(0x00, 4), ioApic.readMmio(0x12, 1), ioApic.readMmio(0x10, 2)]).toEqual([1, 0x17, 0x20]);
    ioApic.writeMmio(0x00, 1, 0x10);
    ioApic.writeMmio(0x10, 1, 0x55);
    expect([ioApic.readMmio(0x10, 4), ioApic.readMmio(0x30, 4)]).toEqual([MASKED, 0]);
  });

  it('has 24 pins', () => {
    const { ioApic } = machine();
    for (const pin of [-1, 24, 1.5]) expect(() => ioApic.pin(pin)).toThrow(`no pin ${pin}`);
  });
});

describe('edges', () => {
  it('each rising edge is a message; one on a masked pin is lost', () => {
    const { ioApic, apic, entry, low, eoi } = machine();
    const pin = ioApic.pin(4);
    entry(4, 0x41 | MASKED);
    pin.set(true);
    entry(4, 0x41);
    expect(apic.hasDeliverable()).toBe(false);
    for (let edge = 0; edge < 2; edge++) {
      pin.set(false);
      pin.set(true);
      pin.set(true);
      expect([apic.acknowledge(), apic.hasDeliverable(), low(4)]).toEqual([0x41, false, 0x41]);
      eoi();
    }
  });
});

describe('levels', () => {
  it('one message until the end, then the next if the pin is still asserted', () => {
    const { ioApic, apic, entry, low, eoi } = machine();
    const pin = ioApic.pin(9);
    entry(9, 0x51 | LEVEL);
    pin.set(true);
    expect([low(9), apic.acknowledge(), apic.hasDeliverable()]).toEqual([0x51 | LEVEL | REMOTE_IRR, 0x51, false]);
    eoi();
    expect([low(9) & REMOTE_IRR, apic.acknowledge()]).toEqual([REMOTE_IRR, 0x51]);
    pin.set(false);
    eoi();
    expect([low(9), apic.hasDeliverable()]).toEqual([0x51 | LEVEL, false]);
  });

  it('a pin asserted while masked asks when it is unmasked', () => {
    const { ioApic, apic, entry } = machine();
    entry(9, 0x51 | LEVEL | MASKED);
    ioApic.pin(9).set(true);
    expect(apic.hasDeliverable()).toBe(false);
    entry(9, 0x51 | LEVEL);
    expect(apic.acknowledge()).toBe(0x51);
  });

  it('writing the entry as an edge ends what was under way (how software without EOI register does it)', () => {
    const { ioApic, apic, entry, low } = machine();
    entry(9, 0x51 | LEVEL);
    ioApic.pin(9).set(true);
    apic.acknowledge();
    entry(9, 0x51 | MASKED);
    entry(9, 0x51 | LEVEL | MASKED);
    expect(low(9)).toBe(0x51 | LEVEL | MASKED);
  });

  it('the EOI register ends a vector when the local APIC does not broadcast', () => {
    const { ioApic, apic, entry, low, eoi } = machine();
    apic.writeRegister(LAPIC_SVR, 0x11ff);
    entry(9, 0x51 | LEVEL);
    const pin = ioApic.pin(9);
    pin.set(true);
    apic.acknowledge();
    pin.set(false);
    eoi();
    expect(low(9) & REMOTE_IRR).toBe(REMOTE_IRR);
    ioApic.writeMmio(0x40, 4, 0x51);
    expect(low(9) & REMOTE_IRR).toBe(0);
  });

  it('what nobody took is sent when a local APIC is enabled', () => {
    const { ioApic, apic, entry, low } = machine();
    apic.writeRegister(LAPIC_SVR, 0xff);
    entry(9, 0x51 | LEVEL);
    ioApic.pin(9).set(true);
    expect(low(9) & REMOTE_IRR).toBe(0);
    apic.writeRegister(LAPIC_SVR, 0x1ff);
    expect([apic.acknowledge(), low(9) & REMOTE_IRR]).toEqual([0x51, REMOTE_IRR]);
  });

  type Step = { kind: 'raise' | 'lower' | 'take' | 'eoi' | 'mask' | 'unmask' | 'save'; pin: number };
  const steps = fc.array(
    fc.record<Step>({
      kind: fc.constantFrom('raise', 'lower', 'take', 'eoi', 'mask', 'unmask', 'save'),
      pin: fc.nat(3),
    }),
    { maxLength: 80 },
  );

  it('never lose an interrupt and never have two under way', () => {
    fc.assert(
      fc.property(steps, (all) => {
        const { ioApic, apic, entry, low, eoi } = machine();
        const vector = (pin: number) => 0x31 + 0x10 * pin;
        const pins = [0, 1, 2, 3].map((pin) => ioApic.pin(pin));
        const lines = [false, false, false, false];
        const masked = [false, false, false, false];
        for (const pin of pins.keys()) entry(pin, vector(pin) | LEVEL);
        for (const { kind, pin } of all) {
          if (kind === 'raise' || kind === 'lower') pins[pin].set((lines[pin] = kind === 'raise'));
          if (kind === 'mask' || kind === 'unmask') {
            masked[pin] = kind === 'mask';
            entry(pin, vector(pin) | LEVEL | (masked[pin] ? MASKED : 0));
          }
          if (kind === 'take') vectorsOf({ apic });
          if (kind === 'eoi') eoi();
          if (kind === 'save') {
            ioApic.restoreState(JSON.parse(JSON.stringify(ioApic.saveState())));
            apic.restoreState(JSON.parse(JSON.stringify(apic.saveState())));
          }
          const { irr, isr } = apic.saveState().queue;
          const within = (words: number[], number: number) => ((words[number >> 5] >>> (number & 31)) & 1) === 1;
          for (const each of pins.keys()) {
            const [requested, served] = [within(irr, vector(each)), within(isr, vector(each))];
            const underWay = (low(each) & REMOTE_IRR) !== 0;
            expect(underWay).toBe(requested !== served);
            if (lines[each] && !masked[each]) expect(underWay).toBe(true);
            expect(requested && served).toBe(false);
          }
        }
      }),
    );
  });
});

describe('delivery modes and destinations', () => {
  it.each([
    ['physical', 0x41, 1, [[], [0x41], []]],
    ['physical broadcast', 0x41, 0xff, [[0x41], [0x41], [0x41]]],
    ['logical', 0x841, 0b101, [[0x41], [], [0x41]]],
    ['lowest priority', 0x941, 0b110, [[], [0x41], []]],
  ])('%s', (_name, low, destination, expected) => {
    const { ioApic, cpus, entry } = machine(3);
    entry(1, low, destination);
    ioApic.pin(1).set(true);
    expect(cpus.map(vectorsOf)).toEqual(expected);
  });

  it('NMI, SMI, INIT and ExtINT have no end, level-triggered or not', () => {
    const { ioApic, cpus, entry, low } = machine();
    const pin = ioApic.pin(2);
    for (const mode of [0x400, 0x200, 0x500, 0x700]) {
      pin.set(false);
      entry(2, mode | LEVEL);
      pin.set(true);
      expect(low(2) & REMOTE_IRR).toBe(0);
    }
    expect([cpus[0].events, vectorsOf(cpus[0])]).toEqual([['nmi', 'smi', 'init'], [0x31]]);
  });
});

describe('message-signalled interrupts (SDM vol. 3A, 10.11)', () => {
  it.each([
    ['physical', 0xfee01000, 0x0041, [[], [0x41], []]],
    ['physical broadcast', 0xfeeff000, 0x0041, [[0x41], [0x41], [0x41]]],
    ['logical', 0xfee06004, 0x0041, [[], [0x41], [0x41]]],
    ['logical with redirection hint: one of them', 0xfee0600c, 0x0041, [[], [0x41], []]],
    ['lowest priority', 0xfee07004, 0x0141, [[0x41], [], []]],
    ['nobody there', 0xfee09000, 0x0041, [[], [], []]],
    ['level de-assert', 0xfee00000, 0x8041, [[], [], []]],
    ['not an interrupt message', 0xfef00000, 0x0041, [[], [], []]],
  ])('%s', (_name, address, data, expected) => {
    const { bus, cpus } = machine(3);
    expect(deliverMsi(bus, address, data)).toBe(expected.some((vectors) => vectors.length > 0));
    expect(cpus.map(vectorsOf)).toEqual(expected);
  });

  it('a level assert is broadcast at its end', () => {
    const { bus, apic, eoi } = machine();
    const ended: number[] = [];
    bus.attachIoApic({ endOfInterrupt: (vector) => ended.push(vector), retry() {} });
    expect(deliverMsi(bus, 0xfee00000, 0xc041)).toBe(true);
    apic.acknowledge();
    eoi();
    expect(ended).toEqual([0x41]);
  });
});
