import { readWord, struct } from '../abi/struct.ts';
import { copyFromGuest, isGuestAddress } from '../access.ts';
import type { HypercallArguments, HypercallContext } from '../domain.ts';
import { EFAULT, EINVAL, ENOSYS } from '../errno.ts';
import { notImplemented } from '../hypercall/dispatch.ts';

/** PHYSDEVOP_* (public/physdev.h) that make sense without hardware. */
const SET_IOPL = 6;
const SET_IOBITMAP = 7;
const MAX_PORTS = 65536;
/** struct physdev_set_iobitmap. */
const SetIobitmap = struct({ bitmap: 'word', ports: 'u32' });

/** HYPERVISOR_physdev_op(cmd, arg): I/O privileges; everything about interrupts and devices is -ENOSYS. */
export function physdevOp(context: HypercallContext, args: HypercallArguments): bigint {
  const { vcpu } = context;
  const op = Number(args[0] & 0xffff_ffffn);
  if (op === SET_IOPL) {
    const request = copyFromGuest(vcpu, args[1], 4);
    if (request === undefined) return EFAULT;
    const iopl = request.getUint32(0, true);
    if (iopl > 3) return EINVAL;
    vcpu.iopl = iopl;
    return 0n;
  }
  if (op === SET_IOBITMAP) {
    const { sizeBytes, at } = SetIobitmap[context.wordBytes];
    const request = copyFromGuest(vcpu, args[1], sizeBytes);
    if (request === undefined) return EFAULT;
    const bitmap = readWord(request, at.bitmap, context.wordBytes);
    const ports = request.getUint32(at.ports, true);
    if (ports > MAX_PORTS || !isGuestAddress(bitmap)) return EINVAL;
    vcpu.ioBitmapGva = bitmap;
    vcpu.ioBitmapPorts = ports;
    return 0n;
  }
  return notImplemented(context, 'physdev_op', op, ENOSYS);
}
