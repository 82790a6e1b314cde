import type { HypercallArguments, HypercallContext, HypercallHandler } from '../domain.ts';
import { EINVAL, ENOSYS } from '../errno.ts';
import type { PvDomain } from '../pvDomain.ts';
import { memoryOp } from './memoryOp.ts';
import { mmuextOp } from './mmuext.ts';
import { mmuUpdate } from './mmuUpdate.ts';
import { updateVaMapping, updateVaMappingOtherdomain } from './vaMapping.ts';

/** VMASST_TYPE_* a PV64 guest may choose: 0–5 and m2p_strict (public/xen.h). */
const VM_ASSIST_VALID = 0x3fn | (1n << 32n);
const VMASST_CMD_ENABLE = 0n;
const VMASST_CMD_DISABLE = 1n;

/** HYPERVISOR_vm_assist(cmd, type). m2p_strict is accepted; the table stays mapped in user roots too. */
function vmAssist(domain: PvDomain, _context: HypercallContext, args: HypercallArguments): bigint {
  const command = args[0];
  const type = args[1] & 0xffff_ffffn;
  if (type >= 64n || ((VM_ASSIST_VALID >> type) & 1n) === 0n) return EINVAL;
  if (command === VMASST_CMD_ENABLE) domain.vmAssist |= 1n << type;
  else if (command === VMASST_CMD_DISABLE) domain.vmAssist &= ~(1n << type);
  else return ENOSYS;
  return 0n;
}

/** The calls of this room, by number (public/xen.h). */
export function mmHypercalls(domain: PvDomain): readonly (readonly [number, HypercallHandler])[] {
  return [
    [1, (context, args) => mmuUpdate(domain, context, args)],
    [12, (context, args) => memoryOp(domain, context, args)],
    [14, (context, args) => updateVaMapping(domain, context, args)],
    [21, (context, args) => vmAssist(domain, context, args)],
    [22, (context, args) => updateVaMappingOtherdomain(domain, context, args)],
    [26, (context, args) => mmuextOp(domain, context, args)],
  ];
}
