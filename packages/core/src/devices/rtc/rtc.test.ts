import { FakeClock } from '@polyvisor/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Rtc } from './rtc.ts';

const SECOND = 1_000_000_000;
const GIB = 2 ** 30;

function clockChip(iso = '2024-02-28T23:59:57Z', memory = { below4GBytes: 3 * GIB, above4GBytes: 5 * GIB }) {
  const clock = new FakeClock({ startEpochNs: BigInt(Date.parse(iso)) * 1_000_000n });
  const edges: boolean[] = [];
  const nmi: boolean[] = [];
  const rtc = new Rtc({
    clock,
    irq8: { set: (level) => edges.push(level) },
    memory,
    maskNmi: (masked) => nmi.push(masked),
  });
  const read = (register: number) => {
    rtc.writePort(0, 1, register);
    return rtc.readPort(1);
  };
  const write = (register: number, value: number) => {
    rtc.writePort(0, 1, register);
    rtc.writePort(1, 1, value);
  };
  return {
    clock,
    rtc,
    edges,
    nmi,
    read,
    write,
    /** Century, year, month, day, day of week, hours, minutes, seconds as they are in the registers. */
    time: () => [0x32, 9, 8, 7, 6, 4, 2, 0].map(read),
  };
}

describe('time of day', () => {
  it('is the clock’s epoch, in BCD and 24 hours, and goes on over the leap day', () => {
    const { clock, time } = clockChip();
    expect(time()).toEqual([0x20, 0x24, 0x02, 0x28, 4, 0x23, 0x59, 0x57]);
    clock.advance(3 * SECOND);
    expect(time()).toEqual([0x20, 0x24, 0x02, 0x29, 5, 0x00, 0x00, 0x00]);
    clock.advance(86_400 * SECOND);
    expect(time()).toEqual([0x20, 0x24, 0x03, 0x01, 6, 0x00, 0x00, 0x00]);
  });

  it('its seconds change with the epoch’s', () => {
    const { clock, read } = clockChip('2024-01-01T00:00:00.250Z');
    clock.advance(0.7499 * SECOND);
    expect(read(0)).toBe(0);
    clock.advance(0.0002 * SECOND);
    expect(read(0)).toBe(1);
  });

  it('binary and 12-hour formats are register B’s; software writes the time in them', () => {
    const { clock, write, time } = clockChip();
    write(0x0b, 0x80 | 0x04);
    for (const [register, value] of [
      [0x32, 19],
      [9, 99],
      [8, 12],
      [7, 31],
      [6, 6],
      [4, 0x8b],
      [2, 59],
      [0, 58],
    ]) {
      write(register, value);
    }
    clock.advance(10 * SECOND);
    expect(time()).toEqual([19, 99, 12, 31, 6, 0x8b, 59, 58]);
    write(0x0b, 0x04);
    clock.advance(2 * SECOND);
    expect(time()).toEqual([20, 0, 1, 1, 7, 12, 0, 0]);
    write(0x0b, 0x00);
    write(4, 0x11);
    clock.advance(3600 * SECOND);
    expect(time()[5]).toBe(0x92);
    clock.advance(12 * 3600 * SECOND);
    expect(time()[5]).toBe(0x12);
  });

  it('agrees with the calendar at any time in either format', () => {
    const cases = fc.record({
      start: fc.integer({ min: 946_684_800, max: 4_102_444_800 }),
      gaps: fc.array(fc.integer({ min: 0, max: 200_000 }), { maxLength: 5 }),
      binary: fc.boolean(),
    });
    fc.assert(
      fc.property(cases, ({ start, gaps, binary }) => {
        const { clock, read, write } = clockChip(new Date(start * 1000).toISOString());
        const image = (value: number) => (binary ? value : Number.parseInt(value.toString(), 16));
        if (binary) {
          const date = new Date(start * 1000);
          write(0x0b, 0x86);
          for (const [register, value] of registersOf(date)) write(register, value);
          write(0x0b, 0x06);
        }
        let seconds = start;
        for (const gap of gaps) {
          clock.advance(gap * SECOND);
          seconds += gap;
          for (const [register, value] of registersOf(new Date(seconds * 1000)))
            expect(read(register)).toBe(image(value));
        }
      }),
    );
  });

  const registersOf = (date: Date): [number, number][] => [
    [0x32, Math.floor(date.getUTCFullYear() / 100)],
    [9, date.getUTCFullYear() % 100],
    [8, date.getUTCMonth() + 1],
    [7, date.getUTCDate()],
    [6, date.getUTCDay() + 1],
    [4, date.getUTCHours()],
    [2, date.getUTCMinutes()],
    [0, date.getUTCSeconds()],
  ];

  it('takes any bytes that software leaves in it', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(0x3f), fc.nat(255)), { maxLength: 30 }),
        fc.nat(100_000),
        (writes, seconds) => {
          const { clock, read, write, time } = clockChip();
          for (const [register, value] of writes) write(register, value);
          clock.advance(seconds * SECOND);
          const bytes = [...time(), read(0x0c)];
          expect(bytes.every((byte) => Number.isInteger(byte) && byte >= 0 && byte <= 255)).toBe(true);
        },
      ),
    );
  });
});

