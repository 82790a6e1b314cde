import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import type { MmioDevice, PortDevice } from '../../bus/device.ts';
import { PortBus } from '../../bus/port-bus.ts';
import { ConfigAddressPorts, ConfigDataPorts, PciBus } from './bus.ts';
import { PciFunction, type PciFunctionOptions } from './function.ts';
import { hostBridge } from './host-bridge.ts';

const IDENTITY = {
  vendorId: 0x1af4,
  deviceId: 0x1042,
  revision: 1,
  classCode: 0x018000,
  subsystemVendorId: 0x1af4,
  subsystemId: 2,
};
/** A register that says who it is. */
const memory = (id: number): MmioDevice => ({ readMmio: (offset) => id * 256 + offset, writeMmio: () => {} });
const ports = (id: number): PortDevice => ({
  cycleBytes: 4,
  readPort: (offset) => id * 256 + offset,
  writePort: () => {},
});
const make = (options: Partial<PciFunctionOptions> = {}) =>
  new PciFunction({ name: 'test', identity: IDENTITY, ...options });

let sent: [bigint, number][];
let wires: boolean[];
let bus: PciBus;
beforeEach(() => {
  sent = [];
  wires = [false, false, false, false];
  const lines = wires.map((_, wire) => ({
    set: (asserted: boolean) => {
      wires[wire] = asserted;
    },
  }));
  bus = new PciBus(lines, (address, data) => sent.push([address, data]));
});

describe('configuration mechanism #1', () => {
  let resets: number[];
  let io: PortBus;
  const read = (address: number, sizeBytes = 4) => {
    io.write(0xcf8, 4, (0x80000000 | address) >>> 0);
    return io.read(0xcfc + (address & 3), sizeBytes);
  };
  beforeEach(() => {
    resets = [];
    io = new PortBus();
    const reset = {
      cycleBytes: 1 as const,
      readPort: () => 0x5a,
      writePort: (_o: number, _s: number, v: number) => void resets.push(v),
    };
    const selected = new ConfigAddressPorts(reset);
    io.claim('pci', 0xcf8, 4, selected);
    io.claim('pci', 0xcfc, 4, new ConfigDataPorts(bus, selected));
    bus.plug(hostBridge(), 0);
    bus.plug(make(), 3);
  });

  it('finds functions by device and function, bytes and words in their places', () => {
    expect(read(0x0000)).toBe(0x12378086);
    expect(read(3 << 11)).toBe(0x10421af4);
    expect([read((3 << 11) | 2, 2), read((3 << 11) | 0xa, 1), read((3 << 11) | 0xb, 1)]).toEqual([0x1042, 0x80, 0x01]);
    expect(read((3 << 11) | 0x2c)).toBe(0x00021af4);
  });

  it('answers all ones where nothing is, on other buses and while it is off', () => {
    expect([read(4 << 11), read((3 << 11) | (1 << 8)), read((1 << 16) | (3 << 11))]).toEqual([
      0xffffffff, 0xffffffff, 0xffffffff,
    ]);
    io.write(0xcf8, 4, 3 << 11);
    expect(io.read(0xcfc, 4)).toBe(0xffffffff);
  });

  it('keeps CONFIG_ADDRESS apart from the bytes at its ports', () => {
    io.write(0xcf8, 4, 0xffffffff);
    expect(io.read(0xcf8, 4)).toBe(0x80fffffc);
    io.write(0xcf9, 1, 6);
    expect([resets, io.read(0xcf9, 1), io.read(0xcf8, 4)]).toEqual([[6], 0x5a, 0x80fffffc]);
  });
});

