/** What plug-ins take of a machine keeps them from being removed. */
import type { PciDevice, Plugin, Machine as PluginMachine, PortDevice } from '@polyvisor/plugin-api';
import { describe, expect, it } from 'vitest';
import { PluginRegistry } from '../plugin/index.ts';
import { Machine } from './machine.ts';
import { machineOptions } from './testing/test-guest.ts';

const port: PortDevice = { cycleBytes: 1, readPort: () => 0, writePort() {} };
const pci: PciDevice = { name: 'a', identity: { vendorId: 1, deviceId: 1, classCode: 0 }, bars: {} };
const signals = { queue() {}, config() {} };
const placement = { interrupt() {}, irqOf: () => 5, firstGpa: 0x1000_0000, sizeBytes: 0x10_0000 };

const taken: [string, (machine: PluginMachine) => void][] = [
  ['its boot descriptor', (machine) => machine.describeBoot({ hypervisor: 'a', guestType: 'b', abiVersion: 0 })],
  ['its devices behind I/O ports', (machine) => machine.claimPorts('a', 0x9000, 1, port)],
  ['its pages above all memory', (machine) => machine.aliasPage(machine.memory.sizeBytes, 0)],
  ['its bus for virtio devices', (machine) => machine.virtioDevices(signals)],
  ['its bus for virtio devices', (machine) => machine.plugVirtio(placement)],
  ['its PCI devices', (machine) => machine.plugPci(pci)],
];

/** A machine with a plug-in that starts the guest, and `a`, which does something with the machine in `boot` or later. */
async function started(act: (machine: PluginMachine) => void, when: 'boot' | 'later') {
  const plugins = new PluginRegistry();
  const manifest = { version: '1.0.0', api: '^1.0' };
  let given: PluginMachine | undefined;
  const a: Plugin = {
    ...manifest,
    name: 'a',
    apply: ({ hooks }) =>
      hooks.boot.tap('a', (_request, machine) => {
        given = machine;
        if (when === 'boot') act(machine);
        return undefined;
      }),
  };
  const door = { name: 'front', abi: 'Some', address: 0n, foundIn: 'test', plugin: 'host', priority: 1 };
  const host: Plugin = {
    ...manifest,
    name: 'host',
    apply({ hooks }) {
      hooks.findEntries.tap('host', () => ({ entries: [door], missing: [] }));
      hooks.configure.tap('host', ({ chips }) => void chips.add('pci'));
      hooks.boot.tap('host', () => true);
    },
  };
  for (const plugin of [a, host]) plugins.load(plugin, { where: 'test' });
  await Machine.create(machineOptions(plugins));
  if (when === 'later') act(given as PluginMachine);
  return plugins;
}

describe('a machine tells what a plug-in has taken', () => {
  it.each(taken)('%s', async (what, act) => {
    expect((await started(act, 'boot')).usesOf('a')).toEqual([what]);
    expect((await started(act, 'later')).usesOf('a')).toEqual([what]);
  });

  it('and of one that only looks, nothing', async () => {
    const plugins = await started((machine) => machine.cpuid(0, 0), 'boot');
    expect(plugins.usesOf('a')).toEqual([]);
    expect(plugins.usesOf('host')).toEqual([
      'its door front (Some)',
      'its changes of the platform',
      'its boot of the image',
    ]);
    plugins.unload('a');
  });
});
