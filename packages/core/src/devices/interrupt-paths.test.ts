import { FakeClock } from '@polyvisor/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ApicBus } from './apic-bus/apic-bus.ts';
import { Hpet } from './hpet/hpet.ts';
import { IoApic } from './ioapic/io-apic.ts';
import { LocalApic } from './lapic/local-apic.ts';
import { PicPair } from './pic/pic-pair.ts';
import { Pit } from './pit/pit.ts';
import { Rtc } from './rtc/rtc.ts';

const MS = 1_000_000;

/** The interrupt paths of a PC: timers through HPET to 8259s and I/O APIC, the 8259s to LINT0. */
function board() {
  const clock = new FakeClock();
  const bus = new ApicBus();
  const pic: PicPair = new PicPair({ set: (asserted) => apic.lint0.set(asserted) });
  const events: string[] = [];
  const apic = new LocalApic({
    id: 0,
    bootstrap: true,
    clock,
    bus,
    acknowledgeExternal: () => pic.acknowledge(),
    processor: {
      interruptPending: () => events.push('intr'),
      nmi: () => events.push('nmi'),
      smi() {},
      init() {},
      startup() {},
    },
  });
  const ioApic = new IoApic(bus, 0);
  const both = (irq: number, pin: number) => {
    const lines = [pic.line(irq), ioApic.pin(pin)];
    return { set: (level: boolean) => lines.forEach((line) => line.set(level)) };
  };
  const hpet = new Hpet({ clock, route: (input) => ioApic.pin(input), irq0: both(0, 2), irq8: both(8, 8) });
  const pit = new Pit(clock, hpet.intervalTimer);
  const memory = { below4GBytes: 2 ** 30, above4GBytes: 0 };
  const rtc = new Rtc({ clock, irq8: hpet.realTimeClock, memory, maskNmi() {} });

  for (const [ports, base, icw3] of [
    [pic.masterPorts, 0x30, 4],
    [pic.slavePorts, 0x38, 2],
  ] as const) {
    ports.writePort(0, 1, 0x11);
    for (const icw of [base, icw3, 1]) ports.writePort(1, 1, icw);
  }
  const redirect = (pin: number, low: number) => {
    ioApic.writeMmio(0, 4, 0x10 + 2 * pin);
    ioApic.writeMmio(0x10, 4, low);
  };
  return { clock, bus, pic, apic, events, ioApic, hpet, pit, rtc, redirect };
}
/** 1 ms at 1.193182 MHz. */
function startTimer(pit: Pit) {
  pit.writePort(3, 1, 0x34);
  for (const byte of [1193 & 0xff, 1193 >> 8]) pit.writePort(0, 1, byte);
}