describe('configuration space', () => {
  it('lets only what can be written be written', () => {
    const device = make({ bars: { 0: { kind: 'memory32', sizeBytes: 4096, device: memory(1) } } });
    const before = Array.from({ length: 64 }, (_, i) => device.readConfig(4 * i, 4));
    for (let i = 0; i < 64; i++) device.writeConfig(4 * i, 4, 0xffffffff);
    const changed = before.flatMap((value, i) => {
      const bits = (value ^ device.readConfig(4 * i, 4)) >>> 0;
      return bits ? [[4 * i, bits]] : [];
    });
    expect(changed).toEqual([
      [0x04, 0x0547],
      [0x0c, 0xffff],
      [0x10, 0xfffff000],
      [0x3c, 0xff],
    ]);
  });

  it('sizes BARs as the guest asks for it', () => {
    const device = make({
      bars: {
        0: { kind: 'io', sizeBytes: 64, device: ports(1) },
        1: { kind: 'memory32', sizeBytes: 4096, device: memory(2) },
        4: { kind: 'memory64', sizeBytes: 16384, prefetchable: true, device: memory(3) },
      },
    });
    for (let i = 0; i < 6; i++) device.writeConfig(0x10 + 4 * i, 4, 0xffffffff);
    const sizes = Array.from({ length: 6 }, (_, i) => device.readConfig(0x10 + 4 * i, 4));
    expect(sizes).toEqual([0xffffffc1, 0xfffff000, 0, 0, 0xffffc00c, 0xffffffff]);
  });

  it('chains its capabilities and tells a capability of accesses to it', () => {
    const seen: string[] = [];
    const capability = {
      id: 9,
      body: Uint8Array.of(1, 2, 3, 4, 5, 6),
      writable: Uint8Array.of(0, 0, 0xff, 0, 0, 0),
      beforeRead: (offset: number, sizeBytes: number) => void seen.push(`read ${offset}/${sizeBytes}`),
      afterWrite: (offset: number, sizeBytes: number) => void seen.push(`write ${offset}/${sizeBytes}`),
    };
    const device = make({
      capabilities: [capability, { id: 9, body: Uint8Array.of(7) }],
      msi: 4,
      msix: { vectors: 3, bar: 1 },
    });
    expect(device.readConfig(6, 2) & 0x10).toBe(0x10);
    const ids: number[] = [];
    for (let at = device.readConfig(0x34, 1); at !== 0; at = device.readConfig(at + 1, 1))
      ids.push(device.readConfig(at, 1));
    expect(ids).toEqual([9, 9, 5, 0x11]);
    const at = device.readConfig(0x34, 1);
    seen.length = 0;
    device.writeConfig(at + 4, 4, 0xaabbccdd);
    expect(device.readConfig(at + 4, 4)).toBe(0x060504dd);
    expect(seen).toEqual(['write 4/4', 'read 4/4']);
  });

  it.each<[string, Partial<PciFunctionOptions>]>([
    ['a size that is no power of two', { bars: { 0: { kind: 'memory32', sizeBytes: 100, device: memory(0) } } }],
    ['a 64-bit BAR at the end', { bars: { 5: { kind: 'memory64', sizeBytes: 64, device: memory(0) } } }],
    [
      'MSI-X over another BAR',
      { bars: { 1: { kind: 'io', sizeBytes: 8, device: ports(0) } }, msix: { vectors: 1, bar: 1 } },
    ],
    ['too many vectors', { msix: { vectors: 129, bar: 1 } }],
    ['capabilities beyond 256 bytes', { capabilities: [{ id: 9, body: new Uint8Array(192) }] }],
  ])('refuses %s', (_name, options) => {
    expect(() => make(options)).toThrow(RangeError);
  });
});

describe('base address registers', () => {
  const bars = {
    0: { kind: 'io' as const, sizeBytes: 32, device: ports(1) },
    2: { kind: 'memory64' as const, sizeBytes: 4096, device: memory(2) },
  };
  const WINDOWS = { memory: { first: 0xe0000000, sizeBytes: 0x10000 }, ports: { first: 0xc000, sizeBytes: 0x1000 } };
  const readMemory = (gpa: number) => {
    const into = new Uint8Array(4);
    return bus.readMemory(gpa, into) ? new DataView(into.buffer).getUint32(0, true) : undefined;
  };

  it('get addresses from firmware, and decode there', () => {
    const [first, second] = [make({ bars, interruptPin: 1 }), make({ bars, interruptPin: 1 })];
    bus.plug(first);
    bus.plug(second);
    bus.assignResources(WINDOWS, [10, 11, 10, 11]);
    expect(
      [first, second].map((device) => [device.barAddress(0), device.barAddress(2), device.readConfig(0x3c, 1)]),
    ).toEqual([
      [0xc000, 0xe0000000, 10],
      [0xc020, 0xe0001000, 11],
    ]);
    expect([bus.readPort(0xc024, 4), readMemory(0xe0001008), bus.readPort(0xc040, 4), readMemory(0xe0002000)]).toEqual([
      0x104,
      0x208,
      undefined,
      undefined,
    ]);
  });

  it('decode only while the command register says so, wherever the guest puts them, above 4 GiB too', () => {
    const device = make({ bars });
    bus.plug(device);
    bus.assignResources(WINDOWS, [10, 11, 10, 11]);
    device.writeConfig(4, 2, 1);
    expect([bus.readPort(0xc000, 4), readMemory(0xe0000000)]).toEqual([0x100, undefined]);
    device.writeConfig(4, 2, 2);
    device.writeConfig(0x1c, 4, 0x12);
    expect([bus.readPort(0xc000, 4), readMemory(0x12e0000010)]).toEqual([undefined, 0x210]);
    expect(device.busMaster).toBe(false);
  });

  it('are refused a window that is too small', () => {
    bus.plug(make({ bars: { 0: { kind: 'memory32', sizeBytes: 0x20000, device: memory(1) } } }));
    expect(() => bus.assignResources(WINDOWS, [])).toThrow(RangeError);
  });
});

