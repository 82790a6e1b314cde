import type { HostHooks } from '@polyvisor/plugin-api';

interface HookRow {
  /** The tapable class that carries it. */
  readonly type: 'SyncHook' | 'SyncBailHook' | 'HookMap of SyncBailHook';
  readonly kind: 'every tap is called' | 'the first answer decides' | 'every tap of this one plug-in is called';
  readonly when: string;
  readonly previous: string;
  readonly next: string;
  /** What happens to a tap made after the hook has been called. */
  readonly late: string;
}

/** Every hook of the host; docs/plugin-authoring.md shows it to authors. */
export const hookTable: Readonly<Record<keyof HostHooks, HookRow>> = {
  findEntries: {
    type: 'SyncHook',
    kind: 'every tap is called',
    when: 'an image has been recognised and its doors are wanted',
    previous: 'none',
    next: 'configure',
    late: 'replayed: shown every image that has been searched; its doors are in later answers',
  },
  configure: {
    type: 'SyncHook',
    kind: 'every tap is called',
    when: 'the door is chosen and no memory has been allocated',
    previous: 'findEntries',
    next: 'vcpuCreate',
    late: 'refused: the platform is fixed once memory has been allocated',
  },
  boot: {
    type: 'SyncBailHook',
    kind: 'the first answer decides',
    when: 'the machine is built; `true` means that the image is placed and vCPU 0 has its registers',
    previous: 'vcpuCreate',
    next: 'vcpuSwitch, beforeEntry',
    late: 'refused once the guest has been started',
  },
  vcpuCreate: {
    type: 'SyncHook',
    kind: 'every tap is called',
    when: 'a vCPU has been made and has executed nothing',
    previous: 'configure',
    next: 'boot',
    late: 'replayed: called for every vCPU that lives',
  },
  vcpuSwitch: {
    type: 'SyncHook',
    kind: 'every tap is called',
    when: 'the engine turns to another vCPU',
    previous: 'boot, exit',
    next: 'beforeEntry',
    late: 'replayed: called with (undefined, the vCPU that runs)',
  },
  vcpuTerminate: {
    type: 'SyncHook',
    kind: 'every tap is called',
    when: 'a vCPU will not run again',
    previous: 'exit',
    next: 'shutdown',
    late: 'nothing to replay: a vCPU that has ended is not shown to a late vcpuCreate either',
  },
  exit: {
    type: 'HookMap of SyncBailHook',
    kind: 'the first answer decides',
    when: 'guest code stopped with an exit of this kind; an answer other than `pass` decides',
    previous: 'beforeEntry',
    next: 'common handler and native behaviour (all passed), then beforeEntry',
    late: 'nothing to replay: asked from the next exit on',
  },
  beforeEntry: {
    type: 'SyncHook',
    kind: 'every tap is called',
    when: 'a runnable vCPU is about to enter guest code',
    previous: 'vcpuSwitch, exit',
    next: 'guest code, then exit',
    late: 'nothing to replay: called before the next entry',
  },
  requestPoweroff: {
    type: 'SyncBailHook',
    kind: 'the first answer decides',
    when: 'the operator wants the guest to power off by itself; `true` means that it has been asked',
    previous: 'beforeEntry',
    next: 'exit, beforeEntry',
    late: 'nothing to replay: asked at the next request',
  },
  shutdown: {
    type: 'SyncHook',
    kind: 'every tap is called',
    when: 'the guest has ended; nothing of it runs any more',
    previous: 'vcpuTerminate',
    next: 'none',
    late: 'replayed: called with the reason at once',
  },
  inUse: {
    type: 'SyncHook',
    kind: 'every tap of this one plug-in is called',
    when: 'somebody wants to know what the guest uses of the plug-in, or wants it removed',
    previous: 'boot',
    next: 'removed, if nothing is in use',
    late: 'nothing to replay: asked at the next request',
  },
  removed: {
    type: 'SyncHook',
    kind: 'every tap of this one plug-in is called',
    when: 'the plug-in has been removed and none of its other taps is called any more',
    previous: 'inUse',
    next: 'none',
    late: 'nothing to replay: a plug-in that has been removed cannot tap',
  },
};
