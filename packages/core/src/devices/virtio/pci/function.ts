import type { GuestMemory } from '@polyvisor/plugin-api';
import { PciFunction } from '../../pci/function.ts';
import { VirtioCore } from '../core.ts';
import type { VirtioModel } from '../model.ts';
import { VirtioInterrupts } from './interrupts.ts';
import { LEGACY_BAR_BYTES, LegacyRegisters } from './legacy.ts';
import { MODERN_BAR_BYTES, ModernRegisters, modernCapabilities } from './modern.ts';

/** 4.1.2: the vendor, and device identifiers of transitional devices by type; of others 0x1040 and the type. */
const VENDOR = 0x1af4;
const TRANSITIONAL_IDS: Readonly<Record<number, number>> = { 1: 0x1000, 2: 0x1001, 3: 0x1003, 4: 0x1005, 9: 0x1009 };
const MODERN_ID = 0x1040;
const MODERN_SUBSYSTEM = 0x40;
const Bar = { LEGACY: 0, MSIX: 1, MODERN: 4 } as const;
const INTA = 1;

/** A virtio device as a PCI function: transitional, with MSI-X and INTA. */
export function virtioFunction(model: VirtioModel, memory: GuestMemory, log: (message: string) => void): PciFunction {
  const { core, interrupts, modern } = makeParts(model, memory, log, () => pciFunction);
  const legacy = new LegacyRegisters(core, interrupts, () => pciFunction.usesMsix);
  const pciFunction: PciFunction = new PciFunction({
    name: model.name,
    identity: {
      vendorId: VENDOR,
      deviceId: TRANSITIONAL_IDS[model.type],
      classCode: model.classCode,
      subsystemVendorId: VENDOR,
      // A driver of 0.9.5 looks for the device's type here.
      subsystemId: model.type,
    },
    bars: {
      [Bar.LEGACY]: { kind: 'io', sizeBytes: LEGACY_BAR_BYTES, device: legacy },
      [Bar.MODERN]: { kind: 'memory32', sizeBytes: MODERN_BAR_BYTES, device: modern },
    },
    capabilities: modernCapabilities(Bar.MODERN, model.config.length, modern),
    interruptPin: INTA,
    msix: { vectors: interrupts.vectorCount, bar: Bar.MSIX },
  });
  return pciFunction;
}

/** The same for drivers of Virtio 1.0 and later alone: registers behind BAR 0, INTA, no MSI-X. */
export function modernVirtioFunction(
  model: VirtioModel,
  memory: GuestMemory,
  log: (message: string) => void,
): PciFunction {
  const { modern } = makeParts(model, memory, log, () => pciFunction);
  const pciFunction: PciFunction = new PciFunction({
    name: model.name,
    identity: {
      vendorId: VENDOR,
      deviceId: MODERN_ID + model.type,
      revision: 1,
      classCode: model.classCode,
      subsystemVendorId: VENDOR,
      subsystemId: MODERN_SUBSYSTEM,
    },
    bars: { 0: { kind: 'memory32', sizeBytes: MODERN_BAR_BYTES, device: modern } },
    capabilities: modernCapabilities(0, model.config.length, modern),
    interruptPin: INTA,
  });
  return pciFunction;
}

function makeParts(
  model: VirtioModel,
  memory: GuestMemory,
  log: (message: string) => void,
  owner: () => PciFunction,
): { core: VirtioCore; interrupts: VirtioInterrupts; modern: ModernRegisters } {
  const interrupts = new VirtioInterrupts(model.queueSizes.length, owner);
  const core = new VirtioCore(model, memory, {
    queueSignal: (queue) => interrupts.queueSignal(queue),
    configSignal: () => interrupts.configSignal(),
    log,
  });
  return { core, interrupts, modern: new ModernRegisters(core, interrupts) };
}
