import { VcpuInfo } from '../abi/sharedPages.ts';
import { copyToGuestKernel } from '../access.ts';
import type { XenDomain, XenVcpu } from '../domain.ts';
import { type PvclockScale, pvclockScale, scaleTicks } from './pvclock.ts';

/** Offsets into struct vcpu_time_info (public/xen.h). */
const TimeInfo = {
  VERSION: 0,
  TSC_TIMESTAMP: 8,
  SYSTEM_TIME: 16,
  MULTIPLIER: 24,
  SHIFT: 28,
  FLAGS: 29,
  SIZE_BYTES: 32,
} as const;

/** XEN_PVCLOCK_TSC_STABLE_BIT: all vCPUs read one counter, so their times never disagree. */
const TSC_STABLE = 1;

/** Stamps are renewed this often; between them the guest extrapolates from the TSC. */
const RENEW_NS = 1_000_000_000;

/**
 * System time and wall clock in the guest's memory. System time is ns since the machine's start, and never runs
 * backwards: a new stamp is never behind what the old one would have given.
 */
export class GuestTime {
  readonly #domain: XenDomain;
  readonly #scale: PvclockScale;
  readonly #areas: (bigint | undefined)[];
  /** Stamp that each vCPU's areas hold. */
  readonly #written: number[];
  readonly #image = new Uint8Array(TimeInfo.SIZE_BYTES);
  readonly #view = new DataView(this.#image.buffer);
  #stamp = 0;
  #stampedAtNs: number;
  #tsc: bigint;
  #systemNs: bigint;

  constructor(domain: XenDomain) {
    this.#domain = domain;
    this.#scale = pvclockScale(domain.clock.tscHz);
    this.#areas = domain.vcpus.map(() => undefined);
    this.#written = domain.vcpus.map(() => -1);
    this.#stampedAtNs = domain.clock.nowNs();
    this.#tsc = domain.clock.tsc();
    this.#systemNs = BigInt(Math.trunc(this.#stampedAtNs));
    this.writeWallclock();
    for (const vcpu of domain.vcpus) this.#write(vcpu);
  }

  /** Before each entry: renew the stamp when it is old, and give this vCPU the newest. */
  refresh(vcpu: XenVcpu): void {
    const { clock } = this.#domain;
    if (clock.coarseNs() - this.#stampedAtNs >= RENEW_NS) this.#renew(clock.nowNs());
    if (this.#written[vcpu.id] !== this.#stamp) this.#write(vcpu);
  }

  /** The vCPU's vcpu_info moved: fill the new one. */
  moved(vcpu: XenVcpu): void {
    this.#write(vcpu);
  }

  /** VCPUOP_register_vcpu_time_memory_area; null takes the area away. */
  register(vcpu: XenVcpu, gva: bigint): void {
    this.#areas[vcpu.id] = gva === 0n ? undefined : gva;
    this.#write(vcpu);
  }

  #renew(nowNs: number): void {
    const tsc = this.#domain.clock.tsc();
    const extrapolated = this.#systemNs + scaleTicks(tsc - this.#tsc, this.#scale);
    const measured = BigInt(Math.trunc(nowNs));
    this.#tsc = tsc;
    this.#systemNs = extrapolated > measured ? extrapolated : measured;
    this.#stampedAtNs = nowNs;
    this.#stamp++;
  }

  #write(vcpu: XenVcpu): void {
    const { memory } = this.#domain;
    const gpa = vcpu.vcpuInfoGpa + VcpuInfo.TIME;
    // Odd while the fields change: a reader on another vCPU tries again.
    const odd = (memory.read32(gpa) | 1) >>> 0;
    memory.write32(gpa, odd);
    this.#fill((odd + 1) >>> 0);
    memory.writeBytes(gpa + 4, this.#image.subarray(4));
    memory.write32(gpa, (odd + 1) >>> 0);
    const area = this.#areas[vcpu.id];
    if (area !== undefined) this.#writeArea(vcpu, area, odd);
    this.#written[vcpu.id] = this.#stamp;
  }

  #writeArea(vcpu: XenVcpu, gva: bigint, odd: number): void {
    const even = (odd + 1) >>> 0;
    this.#view.setUint32(TimeInfo.VERSION, odd, true);
    if (!copyToGuestKernel(vcpu, gva, this.#image)) return;
    this.#view.setUint32(TimeInfo.VERSION, even, true);
    copyToGuestKernel(vcpu, gva, this.#image.subarray(0, 4));
  }

  #fill(version: number): void {
    const view = this.#view;
    view.setUint32(TimeInfo.VERSION, version, true);
    view.setUint32(4, 0, true);
    view.setBigUint64(TimeInfo.TSC_TIMESTAMP, BigInt.asUintN(64, this.#tsc), true);
    view.setBigUint64(TimeInfo.SYSTEM_TIME, this.#systemNs, true);
    view.setUint32(TimeInfo.MULTIPLIER, this.#scale.multiplier, true);
    view.setInt8(TimeInfo.SHIFT, this.#scale.shift);
    view.setUint8(TimeInfo.FLAGS, TSC_STABLE);
    view.setUint16(30, 0, true);
  }

  /** Wall-clock time at system time 0; it changes only when a control domain sets it, so never here. */
  writeWallclock(): void {
    const { memory, sharedInfoGpa, shared, clock } = this.#domain;
    const version = (memory.read32(sharedInfoGpa + shared.wallclockVersion) | 1) >>> 0;
    memory.write32(sharedInfoGpa + shared.wallclockVersion, version);
    const seconds = clock.startEpochNs / 1_000_000_000n;
    memory.write32(sharedInfoGpa + shared.wallclockSeconds, Number(BigInt.asUintN(32, seconds)));
    memory.write32(sharedInfoGpa + shared.wallclockSecondsHigh, Number(BigInt.asUintN(32, seconds >> 32n)));
    memory.write32(sharedInfoGpa + shared.wallclockNanoseconds, Number(clock.startEpochNs % 1_000_000_000n));
    memory.write32(sharedInfoGpa + shared.wallclockVersion, (version + 1) >>> 0);
  }
}
