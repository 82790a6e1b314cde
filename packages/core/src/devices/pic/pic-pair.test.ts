import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PicPair } from './pic-pair.ts';

const EOI = 0x20;

/** A pair, initialised as a PC's firmware and Linux do: vectors 0x30–0x3f, fully nested, nothing masked. */
function pair(options: { icw4?: number } = {}) {
  const edges: boolean[] = [];
  const pic = new PicPair({ set: (asserted) => edges.push(asserted) });
  const initialise = (ports: typeof pic.masterPorts, base: number, icw3: number) => {
    ports.writePort(0, 1, 0x11);
    for (const icw of [base, icw3, options.icw4 ?? 0x01]) ports.writePort(1, 1, icw);
  };
  initialise(pic.masterPorts, 0x30, 0x04);
  initialise(pic.slavePorts, 0x38, 0x02);
  const lines = Array.from({ length: 16 }, (_, irq) => (irq === 2 ? undefined : pic.line(irq)));
  return {
    pic,
    edges,
    raise: (irq: number) => lines[irq]!.set(true),
    lower: (irq: number) => lines[irq]!.set(false),
    master: (value: number) => pic.masterPorts.writePort(0, 1, value),
    slave: (value: number) => pic.slavePorts.writePort(0, 1, value),
    mask: (value: number) => pic.masterPorts.writePort(1, 1, value),
    maskSlave: (value: number) => pic.slavePorts.writePort(1, 1, value),
    irr: () => {
      pic.masterPorts.writePort(0, 1, 0x0a);
      return pic.masterPorts.readPort(0, 1);
    },
    isr: () => {
      pic.masterPorts.writePort(0, 1, 0x0b);
      return pic.masterPorts.readPort(0, 1);
    },
    slaveIsr: () => {
      pic.slavePorts.writePort(0, 1, 0x0b);
      return pic.slavePorts.readPort(0, 1);
    },
  };
}

describe('the interrupt controllers', () => {
  it('ask for nothing before they are initialised, but keep the mask', () => {
    const pic = new PicPair({ set: () => expect.unreachable() });
    pic.line(1).set(true);
    pic.masterPorts.writePort(1, 1, 0xfb);
    expect([pic.hasDeliverable(), pic.masterPorts.readPort(1, 1)]).toEqual([false, 0xfb]);
  });

  it('serve the fully nested order: lower levels wait, higher ones interrupt', () => {
    const { pic, raise, master, isr } = pair();
    raise(4);
    expect(pic.acknowledge()).toBe(0x34);
    raise(6);
    expect(pic.hasDeliverable()).toBe(false);
    raise(1);
    expect(pic.acknowledge()).toBe(0x31);
    expect(isr()).toBe(0b10010);
    master(EOI);
    expect([isr(), pic.hasDeliverable()]).toEqual([0b10000, false]);
    master(EOI);
    expect([isr(), pic.acknowledge()]).toEqual([0, 0x36]);
  });

  it('cascade: the slave answers its vector, and both chips want an EOI', () => {
    const { pic, raise, master, slave, isr, slaveIsr } = pair();
    raise(12);
    expect(pic.acknowledge()).toBe(0x3c);
    expect([isr(), slaveIsr()]).toEqual([0x04, 0x10]);
    // Not in special fully nested mode: the master holds back a higher request of the same slave.
    raise(8);
    expect(pic.hasDeliverable()).toBe(false);
    master(EOI);
    expect(pic.acknowledge()).toBe(0x38);
    master(EOI);
    slave(EOI);
    expect([isr(), slaveIsr()]).toEqual([0, 0x10]);
    slave(EOI);
    expect([slaveIsr(), pic.hasDeliverable()]).toEqual([0, false]);
  });

  it('special fully nested mode lets a higher request of a slave in service through, not a lower one of the master', () => {
    const { pic, raise } = pair({ icw4: 0x11 });
    raise(12);
    pic.acknowledge();
    raise(3);
    raise(13);
    expect(pic.hasDeliverable()).toBe(false);
    raise(9);
    expect(pic.acknowledge()).toBe(0x39);
  });

  it('an edge is served once; a level as long as it stands', () => {
    const { pic, raise, lower, master } = pair();
    pic.elcrPorts.writePort(0, 1, 0x20);
    for (const irq of [3, 5]) raise(irq);
    expect(pic.acknowledge()).toBe(0x33);
    master(EOI);
    expect(pic.acknowledge()).toBe(0x35);
    master(EOI);
    expect(pic.acknowledge()).toBe(0x35);
    lower(5);
    master(EOI);
    expect(pic.hasDeliverable()).toBe(false);
  });

  it('some lines have no level triggering', () => {
    const { pic } = pair();
    for (const offset of [0, 1]) pic.elcrPorts.writePort(offset, 1, 0xff);
    expect([pic.elcrPorts.readPort(0, 1), pic.elcrPorts.readPort(1, 1)]).toEqual([0xf8, 0xde]);
  });

  it('answers IRQ7 for a request that has gone, without service, whichever chip it was on', () => {
    const { pic, raise, lower, isr, slaveIsr, edges } = pair();
    for (const irq of [3, 11]) {
      raise(irq);
      lower(irq);
      expect([pic.acknowledge(), isr(), slaveIsr()]).toEqual([0x37, 0, 0]);
    }
    expect(edges).toEqual([true, false, true, false]);
  });

  it('a poll of the slave without a request is answered by DEFAULT IR7', () => {
    const { pic, slave, slaveIsr } = pair();
    slave(0x0c);
    expect([pic.slavePorts.readPort(0, 1), slaveIsr()]).toEqual([0x07, 0]);
  });

  it('INTR falls at INTA and rises for what is still wanted', () => {
    const { pic, raise, edges, master } = pair({ icw4: 0x03 });
    raise(1);
    raise(6);
    pic.acknowledge();
    expect([edges, pic.hasDeliverable()]).toEqual([[true, false, true], true]);
    expect(pic.acknowledge()).toBe(0x36);
    expect(edges).toEqual([true, false, true, false]);
    master(EOI);
  });

  it('automatic EOI serves requests of the slave one after the other', () => {
    const { pic, raise } = pair({ icw4: 0x03 });
    for (const irq of [14, 9, 12]) raise(irq);
    expect([pic.acknowledge(), pic.acknowledge(), pic.acknowledge()]).toEqual([0x39, 0x3c, 0x3e]);
    expect(pic.hasDeliverable()).toBe(false);
  });
});

