import type { BlockBackend } from '@polyvisor/plugin-api';
import { FakeConsole, FakeMemory } from '@polyvisor/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { MmioDevice, PortDevice } from '../../../bus/device.ts';
import { VirtioBlock } from '../block/block.ts';
import { VirtioConsole } from '../console/console.ts';
import { modernVirtioFunction, virtioFunction } from './function.ts';

const CAPABILITY_VENDOR = 9;
const MSIX = 0x11;
const RING = 0x1_0000;
const NO_VECTOR = 0xffff;

function setup() {
  const memory = new FakeMemory(1 << 20);
  const backend: BlockBackend = {
    name: 'd',
    sizeBytes: 4096,
    readOnly: false,
    read: (_offset, into) => into.fill(7).length > 0,
    write: () => true,
    flush: () => true,
  };
  const pins: boolean[] = [];
  const messages: number[] = [];
  const logged: string[] = [];
  const device = virtioFunction(new VirtioBlock(backend), memory, (message) => logged.push(message));
  device.plugInto({
    setPin: (_pin, asserted) => pins.push(asserted),
    sendMessage: (_address, data) => messages.push(data),
  });
  const modern = device.bars[4]?.device as MmioDevice;
  const legacy = device.bars[0]?.device as PortDevice;
  return { memory, device, modern, legacy, pins, messages, logged };
}
type Setup = ReturnType<typeof setup>;

function capabilities({ device }: Setup): { id: number; at: number }[] {
  const found = [];
  for (let at = device.readConfig(0x34, 1); at !== 0; at = device.readConfig(at + 1, 1)) {
    found.push({ id: device.readConfig(at, 1), at });
  }
  return found;
}

/** One request that reads a sector: header, data, status. */
function prepareRead(
  memory: FakeMemory,
  { descriptors, available }: { descriptors: number; available: number },
): number {
  const data = 0x2_0000;
  const parts = [
    [data, 16, 1],
    [data + 512, 512, 3],
    [data + 2048, 1, 2],
  ];
  parts.forEach(([gpa, sizeBytes, flags], index) => {
    memory.write64(descriptors + index * 16, BigInt(gpa));
    memory.write32(descriptors + index * 16 + 8, sizeBytes);
    memory.write16(descriptors + index * 16 + 12, flags);
    memory.write16(descriptors + index * 16 + 14, index + 1);
  });
  memory.write8(data + 2048, 0xee);
  memory.write16(available + 2, 1);
  return data;
}

