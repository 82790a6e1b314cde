import type { HypercallHandler } from '../domain.ts';
import { EINVAL, ENOSYS, EOPNOTSUPP, EPERM } from '../errno.ts';
import { notImplemented } from './dispatch.ts';
import { HypercallNumber } from './table.ts';

/**
 * The calls from which an unprivileged PV domain only ever gets an errno, and which one.
 * Each is counted as `hypercall.notimpl.<name>.<op>` so that `--stats` shows a guest that relies on them.
 */
const ANSWERS: readonly (readonly [number: number, name: string, errno: bigint])[] = [
  // Reserved to the control domain by the default security policy.
  [HypercallNumber.PLATFORM_OP, 'platform_op', EPERM],
  [HypercallNumber.SYSCTL, 'sysctl', EPERM],
  [HypercallNumber.DOMCTL, 'domctl', EPERM],
  [HypercallNumber.KEXEC_OP, 'kexec_op', EPERM],
  [HypercallNumber.DM_OP, 'dm_op', EPERM],
  [HypercallNumber.HYPFS_OP, 'hypfs_op', EPERM],
  // No security module, no profiler, no transcendent memory, argo not enabled.
  [HypercallNumber.XSM_OP, 'xsm_op', ENOSYS],
  [HypercallNumber.XENOPROF_OP, 'xenoprof_op', ENOSYS],
  [HypercallNumber.TMEM_OP, 'tmem_op', ENOSYS],
  [HypercallNumber.ARGO_OP, 'argo_op', EOPNOTSUPP],
  // The PMU is off (the `vpmu` option of the hypervisor's command line is not given).
  [HypercallNumber.XENPMU_OP, 'xenpmu_op', EOPNOTSUPP],
  // Parameters of HVM domains; a PV domain has none.
  [HypercallNumber.HVM_OP, 'hvm_op', EINVAL],
];

function refusal(name: string, errno: bigint): HypercallHandler {
  return (context, args) => notImplemented(context, name, BigInt.asUintN(32, args[0]).toString(), errno);
}

/**
 * nmi_op (28), the older way to register the NMI callback.
 *
 * NOTES: NOT IMPLEMENTED; guests since interface 3.2 use callback_op with CALLBACKTYPE_nmi.
 * OUT: -ENOSYS.
 */
const nmiOp: HypercallHandler = (context, args) =>
  notImplemented(context, 'nmi_op', BigInt.asUintN(32, args[0]).toString(), ENOSYS);

/** Register a refusing handler for every call of the table above. */
export function registerUnprivileged(hypercalls: Map<number, HypercallHandler>): void {
  for (const [number, name, errno] of ANSWERS) hypercalls.set(number, refusal(name, errno));
  hypercalls.set(HypercallNumber.NMI_OP, nmiOp);
}