describe('EOI and rotation (8259A data sheet, "Automatic rotation", "Specific rotation")', () => {
  /** Levels in the order in which they are served when all ask at once. */
  const order = (chip: ReturnType<typeof pair>) => {
    for (const irq of [0, 1, 3, 4, 5, 6, 7]) chip.raise(irq);
    const served: number[] = [];
    while (chip.pic.hasDeliverable()) {
      const vector = chip.pic.acknowledge();
      served.push(vector & 7);
      chip.master(0x60 | (vector & 7));
    }
    return served;
  };

  it('a specific EOI ends the level it names', () => {
    const chip = pair();
    for (const irq of [5, 3]) {
      chip.raise(irq);
      chip.pic.acknowledge();
    }
    chip.master(0x65);
    expect(chip.isr()).toBe(0x08);
  });

  it('set priority makes the named level the lowest', () => {
    const chip = pair();
    chip.master(0xc5);
    expect(order(chip)).toEqual([6, 7, 0, 1, 3, 4, 5]);
  });

  it('rotate on EOI makes the level that was ended the lowest', () => {
    const nonSpecific = pair();
    nonSpecific.raise(4);
    nonSpecific.pic.acknowledge();
    nonSpecific.lower(4);
    nonSpecific.master(0xa0);
    expect(order(nonSpecific)).toEqual([5, 6, 7, 0, 1, 3, 4]);
    const specific = pair();
    specific.raise(0);
    specific.pic.acknowledge();
    specific.lower(0);
    specific.master(0xe0);
    expect(order(specific)).toEqual([1, 3, 4, 5, 6, 7, 0]);
  });

  it('rotate in automatic EOI mode: equal turns', () => {
    const chip = pair({ icw4: 0x03 });
    chip.master(0x80);
    chip.raise(3);
    chip.pic.acknowledge();
    chip.lower(3);
    for (const irq of [3, 4]) chip.raise(irq);
    expect([chip.pic.acknowledge() & 7, chip.pic.acknowledge() & 7]).toEqual([4, 3]);
    chip.master(0x00);
    chip.lower(4);
    chip.raise(4);
    chip.pic.acknowledge();
    chip.lower(3);
    chip.lower(4);
    for (const irq of [3, 4]) chip.raise(irq);
    expect(chip.pic.acknowledge() & 7).toBe(4);
  });

  it('a non-specific EOI with nothing in service changes nothing', () => {
    const chip = pair();
    chip.master(0xa0);
    expect(order(chip)).toEqual([0, 1, 3, 4, 5, 6, 7]);
  });
});