describe('a virtio function', () => {
  it('says what it is to drivers of either version', () => {
    const { device } = setup();
    expect([device.readConfig(0, 2), device.readConfig(2, 2), device.readConfig(8, 1)]).toEqual([0x1af4, 0x1001, 0]);
    expect([device.readConfig(0x2c, 2), device.readConfig(0x2e, 2)]).toEqual([0x1af4, 2]);
  });

  it('names its structures in capabilities', () => {
    const made = setup();
    const structures = capabilities(made).filter(({ id }) => id === CAPABILITY_VENDOR);
    const types = structures.map(({ at }) => made.device.readConfig(at + 3, 1));
    expect(types).toEqual([1, 2, 3, 4, 5]);
    for (const { at } of structures) expect(made.device.readConfig(at + 4, 1)).toBe(4);
    expect(made.device.readConfig(structures[1].at + 16, 4)).toBe(4);
    expect(capabilities(made).map(({ id }) => id)).toContain(MSIX);
  });

  it('serves a driver of 1.x, which sees the pin until it reads ISR', () => {
    const { memory, modern, pins } = setup();
    const write = (at: number, sizeBytes: number, value: number) => modern.writeMmio(at, sizeBytes, value);
    write(20, 1, 1 | 2);
    write(0, 4, 1);
    expect(modern.readMmio(4, 4) & 1).toBe(1);
    write(8, 4, 1);
    write(12, 4, 1);
    write(20, 1, 1 | 2 | 8);
    expect(modern.readMmio(20, 1)).toBe(11);
    expect([modern.readMmio(18, 2), modern.readMmio(24, 2), modern.readMmio(0x2000, 4)]).toEqual([1, 256, 8]);
    write(24, 2, 64);
    write(32, 4, RING);
    write(40, 4, RING + 0x1000);
    write(48, 4, RING + 0x2000);
    write(52, 4, 0);
    write(28, 2, 1);
    expect([modern.readMmio(32, 4), modern.readMmio(36, 4), modern.readMmio(28, 2)]).toEqual([RING, 0, 1]);
    write(20, 1, 1 | 2 | 4 | 8);
    const data = prepareRead(memory, { descriptors: RING, available: RING + 0x1000 });
    write(0x3000, 2, 0);
    expect([memory.read8(data + 512), memory.read8(data + 2048), memory.read16(RING + 0x2000 + 2)]).toEqual([7, 0, 1]);
    expect(pins).toEqual([true]);
    expect([modern.readMmio(0x1000, 1), modern.readMmio(0x1000, 1)]).toEqual([1, 0]);
    expect(pins).toEqual([true, false]);
    write(20, 1, 0);
    expect([modern.readMmio(20, 1), modern.readMmio(28, 2), modern.readMmio(24, 2)]).toEqual([0, 0, 256]);
  });

  it('serves a driver of 0.9.5 even before it says DRIVER_OK', () => {
    const { memory, legacy } = setup();
    expect(legacy.readPort(12, 2)).toBe(256);
    expect(legacy.readPort(20, 4)).toBe(8);
    legacy.writePort(18, 1, 1 | 2);
    legacy.writePort(4, 4, 0);
    legacy.writePort(8, 4, RING >> 12);
    expect(legacy.readPort(8, 4)).toBe(RING >> 12);
    const available = RING + 256 * 16;
    const data = prepareRead(memory, { descriptors: RING, available });
    legacy.writePort(16, 2, 0);
    expect([memory.read8(data + 512), memory.read8(data + 2048)]).toEqual([7, 0]);
    expect(memory.read16(RING + 0x2000 + 2)).toBe(1);
    expect([legacy.readPort(19, 1), legacy.readPort(19, 1)]).toEqual([1, 0]);
  });

  it('sends the message of the vector that the driver assigned', () => {
    const made = setup();
    const { device, legacy, memory, messages, pins } = made;
    const control = (capabilities(made).find(({ id }) => id === MSIX)?.at ?? 0) + 2;
    device.writeConfig(control, 2, 0x8000);
    const table = device.bars[1]?.device as MmioDevice;
    table.writeMmio(16 + 8, 4, 0x41);
    table.writeMmio(16 + 12, 4, 0);
    // The device's configuration has moved behind the vectors.
    expect(legacy.readPort(24, 4)).toBe(8);
    legacy.writePort(22, 2, 9);
    expect(legacy.readPort(22, 2)).toBe(NO_VECTOR);
    legacy.writePort(22, 2, 1);
    expect(legacy.readPort(22, 2)).toBe(1);
    legacy.writePort(8, 4, RING >> 12);
    legacy.writePort(18, 1, 7);
    prepareRead(memory, { descriptors: RING, available: RING + 256 * 16 });
    legacy.writePort(16, 2, 0);
    expect([messages, pins]).toEqual([[0x41], []]);
  });

  it('shows its registers through configuration space, to accesses that the BAR takes too', () => {
    const made = setup();
    const { device, modern } = made;
    const at = capabilities(made).filter(({ id }) => id === CAPABILITY_VENDOR)[4].at;
    const access = (bar: number, offset: number, sizeBytes: number) => {
      device.writeConfig(at + 4, 1, bar);
      device.writeConfig(at + 8, 4, offset);
      device.writeConfig(at + 12, 4, sizeBytes);
      return at + 16;
    };
    device.writeConfig(access(4, 20, 1), 4, 0xff03);
    expect(modern.readMmio(20, 1)).toBe(3);
    expect(device.readConfig(access(4, 0x2000, 4), 4)).toBe(8);
    for (const [bar, offset, sizeBytes] of [
      [0, 20, 1],
      [4, 20, 3],
      [4, 22, 4],
      [4, 0x4000, 1],
      [4, 0xffff_fffc, 4],
      [4, 20, 0],
    ]) {
      device.writeConfig(access(bar, offset, sizeBytes), 4, 0x55);
      expect([device.readConfig(at + 16, 4), modern.readMmio(20, 1)]).toEqual([0x55, 3]);
    }
  });

  it('without the interface of 0.9.5: another identity, registers behind BAR 0, a console that prints at once', () => {
    const console = new FakeConsole();
    const device = modernVirtioFunction(new VirtioConsole(console), new FakeMemory(1 << 20), () => {});
    expect([device.readConfig(0, 4), device.readConfig(8, 1), device.readConfig(0x2e, 2)]).toEqual([
      0x1043_1af4, 1, 0x40,
    ]);
    expect(device.bars.map((bar) => bar?.kind)).toEqual(['memory32', ...Array(5).fill(undefined)]);
    const registers = device.bars[0]?.device as MmioDevice;
    registers.writeMmio(0x2008, 4, 'e'.charCodeAt(0));
    registers.writeMmio(0x2004, 4, 'x'.charCodeAt(0));
    registers.writeMmio(0, 4, 0);
    expect([console.output, registers.readMmio(4, 4) & 4]).toEqual(['e', 4]);
  });

  it('takes any write to any register', () => {
    const access = fc.record({
      port: fc.boolean(),
      offset: fc.nat(0x3fff),
      sizeBytes: fc.constantFrom(1, 2, 4),
      value: fc.oneof(fc.nat(16), fc.integer({ min: 0, max: 0xffff_ffff })),
    });
    fc.assert(
      fc.property(fc.array(access, { maxLength: 60 }), (accesses) => {
        const { modern, legacy } = setup();
        for (const { port, offset, sizeBytes, value } of accesses) {
          const limited = 2 ** (8 * sizeBytes) - 1;
          const masked = Math.min(value, limited);
          const at = (port ? offset % 64 : offset % 3 === 0 ? offset : offset % 64) & ~(sizeBytes - 1);
          if (port) legacy.writePort(at, sizeBytes, masked);
          else modern.writeMmio(at, sizeBytes, masked);
          const read = port ? legacy.readPort(at, sizeBytes) : modern.readMmio(at, sizeBytes);
          expect(read).toBeGreaterThanOrEqual(0);
          expect(read).toBeLessThanOrEqual(limited);
        }
      }),
      { numRuns: 200 },
    );
  });
});
