import type { XenVcpu } from '../domain.ts';
import { rootAddress } from '../mm/manager.ts';

/** Between guest user and guest kernel: GS bases are swapped and the other page-table root is loaded. */
export function toggleGuestMode(vcpu: XenVcpu): void {
  vcpu.cpu.swapGs();
  vcpu.kernelMode = !vcpu.kernelMode;
  if (vcpu.kernelMode) {
    vcpu.cpu.switchRoot(rootAddress(vcpu.kernelRootMfn));
  } else if (vcpu.userRootStale) {
    vcpu.cpu.cr3 = rootAddress(vcpu.userRootMfn);
    vcpu.userRootStale = false;
  } else {
    vcpu.cpu.switchRoot(rootAddress(vcpu.userRootMfn));
  }
}
