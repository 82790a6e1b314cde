import { VcpuInfo } from '../abi/sharedPages.ts';
import type { XenDomain, XenVcpu } from '../domain.ts';

/** HVM_PARAM_CALLBACK_IRQ, bits 63:56 (public/hvm/params.h). */
const CallbackType = { GSI: 0, PCI_INTX: 1, VECTOR: 2 } as const;
const TYPE_SHIFT = 56n;
/** The pin of the I/O APIC that ISA IRQ 0 is wired to (ACPI tables; Xen, hvm_isa_irq_to_gsi). */
const GSI_OF_IRQ0 = 2;

/** How a guest on real page tables hears of its events: by a vector of each vCPU's, or one way for the whole domain. */
export class HvmUpcalls {
  readonly #domain: XenDomain;
  /** HVMOP_set_evtchn_upcall_vector; 0: the domain's callback counts. */
  readonly #vectors: Uint8Array;
  /** The local APIC has not accepted the vector: it is offered again. */
  readonly #refused: Uint8Array;
  #callbackType: number | undefined;
  #callbackVector = 0;
  /** GSI {@link GSI_OF_IRQ0} is the callback; the other pins are silent. */
  #callbackIsTimer = false;
  /** Level of that GSI: an edge is an interrupt. */
  #timerAsserted = false;
  /** Level of the platform device's INTA. */
  pin: ((asserted: boolean) => void) | undefined;

  constructor(domain: XenDomain) {
    this.#domain = domain;
    this.#vectors = new Uint8Array(domain.vcpus.length);
    this.#refused = new Uint8Array(domain.vcpus.length);
  }

  /**
   * HVM_PARAM_CALLBACK_IRQ as it was written. NOT IMPLEMENTED: a GSI other than that of ISA IRQ 0; it is taken and stays
   * silent.
   */
  setCallback(value: bigint): void {
    const type = Number(value >> TYPE_SHIFT);
    const isNone = value === 0n || type > CallbackType.VECTOR;
    const isGsi = type === CallbackType.GSI && !isNone;
    this.#callbackIsTimer = isGsi && Number(value & 0xffn) === GSI_OF_IRQ0;
    if (isGsi && !this.#callbackIsTimer) this.#domain.host.count('hvm.callbackGsi');
    this.#callbackType = isNone ? undefined : type;
    this.#callbackVector = Number(value & 0xffn);
    this.#updatePin();
    for (const vcpu of this.#domain.vcpus) vcpu.cpu.kick();
  }

  /** HVMOP_set_evtchn_upcall_vector; the vector is raised once at once. */
  setVector(vcpu: XenVcpu, vector: number): void {
    this.#vectors[vcpu.id] = vector;
    this.raised(vcpu);
  }

  /** evtchn_upcall_pending has been set. */
  raised(vcpu: XenVcpu): void {
    const vector = this.#vectors[vcpu.id];
    if (vector !== 0) this.#refused[vcpu.id] = vcpu.cpu.requestInterrupt(vector) ? 0 : 1;
    else this.#updatePin();
  }

  /** Before guest code is entered. */
  refresh(vcpu: XenVcpu): void {
    if (this.#refused[vcpu.id] !== 0) this.raised(vcpu);
    if (this.#callbackType === CallbackType.PCI_INTX || this.#callbackIsTimer) this.#updatePin();
  }

  /** The domain's callback vector while an upcall is pending: an interrupt of no interrupt controller. */
  pendingVector(vcpu: XenVcpu): number | undefined {
    if (this.#callbackType !== CallbackType.VECTOR || this.#vectors[vcpu.id] !== 0) return undefined;
    return this.#isPending(vcpu) ? this.#callbackVector : undefined;
  }

  #updatePin(): void {
    const [vcpu] = this.#domain.vcpus;
    const isPending = this.#vectors[0] === 0 && this.#isPending(vcpu);
    this.pin?.(this.#callbackType === CallbackType.PCI_INTX && isPending);
    const timer = this.#callbackIsTimer && isPending;
    if (timer && !this.#timerAsserted) this.#domain.machine.raiseTimerInterrupt();
    this.#timerAsserted = timer;
  }

  #isPending(vcpu: XenVcpu): boolean {
    return this.#domain.memory.read8(vcpu.vcpuInfoGpa + VcpuInfo.UPCALL_PENDING) !== 0;
  }
}
