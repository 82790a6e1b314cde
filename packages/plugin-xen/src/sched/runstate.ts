import { copyToGuestKernel } from '../access.ts';
import type { XenDomain, XenVcpu } from '../domain.ts';

/** RUNSTATE_* (public/vcpu.h). */
export const Runstate = { RUNNING: 0, RUNNABLE: 1, BLOCKED: 2, OFFLINE: 3 } as const;

/** struct vcpu_runstate_info, 64-bit: state 4 (+4 padding), state_entry_time 8, time[4]. */
export const RUNSTATE_INFO_BYTES = 48;

/** VMASST_TYPE_runstate_update_flag (public/xen.h). */
const ASSIST_RUNSTATE_UPDATE_FLAG = 1 << 5;
/** XEN_RUNSTATE_UPDATE: set in state_entry_time while the area is being written. */
const UPDATE_FLAG = 1n << 63n;

interface State {
  state: number;
  sinceNs: number;
  readonly spentNs: [number, number, number, number];
  areaGva: bigint | undefined;
}

/**
 * How long each vCPU has been running, runnable, blocked and offline, and the guest's copies of it.
 * Times are system time in ns (public/vcpu.h, VCPUOP_get_runstate_info).
 */
export class Runstates {
  readonly #domain: XenDomain;
  readonly #states: State[];
  readonly #image = new Uint8Array(RUNSTATE_INFO_BYTES);
  readonly #view = new DataView(this.#image.buffer);

  constructor(domain: XenDomain) {
    this.#domain = domain;
    const sinceNs = domain.clock.nowNs();
    this.#states = domain.vcpus.map((vcpu) => ({
      // The first vCPU starts with the domain; the others when the guest brings them up.
      state: vcpu.id === 0 ? Runstate.RUNNABLE : Runstate.OFFLINE,
      sinceNs,
      spentNs: [0, 0, 0, 0],
      areaGva: undefined,
    }));
  }

  stateOf(vcpu: XenVcpu): number {
    return this.#states[vcpu.id].state;
  }

  /** A vCPU changed state; its area is written when it next runs, which is the first time it can look. */
  change(vcpu: XenVcpu, state: number): void {
    const record = this.#states[vcpu.id];
    if (record.state === state) return;
    const nowNs = this.#domain.clock.nowNs();
    record.spentNs[record.state] += nowNs - record.sinceNs;
    record.state = state;
    record.sinceNs = nowNs;
    if (state === Runstate.RUNNING && record.areaGva !== undefined) this.#writeArea(vcpu, record.areaGva);
  }

  /** VCPUOP_register_runstate_memory_area; null takes the area away. */
  register(vcpu: XenVcpu, gva: bigint): void {
    const record = this.#states[vcpu.id];
    record.areaGva = gva === 0n ? undefined : gva;
    if (record.areaGva !== undefined) this.#writeArea(vcpu, record.areaGva);
  }

  /** struct vcpu_runstate_info as of now; valid until the next call. */
  image(vcpu: XenVcpu): Uint8Array {
    const record = this.#states[vcpu.id];
    const nowNs = this.#domain.clock.nowNs();
    this.#view.setUint32(0, record.state, true);
    this.#view.setUint32(4, 0, true);
    this.#view.setBigUint64(8, BigInt(Math.trunc(record.sinceNs)), true);
    for (let i = 0; i < 4; i++) {
      const running = i === record.state ? nowNs - record.sinceNs : 0;
      this.#view.setBigUint64(16 + i * 8, BigInt(Math.trunc(record.spentNs[i] + running)), true);
    }
    return this.#image;
  }

  #writeArea(vcpu: XenVcpu, gva: bigint): void {
    const image = this.image(vcpu);
    if ((this.#domain.vmAssist & ASSIST_RUNSTATE_UPDATE_FLAG) !== 0) {
      // Readers on other vCPUs retry while the flag is up.
      const entryTime = this.#view.getBigUint64(8, true);
      this.#view.setBigUint64(8, entryTime | UPDATE_FLAG, true);
      copyToGuestKernel(vcpu, gva, image);
      this.#view.setBigUint64(8, entryTime, true);
    }
    copyToGuestKernel(vcpu, gva, image);
  }
}
