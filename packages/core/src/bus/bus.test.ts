import { PolyvisorError } from '@polyvisor/plugin-api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { MmioDevice, PortDevice } from './device.ts';
import { MmioBus } from './mmio-bus.ts';
import { PortBus } from './port-bus.ts';
import { SharedLine } from './shared-line.ts';

/** Remembers its bytes, and each cycle as `offset/size`. */
class Ram implements PortDevice, MmioDevice {
  readonly cycles: string[] = [];
  readonly view = new DataView(new ArrayBuffer(64));
  readonly cycleBytes: 1 | 2 | 4;
  constructor(cycleBytes: 1 | 2 | 4 = 4) {
    this.cycleBytes = cycleBytes;
  }
  readPort(offset: number, sizeBytes: number): number {
    this.cycles.push(`${offset}/${sizeBytes}`);
    let value = 0;
    for (let i = 0; i < sizeBytes; i++) value += this.view.getUint8(offset + i) * 256 ** i;
    return value;
  }
  writePort(offset: number, sizeBytes: number, value: number): void {
    this.cycles.push(`${offset}/${sizeBytes}`);
    for (let i = 0; i < sizeBytes; i++) this.view.setUint8(offset + i, Math.floor(value / 256 ** i) & 0xff);
  }
  readMmio(offset: number, sizeBytes: number): number {
    return this.readPort(offset, sizeBytes);
  }
  writeMmio(offset: number, sizeBytes: number, value: number): void {
    this.writePort(offset, sizeBytes, value);
  }
}

const hex = (value: number) => `0x${value.toString(16)}`;

describe('a range', () => {
  it('is refused when it overlaps another: both claimants are named', () => {
    const bus = new PortBus();
    bus.claim('uart', 0x3f8, 8, new Ram());
    for (const [first, count] of [
      [0x3ff, 1],
      [0x3f0, 9],
      [0x3f0, 32],
    ]) {
      const said = `${hex(first)} to ${hex(first + count - 1)} of other overlap 0x3f8 to 0x3ff of uart`;
      expect(() => bus.claim('other', first, count, new Ram())).toThrow(`ports ${said}`);
    }
    bus.claim('before', 0x3f0, 8, new Ram());
    bus.claim('behind', 0x400, 8, new Ram());
  });

  it('has one owner, whatever is claimed in whatever order', () => {
    const claims = fc.array(
      fc.record({ first: fc.integer({ min: 0, max: 300 }), count: fc.integer({ min: 1, max: 20 }) }),
    );
    fc.assert(
      fc.property(claims, (wanted) => {
        const bus = new PortBus();
        const owners = new Map<number, number>();
        wanted.forEach(({ first, count }, id) => {
          const ports = Array.from({ length: count }, (_, i) => first + i);
          const isFree = ports.every((port) => !owners.has(port));
          const device = { cycleBytes: 1 as const, readPort: () => id & 0xff, writePort: () => {} };
          const claim = () => bus.claim(`device ${id}`, first, count, device);
          if (!isFree) return void expect(claim).toThrow(PolyvisorError);
          claim();
          for (const port of ports) owners.set(port, id & 0xff);
        });
        const answers = Array.from({ length: 330 }, (_, port) => bus.read(port, 1));
        expect(answers).toEqual(answers.map((_, port) => owners.get(port) ?? 0xff));
      }),
    );
  });
});

