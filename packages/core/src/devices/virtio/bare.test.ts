/** Virtio devices for a bus of a plug-in's own. */
import { type Devices, NO_DEVICES } from '@polyvisor/plugin-api';
import { FakeConsole, FakeMemory } from '@polyvisor/testkit';
import { describe, expect, it } from 'vitest';
import { bareDevices } from './index.ts';
import { legacyLayout } from './virtqueue.ts';

const RINGS = 0x4000;
const TEXT = 0x2_0000;

function console(devices: Devices = NO_DEVICES) {
  const memory = new FakeMemory(1 << 20);
  const port = new FakeConsole();
  const signals: string[] = [];
  const all = bareDevices(devices, port, {
    memory,
    signals: {
      queue: (device, queue) => signals.push(`queue ${device}.${queue}`),
      config: (device) => signals.push(`config ${device}`),
    },
    log: () => {},
  });
  const offer = (gpa: number, text: string, count = 1) => {
    const { descriptors, available } = legacyLayout(RINGS, all[0].queueSizes[1]);
    memory.writeBytes(gpa, new TextEncoder().encode(text));
    memory.write64(descriptors, BigInt(gpa));
    memory.write32(descriptors + 8, text.length);
    memory.write16(available + 2, memory.read16(available + 2) + count);
  };
  return { memory, port, signals, all, device: all[0], offer };
}

describe('a bare device', () => {
  it('has the rings where the plug-in says, from the start on', () => {
    const { device, offer, port, signals } = console();
    expect([device.type, device.name, device.features & (1 << 28)]).toEqual([3, 'virtio-console', 1 << 28]);
    device.placeQueue(1, RINGS);
    offer(TEXT, 'early');
    device.notify(1);
    expect(port.output).toBe('');
    device.start(0);
    expect(port.output).toBe('early');
    offer(TEXT, 'later');
    device.notify(1);
    expect(port.output).toBe('earlylater');
    expect(signals).toEqual(['queue 0.1', 'queue 0.1']);
  });

  it('that the guest breaks waits to be reset', () => {
    const { device, offer, port, signals } = console();
    device.placeQueue(1, RINGS);
    device.start(0);
    offer(TEXT, 'x', 1000);
    device.notify(1);
    expect([device.needsReset, signals, port.output]).toEqual([true, ['config 0'], '']);
    device.reset();
    expect(device.needsReset).toBe(false);
  });

  it('comes after the console in the order of the others', () => {
    const entropy = { fill: (into: Uint8Array) => into.fill(1) };
    expect(console({ ...NO_DEVICES, entropy }).all.map(({ type }) => type)).toEqual([3, 4]);
  });
});
