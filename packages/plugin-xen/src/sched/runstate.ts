import { struct, type WordBytes } from '../abi/struct.ts';
import { copyToGuestKernel } from '../access.ts';
import type { XenDomain, XenVcpu } from '../domain.ts';

/** RUNSTATE_* (public/vcpu.h). */
export const Runstate = { RUNNING: 0, RUNNABLE: 1, BLOCKED: 2, OFFLINE: 3 } as const;

/** struct vcpu_runstate_info (public/vcpu.h). */
const RunstateInfo = struct({ state: 'u32', entryTimeNs: 'u64', timesNs: ['u64', 4] });

/** VMASST_TYPE_runstate_update_flag (public/xen.h). */
const ASSIST_RUNSTATE_UPDATE_FLAG = 1 << 5;
/** XEN_RUNSTATE_UPDATE: set in state_entry_time while the area is being written. */
const UPDATE_FLAG = 1n << 63n;

/** A guest's copy, laid out as the guest was when it gave the address. */
interface Area {
  readonly gva: bigint;
  readonly wordBytes: WordBytes;
}

interface State {
  state: number;
  sinceNs: number;
  readonly spentNs: [number, number, number, number];
  area: Area | undefined;
}

/**
 * How long each vCPU has been running, runnable, blocked and offline, and the guest's copies of it.
 * Times are system time in ns (public/vcpu.h, VCPUOP_get_runstate_info).
 */
export class Runstates {
  readonly #domain: XenDomain;
  readonly #states: State[];
  readonly #image = new Uint8Array(RunstateInfo[8].sizeBytes);
  readonly #view = new DataView(this.#image.buffer);

  constructor(domain: XenDomain) {
    this.#domain = domain;
    const sinceNs = domain.clock.nowNs();
    this.#states = domain.vcpus.map((vcpu) => ({
      // The first vCPU starts with the domain; the others when the guest brings them up.
      state: vcpu.id === 0 ? Runstate.RUNNABLE : Runstate.OFFLINE,
      sinceNs,
      spentNs: [0, 0, 0, 0],
      area: undefined,
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
    if (state === Runstate.RUNNING && record.area !== undefined) this.#writeArea(vcpu, record.area);
  }

  /** VCPUOP_register_runstate_memory_area; null takes the area away. */
  register(vcpu: XenVcpu, gva: bigint, wordBytes: WordBytes): void {
    const record = this.#states[vcpu.id];
    record.area = gva === 0n ? undefined : { gva, wordBytes };
    if (record.area !== undefined) this.#writeArea(vcpu, record.area);
  }

  /** struct vcpu_runstate_info as of now; valid until the next call. */
  image(vcpu: XenVcpu, wordBytes: WordBytes): Uint8Array {
    const record = this.#states[vcpu.id];
    const nowNs = this.#domain.clock.nowNs();
    const { at, sizeBytes } = RunstateInfo[wordBytes];
    this.#image.fill(0);
    this.#view.setUint32(at.state, record.state, true);
    this.#view.setBigUint64(at.entryTimeNs, BigInt(Math.trunc(record.sinceNs)), true);
    for (let i = 0; i < 4; i++) {
      const running = i === record.state ? nowNs - record.sinceNs : 0;
      this.#view.setBigUint64(at.timesNs + i * 8, BigInt(Math.trunc(record.spentNs[i] + running)), true);
    }
    return this.#image.subarray(0, sizeBytes);
  }

  #writeArea(vcpu: XenVcpu, { gva, wordBytes }: Area): void {
    const image = this.image(vcpu, wordBytes);
    if ((this.#domain.vmAssist & ASSIST_RUNSTATE_UPDATE_FLAG) !== 0) {
      // Readers on other vCPUs retry while the flag is up.
      const { entryTimeNs } = RunstateInfo[wordBytes].at;
      const entryTime = this.#view.getBigUint64(entryTimeNs, true);
      this.#view.setBigUint64(entryTimeNs, entryTime | UPDATE_FLAG, true);
      copyToGuestKernel(vcpu, gva, image);
      this.#view.setBigUint64(entryTimeNs, entryTime, true);
    }
    copyToGuestKernel(vcpu, gva, image);
  }
}