describe('interrupt paths', () => {
  it('virtual wire: the interval timer through 8259 and LINT0, once a period', () => {
    const { clock, apic, pit, pic } = board();
    apic.enterVirtualWireMode();
    startTimer(pit);
    const vectors: number[] = [];
    for (let step = 0; step < 100; step++) {
      clock.advance(0.1 * MS);
      while (apic.hasDeliverable()) {
        vectors.push(apic.acknowledge());
        pic.masterPorts.writePort(0, 1, 0x20);
      }
    }
    // OUT rises when the mode is set, which is an edge too; then ten periods of 0.9998 ms.
    expect(vectors).toEqual(new Array(11).fill(0x30));
  });

  it('I/O APIC: the same timer as an edge on pin 2, with the 8259s masked', () => {
    const { clock, apic, pit, pic, redirect } = board();
    apic.enterVirtualWireMode();
    pic.masterPorts.writePort(1, 1, 0xff);
    redirect(2, 0x51);
    startTimer(pit);
    const vectors: number[] = [];
    for (let step = 0; step < 100; step++) {
      clock.advance(0.1 * MS);
      while (apic.hasDeliverable()) {
        vectors.push(apic.acknowledge());
        apic.writeRegister(0x0b, 0);
      }
    }
    expect(vectors).toEqual(new Array(11).fill(0x51));
  });

  it('the 8259s through the I/O APIC as ExtINT', () => {
    const { apic, pic, bus } = board();
    apic.writeRegister(0x0f, 0x1ff);
    const throughPin0 = new IoApic(bus, 1);
    throughPin0.writeMmio(0, 4, 0x10);
    throughPin0.writeMmio(0x10, 4, 0x0700);
    pic.line(4).set(true);
    throughPin0.pin(0).set(true);
    expect([apic.hasDeliverable(), apic.acknowledge(), apic.hasDeliverable()]).toEqual([true, 0x34, false]);
  });

  it('legacy replacement: the HPET takes the place of both timers', () => {
    const { clock, apic, hpet, pit, rtc, redirect } = board();
    apic.writeRegister(0x0f, 0x1ff);
    redirect(2, 0x51);
    redirect(8, 0x61);
    startTimer(pit);
    rtc.writePort(0, 1, 0x0b);
    rtc.writePort(1, 1, 0x42);
    hpet.writeMmio(0x10, 4, 3);
    while (apic.hasDeliverable()) {
      apic.acknowledge();
      apic.writeRegister(0x0b, 0);
    }
    hpet.writeMmio(0x100, 4, 0x14c);
    hpet.writeMmio(0x108, 4, 500_000);
    let interrupts = 0;
    for (let step = 0; step < 200; step++) {
      clock.advance(0.1 * MS);
      for (; apic.hasDeliverable(); interrupts++) {
        expect(apic.acknowledge()).toBe(0x51);
        apic.writeRegister(0x0b, 0);
      }
    }
    expect(interrupts).toBe(4);
  });

  it('the real-time clock goes on interrupting as long as its register C is read', () => {
    const { clock, apic, pic, rtc } = board();
    apic.enterVirtualWireMode();
    rtc.writePort(0, 1, 0x0b);
    rtc.writePort(1, 1, 0x42);
    let interrupts = 0;
    for (let step = 0; step < 10_000; step++) {
      clock.advance(0.05 * MS);
      while (apic.hasDeliverable()) {
        expect(apic.acknowledge()).toBe(0x38);
        for (const ports of [pic.slavePorts, pic.masterPorts]) ports.writePort(0, 1, 0x20);
        rtc.writePort(0, 1, 0x0c);
        rtc.readPort(1);
        interrupts++;
      }
    }
    expect(interrupts).toBe(512);
  });

  it('whatever software writes to the chips, nothing throws and the processor is told in time', () => {
    const write = fc.record({
      chip: fc.nat(8),
      offset: fc.nat(0x3ff),
      value: fc.integer({ min: 0, max: 0xffffffff }),
      timeNs: fc.nat(200_000),
    });
    fc.assert(
      fc.property(fc.array(write, { maxLength: 60 }), (writes) => {
        const { clock, apic, events, ioApic, hpet, pit, rtc, pic } = board();
        for (const { chip, offset, value, timeNs } of writes) {
          const before = [apic.hasDeliverable(), events.length] as const;
          const byte = value & 0xff;
          if (chip === 0) pic.masterPorts.writePort(offset & 1, 1, byte);
          if (chip === 1) pic.slavePorts.writePort(offset & 1, 1, byte);
          if (chip === 2) pit.writePort(offset & 3, 1, byte);
          if (chip === 3) rtc.writePort(offset & 1, 1, byte);
          if (chip === 4) ioApic.writeMmio(offset & 0x50, 4, value);
          // A period of a few ticks is legal and only takes long.
          if (chip === 5)
            hpet.writeMmio(offset & 0x1fc, 4, (offset & 0x108) === 0x108 ? (value | 0x4000) >>> 0 : value);
          if (chip === 6 && offset >> 4 !== 0x38) apic.writeRegister(offset >> 4, value);
          if (chip === 7) pic.elcrPorts.writePort(offset & 1, 1, byte);
          clock.advance(timeNs);
          if (!before[0] && apic.hasDeliverable()) expect(events.length).toBeGreaterThan(before[1]);
          if (chip === 8 && apic.hasDeliverable()) expect(apic.acknowledge()).toBeGreaterThanOrEqual(0);
        }
      }),
    );
  });
});
