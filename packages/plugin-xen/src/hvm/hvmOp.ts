import { struct } from '../abi/struct.ts';
import { copyFromGuest, copyToGuest, vcpuById } from '../access.ts';
import type { HypercallContext, HypercallHandler } from '../domain.ts';
import { EFAULT, EINVAL, ENOENT, ENOSYS, EPERM } from '../errno.ts';
import { notImplemented } from '../hypercall/dispatch.ts';
import { targetDomainErrno } from '../hypercall/domid.ts';
import { bytesOf, writeU16, writeU64 } from '../hypercall/guestCopy.ts';
import type { HvmDomain } from './hvmDomain.ts';
import { HvmParam } from './params.ts';

/** HVMOP_* (public/hvm/hvm_op.h). */
const HvmOp = {
  SET_PARAM: 0,
  GET_PARAM: 1,
  FLUSH_TLBS: 5,
  GET_TIME: 10,
  GET_MEM_TYPE: 15,
  SET_UPCALL_VECTOR: 23,
} as const;

const PARAMS = 39;

/** Those that a guest may read and write, only read, and those that are no more. */
const READ_WRITE: ReadonlySet<number> = new Set([
  HvmParam.CALLBACK_IRQ,
  HvmParam.STORE_EVTCHN,
  HvmParam.VM86_TSS,
  HvmParam.CONSOLE_EVTCHN,
  HvmParam.ACPI_IOPORTS_LOCATION,
  HvmParam.VM_GENERATION_ID_ADDR,
  HvmParam.X87_FIP_WIDTH,
  HvmParam.VM86_TSS_SIZED,
]);
const READ_ONLY: ReadonlySet<number> = new Set([HvmParam.STORE_PFN, HvmParam.CONSOLE_PFN, HvmParam.ALTP2M]);
const DEPRECATED: ReadonlySet<number> = new Set([4, 13, 20, 21, 22, 23, 24, 25, 26, 30]);

const Param = struct({ domid: 'u16', index: 'u32', value: 'u64' });
const UpcallVector = struct({ vcpu: 'u32', vector: 'u8' });
const MemType = struct({ domid: 'u16', type: 'u16', padding: ['u16', 2], pfn: 'u64' });
/** HVMMEM_ram_rw, HVMMEM_mmio_dm. */
const MEMORY_RAM = 0;
const MEMORY_DEVICE = 2;
/** Vectors below are the processor's own, and no local APIC accepts them. */
const FIRST_VECTOR = 16;

/** Why a guest may not read or write a parameter of its own; 0: it may. */
function paramErrno(index: number, write: boolean): bigint {
  if (index >= PARAMS || DEPRECATED.has(index)) return EINVAL;
  if (READ_WRITE.has(index) || (!write && READ_ONLY.has(index))) return 0n;
  return EPERM;
}

/**
 * hvm_op (34): parameters, per-vCPU upcall vectors, and what a guest may ask about itself.
 *
 * NOTES: setting CALLBACK_IRQ decides the layout of shared_info by the mode that the vCPU is in. The other operations
 * are a device model's, or need shadow paging.
 * IN: op, pointer to the operation's structure.
 * OUT: 0 or a negative errno.
 */
export function hvmOp(domain: HvmDomain): HypercallHandler {
  return (context, args) => {
    const op = Number(BigInt.asUintN(32, args[0]));
    const pointer = args[1];
    switch (op) {
      case HvmOp.SET_PARAM:
        return param(domain, context, pointer, true);
      case HvmOp.GET_PARAM:
        return param(domain, context, pointer, false);
      case HvmOp.FLUSH_TLBS:
        if (pointer !== 0n) return EINVAL;
        for (const { cpu } of domain.vcpus) cpu.flushTlb();
        return 0n;
      case HvmOp.GET_TIME:
        return writeU64(context.vcpu, pointer, BigInt(Math.trunc(domain.clock.nowNs()))) ? 0n : EFAULT;
      case HvmOp.GET_MEM_TYPE:
        return memType(domain, context, pointer);
      case HvmOp.SET_UPCALL_VECTOR:
        return upcallVector(domain, context, pointer);
      default:
        return notImplemented(context, 'hvm_op', op, ENOSYS);
    }
  };
}

/** struct xen_hvm_param. */
function param(domain: HvmDomain, context: HypercallContext, pointer: bigint, write: boolean): bigint {
  const { at, sizeBytes } = Param[context.wordBytes];
  const view = copyFromGuest(context.vcpu, pointer, sizeBytes);
  if (view === undefined) return EFAULT;
  const refusal = targetDomainErrno(view.getUint16(at.domid, true));
  if (refusal !== 0n) return refusal;
  const index = view.getUint32(at.index, true);
  const errno = paramErrno(index, write);
  if (errno !== 0n) return errno;
  if (write) {
    domain.setParam(index, view.getBigUint64(at.value, true), context.wordBytes);
    return 0n;
  }
  view.setBigUint64(at.value, domain.params.get(index) ?? 0n, true);
  return copyToGuest(context.vcpu, pointer, bytesOf(view)) ? 0n : EFAULT;
}

/** struct xen_hvm_evtchn_upcall_vector. */
function upcallVector(domain: HvmDomain, { vcpu, wordBytes }: HypercallContext, pointer: bigint): bigint {
  const { at, sizeBytes } = UpcallVector[wordBytes];
  const view = copyFromGuest(vcpu, pointer, sizeBytes);
  if (view === undefined) return EFAULT;
  const vector = view.getUint8(at.vector);
  if (vector < FIRST_VECTOR) return EINVAL;
  const target = vcpuById(domain, BigInt(view.getUint32(at.vcpu, true)));
  if (target === undefined) return ENOENT;
  domain.upcalls.setVector(target, vector);
  return 0n;
}

/** struct xen_hvm_get_mem_type: IN domid, pfn. OUT mem_type. */
function memType(domain: HvmDomain, { vcpu, wordBytes }: HypercallContext, pointer: bigint): bigint {
  const { at, sizeBytes } = MemType[wordBytes];
  const view = copyFromGuest(vcpu, pointer, sizeBytes);
  if (view === undefined) return EFAULT;
  const refusal = targetDomainErrno(view.getUint16(at.domid, true));
  if (refusal !== 0n) return refusal;
  const isRam = domain.mm.isGuestFrame(Number(view.getBigUint64(at.pfn, true)));
  return writeU16(vcpu, pointer + BigInt(at.type), isRam ? MEMORY_RAM : MEMORY_DEVICE) ? 0n : EFAULT;
}
