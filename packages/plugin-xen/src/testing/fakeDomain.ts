import type { Devices } from '@polyvisor/plugin-api';
import { FakeHost, FakeMachine, type FakeVcpu } from '@polyvisor/testkit';
import { SHARED_VCPU_INFO, type SharedLayout, sharedLayout, VcpuInfo } from '../abi/sharedPages.ts';
import type { WordBytes } from '../abi/struct.ts';
import { HYPERVISOR_VIRT_START } from '../access.ts';
import type { HypercallContext, HypercallHandler, HypercallResult, XenDomain, XenVcpu } from '../domain.ts';
import { dispatchHypercall } from '../hypercall/dispatch.ts';
import { createServices, type XenServices } from '../services.ts';

const PAGE_BYTES = 4096;
const MEMORY_BYTES = 1 << 20;
/** Frames below are the guest's; those from here on the hypervisor's. */
export const FIRST_HYPERVISOR_MFN = 128;
/** The guest's ring pages in the tests. */
export const STORE_MFN = 10;
export const CONSOLE_MFN = 11;

function fakeVcpu(cpu: FakeVcpu, sharedInfoGpa: number): XenVcpu {
  const vcpu = {
    id: cpu.id,
    cpu,
    kernelMode: true,
    initialised: cpu.id === 0,
    iopl: 0,
    vcpuInfoGpa: sharedInfoGpa + SHARED_VCPU_INFO + cpu.id * VcpuInfo.SIZE_BYTES,
    nmiPending: false,
    nmiMasked: false,
  };
  return vcpu as Partial<XenVcpu> as XenVcpu;
}

/**
 * A domain of 512 KiB with the services of this plug-in and fakes for all else. Virtual addresses are machine
 * addresses. `writable` holds the writable type references taken.
 */
export class FakeDomain implements XenDomain {
  readonly kind = 'pv';
  readonly leafBase = 0x4000_0000;
  readonly host = new FakeHost();
  readonly machine: FakeMachine;
  readonly vcpus: readonly XenVcpu[];
  readonly sharedInfoGpa = FIRST_HYPERVISOR_MFN * PAGE_BYTES;
  readonly hypercalls = new Map<number, HypercallHandler>();
  readonly services: XenServices;
  readonly writable = new Map<number, number>();
  readonly sharedFrames = new Set<number>();
  /** Those of them that the guest has mapped. */
  readonly mappedFrames = new Set<number>();
  readonly crashes: string[] = [];
  totalPages = FIRST_HYPERVISOR_MFN;
  maxPages = FIRST_HYPERVISOR_MFN;
  vmAssist = 0;
  readonly shared: SharedLayout;
  readonly hypervisorStart = HYPERVISOR_VIRT_START;
  #nextFrame = FIRST_HYPERVISOR_MFN + 1;

  constructor(vcpuCount = 2, devices: Partial<Devices> = {}, wordBytes: WordBytes = 8) {
    this.shared = sharedLayout(wordBytes);
    this.machine = new FakeMachine({ memoryBytes: MEMORY_BYTES, vcpus: vcpuCount, devices });
    this.vcpus = this.machine.vcpus.map((cpu) => fakeVcpu(cpu, this.sharedInfoGpa));
    for (const vcpu of this.vcpus) {
      vcpu.cpu.cpl = 3;
      vcpu.cpu.offline = vcpu.id !== 0;
      this.memory.write8(vcpu.vcpuInfoGpa + VcpuInfo.UPCALL_MASK, 1);
    }
    this.services = createServices(this);
    this.services.allocateStartOfDayPorts();
    this.services.started({ storeMfn: STORE_MFN, consoleMfn: CONSOLE_MFN });
  }

  get memory() {
    return this.machine.memory;
  }
  get clock() {
    return this.machine.clock;
  }
  get frames() {
    return {
      allocate: () => (this.#nextFrame < MEMORY_BYTES / PAGE_BYTES ? this.#nextFrame++ : undefined),
      free: () => {},
      freeCount: MEMORY_BYTES / PAGE_BYTES - this.#nextFrame,
    };
  }
  get mm() {
    const isGuestFrame = (mfn: number) => Number.isInteger(mfn) && mfn > 0 && mfn < FIRST_HYPERVISOR_MFN;
    return {
      isGuestFrame,
      takeWritable: (mfn: number) => {
        if (isGuestFrame(mfn)) this.writable.set(mfn, (this.writable.get(mfn) ?? 0) + 1);
        return isGuestFrame(mfn);
      },
      releaseWritable: (mfn: number) => {
        this.writable.set(mfn, (this.writable.get(mfn) ?? 0) - 1);
      },
      share: (mfn: number) => {
        this.sharedFrames.add(mfn);
      },
      takeBack: (mfn: number) => !this.mappedFrames.has(mfn) && this.sharedFrames.delete(mfn),
      pfnOf: (mfn: number) => (isGuestFrame(mfn) ? mfn : undefined),
    };
  }

  crash(_vcpu: XenVcpu, reason: string): void {
    this.crashes.push(reason);
    this.machine.shutdown({ kind: 'crash', message: reason });
  }

  context(vcpu = 0): HypercallContext {
    return { domain: this, vcpu: this.vcpus[vcpu], wordBytes: this.shared.wordBytes };
  }

  /** A hypercall by vCPU 0. */
  call(number: number, ...args: (bigint | number)[]): HypercallResult {
    return this.callAs(0, number, ...args);
  }
  callAs(vcpu: number, number: number, ...args: (bigint | number)[]): HypercallResult {
    const six = Array.from({ length: 6 }, (_, index) => BigInt.asUintN(64, BigInt(args[index] ?? 0)));
    return dispatchHypercall(this.context(vcpu), number, six);
  }

  /** Put 32-bit words at an address, for a hypercall's structure. */
  put32(gpa: number, ...words: number[]): number {
    words.forEach((word, index) => {
      this.memory.write32(gpa + index * 4, word >>> 0);
    });
    return gpa;
  }
  put64(gpa: number, ...words: (bigint | number)[]): number {
    words.forEach((word, index) => {
      this.memory.write64(gpa + index * 8, BigInt(word));
    });
    return gpa;
  }
}
