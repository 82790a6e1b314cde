import type { GuestMemory, VirtioDevice, VirtioSignals } from '@polyvisor/plugin-api';
import { VirtioCore } from './core.ts';
import type { VirtioModel } from './model.ts';
import { DeviceStatus } from './spec.ts';
import { legacyLayout } from './virtqueue.ts';

const READY = DeviceStatus.ACKNOWLEDGE | DeviceStatus.DRIVER | DeviceStatus.DRIVER_OK;

/** A device without registers, for whoever has a bus for it. */
export function bareDevice(
  model: VirtioModel,
  index: number,
  surroundings: { readonly memory: GuestMemory; readonly signals: VirtioSignals; log(message: string): void },
): VirtioDevice {
  const { memory, signals, log } = surroundings;
  const core = new VirtioCore(model, memory, {
    queueSignal: (queue) => signals.queue(index, queue),
    configSignal: () => signals.config(index),
    log,
  });
  return {
    name: model.name,
    type: model.type,
    features: Number(BigInt.asUintN(32, core.offeredFeatures)),
    queueSizes: model.queueSizes,
    get config() {
      return model.config;
    },
    get needsReset() {
      return (core.status & DeviceStatus.NEEDS_RESET) !== 0;
    },
    placeQueue(queue, gpa) {
      Object.assign(core.queues[queue], legacyLayout(gpa, model.queueSizes[queue]), { enabled: true });
    },
    start(features) {
      core.acceptedFeatures = BigInt(features >>> 0);
      core.status = READY;
    },
    reset() {
      core.status = 0;
    },
    notify: (queue) => core.notify(queue),
  };
}
