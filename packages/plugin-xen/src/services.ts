import { consoleIo, HypervisorLog } from './console/consoleIo.ts';
import { GuestConsole } from './console/guestConsole.ts';
import { DeviceBus } from './devices/deviceBus.ts';
import type { DomainServices, XenDomain, XenVcpu } from './domain.ts';
import { eventChannelOp, eventChannelOpCompat } from './events/eventChannelOp.ts';
import { EventChannels } from './events/eventChannels.ts';
import { GrantTable } from './grant/grantTable.ts';
import { grantTableOp } from './grant/grantTableOp.ts';
import { multicall } from './hypercall/multicall.ts';
import { HypercallNumber } from './hypercall/table.ts';
import { registerUnprivileged } from './hypercall/unprivileged.ts';
import { Blocking } from './sched/blocking.ts';
import { Runstate, Runstates } from './sched/runstate.ts';
import { schedOp, schedOpCompat } from './sched/schedOp.ts';
import { Shutdown } from './sched/shutdown.ts';
import { takeDown, vcpuOp } from './sched/vcpuOp.ts';
import { Watchdogs } from './sched/watchdogs.ts';
import { GuestTime } from './time/guestTime.ts';
import { setTimerOp, VcpuTimers } from './time/vcpuTimers.ts';
import { xenVersion } from './version/xenVersion.ts';
import { StoreDaemon } from './xenstore/storeDaemon.ts';

/** The rooms, joined. */
interface Rooms {
  readonly runstates: Runstates;
  readonly blocking: Blocking;
  readonly events: EventChannels;
  readonly time: GuestTime;
  readonly timers: VcpuTimers;
  readonly shutdown: Shutdown;
  readonly watchdogs: Watchdogs;
  readonly grants: GrantTable;
  readonly storeDaemon: StoreDaemon;
  readonly console: GuestConsole | undefined;
  readonly log: HypervisorLog;
}

/** What the toolstack side of a domain offers beyond what the rest of the plug-in needs. */
export interface XenServices extends DomainServices {
  /** Ask the guest's kernel to shut down (control/shutdown in the store). */
  requestShutdown(kind: 'poweroff' | 'reboot' | 'suspend'): void;
  readonly grants: GrantTable;
  /** How many event channels are open. */
  readonly openChannels: number;
  /** The vCPU waits in HLT. */
  halted(vcpu: XenVcpu): void;
  /** The vCPU is down, as by VCPUOP_down. */
  vcpuDown(vcpu: XenVcpu): void;
  /** shared_info is laid out in another way from now on. */
  rewriteWallclock(): void;
}

export interface ServiceOptions {
  /** `false`: the guest's console is not Xen's. */
  readonly console: boolean;
}

/**
 * Build events, time, scheduling, grants, store, console and version for a domain, and register their hypercalls.
 * Called once, when the domain's vCPUs, frames, memory manager and shared_info exist.
 */
export function createServices(domain: XenDomain, options: ServiceOptions = { console: true }): XenServices {
  const rooms = buildRooms(domain, options);
  registerHypercalls(domain, rooms);
  const { blocking, console, events, grants, log, runstates, storeDaemon, time, timers, watchdogs } = rooms;
  let devices: DeviceBus | undefined;
  return {
    upcallPending: (vcpu) => blocking.upcallPending(vcpu),
    beforeEntry(vcpu) {
      if (!vcpu.cpu.blocked && !vcpu.cpu.offline) runstates.change(vcpu, Runstate.RUNNING);
      timers.beforeEntry(vcpu);
      time.refresh(vcpu);
    },
    allocateStartOfDayPorts: () => ({ storePort: storeDaemon.port, consolePort: console?.port ?? 0 }),
    started({ storeMfn, consoleMfn }) {
      grants.seedReserved(consoleMfn, storeMfn);
      const ring = console && consoleMfn !== undefined ? { mfn: consoleMfn, port: console.port } : undefined;
      storeDaemon.start(storeMfn, ring);
      if (ring) console?.start(ring.mfn);
      devices = new DeviceBus(domain, events, grants, storeDaemon.store);
    },
    stopped() {
      timers.stopAll();
      watchdogs.stopAll();
      devices?.stop();
      console?.drain();
      log.flush();
    },
    requestShutdown: (kind) => storeDaemon.requestShutdown(kind),
    grants,
    get openChannels() {
      return events.open;
    },
    halted: (vcpu) => runstates.change(vcpu, Runstate.BLOCKED),
    vcpuDown: (vcpu) => takeDown(domain, rooms, vcpu),
    rewriteWallclock: () => time.writeWallclock(),
  };
}

function buildRooms(domain: XenDomain, options: ServiceOptions): Rooms {
  const runstates = new Runstates(domain);
  const blocking = new Blocking(domain, runstates);
  const events = new EventChannels(domain, blocking);
  return {
    runstates,
    blocking,
    events,
    time: new GuestTime(domain),
    timers: new VcpuTimers(domain, events),
    shutdown: new Shutdown(domain),
    watchdogs: new Watchdogs(domain),
    grants: new GrantTable(domain),
    // The store's port comes before the console's, as toolstacks allocate them.
    storeDaemon: new StoreDaemon(domain, events),
    console: options.console ? new GuestConsole(domain, events) : undefined,
    log: new HypervisorLog(domain),
  };
}

function registerHypercalls({ hypercalls }: XenDomain, rooms: Rooms): void {
  registerUnprivileged(hypercalls);
  hypercalls.set(HypercallNumber.MULTICALL, multicall);
  hypercalls.set(HypercallNumber.SCHED_OP, schedOp(rooms));
  hypercalls.set(HypercallNumber.SCHED_OP_COMPAT, schedOpCompat(rooms));
  hypercalls.set(HypercallNumber.VCPU_OP, vcpuOp(rooms));
  hypercalls.set(HypercallNumber.SET_TIMER_OP, setTimerOp(rooms.timers));
  hypercalls.set(HypercallNumber.EVENT_CHANNEL_OP, eventChannelOp(rooms.events));
  hypercalls.set(HypercallNumber.EVENT_CHANNEL_OP_COMPAT, eventChannelOpCompat(rooms.events));
  hypercalls.set(HypercallNumber.GRANT_TABLE_OP, grantTableOp(rooms.grants));
  hypercalls.set(HypercallNumber.XEN_VERSION, xenVersion);
  hypercalls.set(HypercallNumber.CONSOLE_IO, consoleIo(rooms.log));
}