describe('the port bus', () => {
  it('splits accesses into the cycles that a device knows', () => {
    const bus = new PortBus();
    const [byte, word] = [new Ram(1), new Ram(4)];
    bus.claim('bytes', 0x100, 16, byte);
    bus.claim('words', 0x200, 16, word);
    bus.write(0x100, 4, 0x44332211);
    expect(byte.cycles).toEqual(['0/1', '1/1', '2/1', '3/1']);
    expect(bus.read(0x101, 2)).toBe(0x3322);
    bus.write(0x201, 4, 0x88776655);
    expect(word.cycles).toEqual(['1/1', '2/2', '4/1']);
    expect(bus.read(0x200, 4)).toBe(0x77665500);
  });

  it('hands each byte of an access across two devices to its own', () => {
    const bus = new PortBus();
    const [low, high] = [new Ram(1), new Ram(1)];
    bus.claim('low', 0x70, 1, low);
    bus.claim('high', 0x71, 1, high);
    bus.write(0x70, 2, 0xbbaa);
    expect([low.view.getUint8(0), high.view.getUint8(0)]).toEqual([0xaa, 0xbb]);
    expect(bus.read(0x70, 4)).toBe(0xffffbbaa);
  });

  it('answers all ones where nobody is, and tells it once', () => {
    const told: string[] = [];
    const bus = new PortBus((message) => told.push(message));
    for (let i = 0; i < 3; i++) {
      expect([bus.read(0x80, 1), bus.read(0x84, 2), bus.read(0x88, 4)]).toEqual([0xff, 0xffff, 0xffffffff]);
      bus.write(0x80, 1, 1);
    }
    expect(told).toEqual(
      ['read of port 0x80', 'read of port 0x84', 'read of port 0x88', 'write to port 0x80'].map(
        (what) => `${what}: nothing is there`,
      ),
    );
  });

  it('does not let a guest that probes everything fill the log', () => {
    let told = 0;
    const bus = new PortBus(() => told++);
    for (let port = 0; port < 0x10000; port++) bus.read(port, 1);
    expect(told).toBe(256);
  });

  it('asks the subtractive bus for what nobody claims', () => {
    const bus = new PortBus();
    const written: number[][] = [];
    bus.claim('fixed', 0xc000, 4, new Ram());
    bus.subtractive = {
      readPort: (port, sizeBytes) => (port === 0xc010 ? sizeBytes : undefined),
      writePort: (...access) => written.push(access) > 0,
    };
    expect([bus.read(0xc010, 4), bus.read(0xc000, 4), bus.read(0xc020, 1)]).toEqual([4, 0, 0xff]);
    bus.write(0xc010, 2, 7);
    expect(written).toEqual([[0xc010, 2, 7]]);
  });
});

describe('the memory bus', () => {
  const bytes = (...values: number[]) => Uint8Array.from(values);

  it('reads back what was written, by pieces that a device knows', () => {
    const bus = new MmioBus();
    const device = new Ram();
    bus.claim('device', 0xfec00000, 64, device);
    bus.write(0xfec00001, bytes(1, 2, 3, 4, 5, 6, 7, 8));
    expect(device.cycles).toEqual(['1/1', '2/2', '4/4', '8/1']);
    const into = new Uint8Array(8);
    bus.read(0xfec00001, into);
    expect([...into]).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });

  it('keeps 8 aligned bytes together for a device with such registers', () => {
    const bus = new MmioBus();
    let register = 0n;
    const device: MmioDevice = {
      readMmio: () => 0,
      writeMmio: () => {},
      readMmio64: () => register,
      writeMmio64: (_offset, value) => {
        register = value;
      },
    };
    bus.claim('wide', 0x1000, 16, device);
    bus.write(0x1008, bytes(8, 7, 6, 5, 4, 3, 2, 1));
    const into = new Uint8Array(8);
    bus.read(0x1008, into);
    expect([register, ...into]).toEqual([0x0102030405060708n, 8, 7, 6, 5, 4, 3, 2, 1]);
  });

  it('answers all ones where nobody is, and across the end of a device', () => {
    const bus = new MmioBus();
    bus.claim('device', 0x1000, 16, new Ram());
    for (const gpa of [0x2000, 0x100e]) {
      const into = new Uint8Array(4);
      bus.read(gpa, into);
      expect([...into]).toEqual([255, 255, 255, 255]);
    }
  });
});

it('a shared wire is asserted while one source asserts it', () => {
  const levels: boolean[] = [];
  const line = new SharedLine({ set: (asserted) => levels.push(asserted) });
  const [a, b] = [line.source(), line.source()];
  a.set(true);
  b.set(true);
  a.set(true);
  a.set(false);
  b.set(false);
  expect(levels).toEqual([true, true, true, true, false]);
});

it('a strobe is a rising edge, whatever a source drives', () => {
  const levels: boolean[] = [];
  const line = new SharedLine({ set: (asserted) => levels.push(asserted) });
  const source = line.source();
  source.set(true);
  line.strobe();
  line.strobe();
  expect(levels).toEqual([true, false, true, false, true]);
  source.set(false);
  source.set(true);
  expect(levels.slice(5)).toEqual([false, true]);
});