describe('updates', () => {
  it('UIP stands for 2228 µs before the seconds change', () => {
    const { clock, read } = clockChip();
    clock.advance(SECOND - 2_230_000);
    expect(read(0x0a)).toBe(0x26);
    clock.advance(3_000);
    expect([read(0x0a), read(0)]).toEqual([0xa6, 0x57]);
    clock.advance(2_227_000);
    expect([read(0x0a), read(0)]).toEqual([0x26, 0x58]);
  });

  it('SET stops updates, UIP and the update flag, and takes UIE back', () => {
    const { clock, read, write } = clockChip();
    write(0x0b, 0x92);
    expect(read(0x0b)).toBe(0x82);
    clock.advance(SECOND - 1000);
    expect(read(0x0a)).toBe(0x26);
    clock.advance(5 * SECOND);
    expect([read(0), read(0x0c) & 0x10]).toEqual([0x57, 0]);
  });

  it('a held divider stops it; released, the first update comes half a second later', () => {
    const { clock, read, write } = clockChip();
    write(0x0a, 0x76);
    clock.advance(10.3 * SECOND);
    write(0x0a, 0x26);
    clock.advance(0.499 * SECOND);
    expect(read(0)).toBe(0x57);
    clock.advance(0.002 * SECOND);
    expect(read(0)).toBe(0x58);
    clock.advance(0.998 * SECOND);
    expect(read(0)).toBe(0x58);
    clock.advance(0.002 * SECOND);
    expect(read(0)).toBe(0x59);
  });
});

describe('interrupts', () => {
  it('update-ended: once a second, until C is read', () => {
    const { clock, edges, read, write } = clockChip();
    write(0x0b, 0x12);
    clock.advance(2.5 * SECOND);
    expect(edges).toEqual([true]);
    expect([read(0x0c), read(0x0c)]).toEqual([0x90 | 0x40, 0]);
    clock.advance(SECOND);
    expect(edges).toEqual([true, false, true]);
  });

  it.each([
    [1, 256],
    [2, 128],
    [3, 8192],
    [6, 1024],
    [15, 2],
  ])('periodic: rate %i is %i Hz', (rate, hz) => {
    const { clock, read, write } = clockChip();
    const rises: number[] = [];
    write(0x0a, 0x20 | rate);
    // Looks fall between the edges.
    clock.advance(50_000);
    read(0x0c);
    write(0x0b, 0x42);
    for (let step = 0; step < 2 * 8192; step++) {
      clock.advance(SECOND / 8192);
      if (read(0x0c) & 0xc0) rises.push(step);
    }
    expect(rises.length).toBe(2 * hz);
  });

  it('a periodic rate of 0 is none', () => {
    const { clock, edges, read, write } = clockChip();
    read(0x0c);
    write(0x0a, 0x20);
    write(0x0b, 0x42);
    clock.advance(2 * SECOND);
    expect([edges, read(0x0c) & 0x40, clock.pending]).toEqual([[], 0, 0]);
  });

  it.each([
    ['at a time', [0x02, 0x00, 0x00], 5],
    ['at any hour', [0x02, 0x00, 0xff], 5],
    ['at any minute and hour', [0x58, 0xc0, 0xc0], 1],
    ['every second', [0xff, 0xff, 0xff], 1],
  ])('alarm %s', (_name, [seconds, minutes, hours], dueSeconds) => {
    const { clock, edges, read, write } = clockChip();
    for (const [register, value] of [
      [1, seconds],
      [3, minutes],
      [5, hours],
    ])
      write(register, value);
    write(0x0b, 0x22);
    clock.advance((dueSeconds - 0.01) * SECOND);
    expect(edges).toEqual([]);
    clock.advance(0.02 * SECOND);
    expect(edges).toEqual([true]);
    expect([read(0x0c) & 0xa0, edges]).toEqual([0xa0, [true, false]]);
  });

  it('flags are set whether enabled or not; an enable makes an interrupt of a flag that stands', () => {
    const { clock, edges, read, write } = clockChip();
    write(1, 0xff);
    write(3, 0xff);
    write(5, 0xff);
    clock.advance(1.5 * SECOND);
    expect([edges, clock.pending]).toEqual([[], 0]);
    write(0x0b, 0x12);
    expect(edges).toEqual([true]);
    expect([read(0x0c), edges]).toEqual([0xf0, [true, false]]);
  });
});