describe('special mask mode and polling', () => {
  it('a masked level in service inhibits nobody, and the non-specific EOI leaves it alone', () => {
    const { pic, raise, master, mask, isr } = pair();
    raise(3);
    pic.acknowledge();
    raise(5);
    mask(0x08);
    expect(pic.hasDeliverable()).toBe(false);
    master(0x68);
    expect(pic.acknowledge()).toBe(0x35);
    master(EOI);
    expect(isr()).toBe(0x08);
    raise(6);
    master(0x48);
    expect(pic.hasDeliverable()).toBe(false);
  });

  it('a poll acknowledges as INTA does', () => {
    const { pic, raise, master, isr } = pair();
    raise(5);
    master(0x0c);
    expect([pic.masterPorts.readPort(0, 1), isr(), pic.hasDeliverable()]).toEqual([0x85, 0x20, false]);
    master(0x0c);
    expect(pic.masterPorts.readPort(0, 1) & 0x80).toBe(0);
    expect(pic.masterPorts.readPort(1, 1)).toBe(0);
  });

  it('ICW1 clears mask, service, special mask, rotation and edges, and reads IRR', () => {
    const { pic, raise, master, mask, isr, irr } = pair();
    raise(1);
    pic.acknowledge();
    raise(6);
    mask(0x10);
    for (const word of [0x68, 0xc2]) master(word);
    expect([isr(), irr()]).toEqual([0x02, 0x40]);
    master(0x0b);
    master(0x11);
    expect(pic.masterPorts.readPort(0, 1)).toBe(0);
    expect(pic.hasDeliverable()).toBe(false);
    for (const icw of [0x30, 0x04, 0x01]) pic.masterPorts.writePort(1, 1, icw);
    expect([isr(), pic.masterPorts.readPort(1, 1)]).toEqual([0, 0]);
  });

  it('single mode has no ICW3, and without IC4 the sequence ends early', () => {
    const pic = new PicPair({ set: () => {} });
    pic.masterPorts.writePort(0, 1, 0x12);
    pic.masterPorts.writePort(1, 1, 0x47);
    pic.masterPorts.writePort(1, 1, 0xaa);
    expect(pic.masterPorts.readPort(1, 1)).toBe(0xaa);
    pic.line(2 + 1).set(true);
    pic.masterPorts.writePort(1, 1, 0);
    expect(pic.acknowledge()).toBe(0x43);
  });
});

describe('properties', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('raise' as const), irq: fc.constantFrom(0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 15) }),
    fc.record({ kind: fc.constant('lower' as const), irq: fc.constantFrom(0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 15) }),
    fc.record({ kind: fc.constant('ack' as const), irq: fc.constant(0) }),
    fc.record({ kind: fc.constant('mask' as const), irq: fc.nat(0xffff) }),
    fc.record({ kind: fc.constant('eoi' as const), irq: fc.nat(15) }),
    fc.record({ kind: fc.constant('elcr' as const), irq: fc.nat(0xffff) }),
  );
  type Step = { kind: string; irq: number };
  const apply = (chip: ReturnType<typeof pair>, { kind, irq }: Step): number => {
    if (kind === 'raise') chip.raise(irq);
    if (kind === 'lower') chip.lower(irq);
    if (kind === 'ack' && chip.pic.hasDeliverable()) return chip.pic.acknowledge();
    if (kind === 'mask') {
      chip.mask(irq & 0xff);
      chip.maskSlave(irq >> 8);
    }
    if (kind === 'eoi') (irq < 8 ? chip.master : chip.slave)(0x60 | (irq & 7));
    if (kind === 'elcr')
      for (const offset of [0, 1]) chip.pic.elcrPorts.writePort(offset, 1, (irq >> (8 * offset)) & 0xff);
    return -1;
  };

  it('INTR says at any time whether an acknowledge would serve a request', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const chip = pair();
        for (const next of steps) {
          apply(chip, next);
          expect(chip.edges.at(-1) ?? false).toBe(chip.pic.hasDeliverable());
          const copy = pair();
          copy.pic.restoreState(chip.pic.saveState());
          const before = copy.isr() | (copy.slaveIsr() << 8);
          copy.pic.acknowledge();
          expect((copy.isr() | (copy.slaveIsr() << 8)) !== before).toBe(chip.pic.hasDeliverable());
        }
      }),
    );
  });

  it('a restored pair goes on as the saved one, and restoring drives nothing', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), fc.array(step, { maxLength: 40 }), (before, after) => {
        const original = pair();
        for (const next of before) apply(original, next);
        const copy = pair();
        copy.pic.restoreState(JSON.parse(JSON.stringify(original.pic.saveState())));
        expect(copy.edges).toEqual([]);
        for (const next of after) expect(apply(copy, next)).toBe(apply(original, next));
        expect(copy.pic.saveState()).toEqual(original.pic.saveState());
      }),
    );
  });
});