describe('INTx', () => {
  it('leads through the wire of slot and pin, shared with others, and status and command govern it', () => {
    const [a, b] = [make({ interruptPin: 1 }), make({ interruptPin: 2 })];
    bus.plug(a, 2);
    bus.plug(b, 5);
    expect(wires.indexOf(true)).toBe(-1);
    a.setPin(true);
    b.setPin(true);
    expect(wires).toEqual([false, false, true, false]);
    a.setPin(false);
    expect([wires[2], a.readConfig(6, 2) & 8, b.readConfig(6, 2) & 8]).toEqual([true, 0, 8]);
    b.writeConfig(4, 2, 0x400);
    expect([wires[2], b.readConfig(6, 2) & 8]).toEqual([false, 8]);
    b.writeConfig(4, 2, 0);
    expect(wires[2]).toBe(true);
  });
});

describe('MSI', () => {
  it('sends address and data, with the vector in the bits that the guest has enabled', () => {
    const device = make({ msi: 8 });
    bus.plug(device);
    const at = device.readConfig(0x34, 1);
    device.raiseMessage(0);
    device.writeConfig(at + 4, 4, 0xfee01003);
    device.writeConfig(at + 8, 4, 0x1);
    device.writeConfig(at + 12, 2, 0x40);
    device.writeConfig(at + 2, 2, 0x21);
    for (const vector of [0, 3, 5]) device.raiseMessage(vector);
    expect(sent).toEqual([0x40, 0x43, 0x41].map((data) => [0x1fee01000n, data]));
    expect(device.usesMessages).toBe(true);
  });
});

describe('MSI-X', () => {
  const VECTORS = 5;
  let device: PciFunction;
  let capability: number;
  const table = (offset: number, value: number) => {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    bus.writeMemory(0xe0000000 + offset, bytes);
  };
  const pending = () => {
    const into = new Uint8Array(8);
    bus.readMemory(0xe0000800, into);
    return into[0];
  };
  const control = (value: number) => device.writeConfig(capability + 2, 2, value);
  beforeEach(() => {
    device = make({ msix: { vectors: VECTORS, bar: 1 } });
    bus.plug(device);
    bus.assignResources({ memory: { first: 0xe0000000, sizeBytes: 4096 }, ports: { first: 0, sizeBytes: 0 } }, []);
    capability = device.readConfig(0x34, 1);
    for (let vector = 0; vector < VECTORS; vector++) {
      table(vector * 16, 0xfee00000 + (vector << 12));
      table(vector * 16 + 8, 0x30 + vector);
    }
  });

  it('is told where its table and its pending bits are', () => {
    expect([
      device.readConfig(capability + 2, 2),
      device.readConfig(capability + 4, 4),
      device.readConfig(capability + 8, 4),
    ]).toEqual([VECTORS - 1, 1, 0x801]);
  });

  it('keeps what is masked pending, and sends it when it no longer is', () => {
    control(0x8000);
    device.raiseMessage(1);
    device.raiseMessage(1);
    device.raiseMessage(4);
    device.raiseMessage(VECTORS);
    expect([sent, pending()]).toEqual([[], 0b10010]);
    table(1 * 16 + 12, 0);
    expect([sent, pending()]).toEqual([[[0xfee01000n, 0x31]], 0b10000]);
    control(0xc000);
    table(4 * 16 + 12, 0);
    expect(pending()).toBe(0b10000);
    control(0x8000);
    expect([sent[1], pending()]).toEqual([[0xfee04000n, 0x34], 0]);
  });

  it('sends nothing while it is off', () => {
    table(12, 0);
    device.raiseMessage(0);
    control(0x8000);
    expect([sent, device.usesMsix]).toEqual([[], true]);
    device.raiseMessage(0);
    expect(sent).toEqual([[0xfee00000n, 0x30]]);
  });
});

it('survives whatever a guest writes into configuration space', () => {
  const access = fc.record({
    offset: fc.integer({ min: 0, max: 63 }).map((word) => word * 4),
    value: fc.integer({ min: 0, max: 0xffffffff }),
  });
  fc.assert(
    fc.property(fc.array(access, { maxLength: 40 }), (writes) => {
      const device = make({
        bars: {
          0: { kind: 'io', sizeBytes: 32, device: ports(1) },
          4: { kind: 'memory64', sizeBytes: 4096, device: memory(2) },
        },
        msi: 2,
        msix: { vectors: 2, bar: 1 },
        interruptPin: 1,
      });
      bus.plug(device);
      for (const { offset, value } of writes) device.writeConfig(offset, 4, value);
      device.raiseMessage(1);
      device.setPin(true);
      bus.readPort(0xc000, 4);
      bus.readMemory(0xe0000000, new Uint8Array(8));
      expect(device.readConfig(0, 4)).toBe(0x10421af4);
      bus = new PciBus(
        wires.map(() => ({ set: () => {} })),
        () => {},
      );
    }),
    { numRuns: 50 },
  );
});