describe('CMOS RAM and port 0x70', () => {
  it('says how much memory there is', () => {
    const { read } = clockChip();
    const word = (at: number) => read(at) | (read(at + 1) << 8);
    expect([word(0x15), word(0x17), word(0x30), word(0x34)]).toEqual([640, 0xffff, 0xffff, 0xbf00]);
    expect(word(0x5b) | (read(0x5d) << 16)).toBe((5 * GIB) / 65_536);
    const sum = Array.from({ length: 0x1e }, (_, index) => read(0x10 + index)).reduce((total, byte) => total + byte);
    expect((read(0x2e) << 8) | read(0x2f)).toBe(sum);
    const small = clockChip('2024-01-01T00:00:00Z', { below4GBytes: 8 * 2 ** 20, above4GBytes: 0 });
    expect([small.read(0x30), small.read(0x31), small.read(0x34), small.read(0x5b)]).toEqual([0x00, 0x1c, 0, 0]);
  });

  it('keeps what is written, up to 128 bytes; C and D are read-only', () => {
    const { read, write } = clockChip();
    write(0x7f, 0xa5);
    write(0xff, 0x5a);
    write(0x0d, 0x00);
    write(0x0c, 0xff);
    expect([read(0x7f), read(0x0d), read(0x0c)]).toEqual([0x5a, 0x80, 0]);
  });

  it('bit 7 of the index masks NMI, and the index cannot be read', () => {
    const { rtc, nmi } = clockChip();
    rtc.writePort(0, 1, 0x8f);
    rtc.writePort(0, 1, 0x0f);
    expect([nmi, rtc.readPort(0)]).toEqual([[true, false], 0xff]);
  });
});

describe('save and restore', () => {
  type Step = { kind: 'read' | 'write' | 'time'; register: number; value: number };
  const steps = fc.array(
    fc.record<Step>({ kind: fc.constantFrom('read', 'write', 'time'), register: fc.nat(13), value: fc.nat(255) }),
    { maxLength: 25 },
  );
  const apply = ({ clock, read, write }: ReturnType<typeof clockChip>, { kind, register, value }: Step) => {
    if (kind === 'write') write(register, value);
    if (kind === 'time') clock.advance(value * 37_000_000);
    return kind === 'read' ? read(register) : 0;
  };

  it('a restored clock goes on as the saved one, and restoring drives nothing', () => {
    fc.assert(
      fc.property(steps, steps, (before, after) => {
        const original = clockChip();
        for (const next of before) apply(original, next);
        const copy = clockChip();
        copy.clock.advance(original.clock.nowNs());
        copy.rtc.restoreState(JSON.parse(JSON.stringify(original.rtc.saveState())));
        expect(copy.edges).toEqual([]);
        original.edges.length = 0;
        for (const next of after) expect(apply(copy, next)).toBe(apply(original, next));
        expect(copy.edges).toEqual(original.edges);
        expect(copy.rtc.saveState()).toEqual(original.rtc.saveState());
      }),
    );
  });
});
