import type { HypercallHandler, WordHypercallHandler, XenDomain } from '../domain.ts';
import { EINVAL, ENOSYS } from '../errno.ts';
import type { PvDomain } from '../pvDomain.ts';
import { memoryOp } from './memoryOp.ts';
import { mmuextOp, mmuextOp32 } from './mmuext.ts';
import { mmuUpdate } from './mmuUpdate.ts';
import { updateVaMapping, updateVaMapping32, updateVaMappingOtherdomain } from './vaMapping.ts';

/** VMASST_TYPE_* a PV64 guest may choose: 0–5 and m2p_strict (public/xen.h). */
const M2P_STRICT = 32;
const PV_ASSISTS = [0, 1, 2, 3, 4, 5, M2P_STRICT] as const;
const VMASST_CMD_ENABLE = 0n;
const VMASST_CMD_DISABLE = 1n;

/** HYPERVISOR_vm_assist(cmd, type), for those types. m2p_strict is accepted; the table stays mapped in user roots too. */
export function vmAssist(domain: XenDomain, types: readonly number[]): HypercallHandler {
  return (_context, args) => {
    const command = args[0];
    const type = Number(args[1] & 0xffff_ffffn);
    if (!types.includes(type)) return EINVAL;
    const bit = type === M2P_STRICT ? 0 : 1 << type;
    if (command === VMASST_CMD_ENABLE) domain.vmAssist |= bit;
    else if (command === VMASST_CMD_DISABLE) domain.vmAssist &= ~bit;
    else return ENOSYS;
    return 0n;
  };
}

/** The calls of this room, by number (public/xen.h). */
export function mmHypercalls(domain: PvDomain): readonly (readonly [number, HypercallHandler])[] {
  return [
    [1, (context, args) => mmuUpdate(domain, context, args)],
    [12, (context, args) => memoryOp(domain, context, args)],
    [14, (context, args) => updateVaMapping(domain, context, args)],
    [21, vmAssist(domain, PV_ASSISTS)],
    [22, (context, args) => updateVaMappingOtherdomain(domain, context, args)],
    [26, (context, args) => mmuextOp(domain, context, args)],
  ];
}

/** Those of them that come often from 32-bit guests. */
export function mmWordHypercalls(domain: PvDomain): readonly (readonly [number, WordHypercallHandler])[] {
  return [
    [14, (context, words, first) => updateVaMapping32(domain, context, words, first)],
    [26, (context, words, first) => mmuextOp32(domain, context, words, first)],
  ];
}
