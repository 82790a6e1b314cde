import type { ConsolePort, Devices, GuestMemory, VirtioDevice, VirtioSignals } from '@polyvisor/plugin-api';
import { bareDevice } from './bare.ts';
import { VirtioBlock } from './block/block.ts';
import { VirtioConsole } from './console/console.ts';
import { VirtioEntropy } from './entropy/entropy.ts';
import type { VirtioModel } from './model.ts';
import { VirtioNet } from './net/net.ts';
import { VirtioNinep } from './ninep/ninep.ts';

/** A model for each of the machine's devices, in the order in which they are plugged in. */
export function virtioModels(devices: Devices, blockHeaderBytes?: number): VirtioModel[] {
  return [
    ...devices.disks.map((disk) => new VirtioBlock(disk, blockHeaderBytes)),
    ...devices.nics.map((nic) => new VirtioNet(nic)),
    ...devices.shares.map((share) => new VirtioNinep(share)),
    ...(devices.entropy === undefined ? [] : [new VirtioEntropy(devices.entropy)]),
  ];
}

/** The same for a bus of somebody else's; the console first. */
export function virtioModelsInOrder(devices: Devices, console: ConsolePort, blockHeaderBytes?: number): VirtioModel[] {
  return [new VirtioConsole(console), ...virtioModels(devices, blockHeaderBytes)];
}

/** These without registers. */
export function bareDevices(
  devices: Devices,
  console: ConsolePort,
  surroundings: { readonly memory: GuestMemory; readonly signals: VirtioSignals; log(message: string): void },
): VirtioDevice[] {
  const models = virtioModelsInOrder(devices, console, surroundings.signals.blockHeaderBytes);
  return models.map((model, index) => bareDevice(model, index, surroundings));
}
