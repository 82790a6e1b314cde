import type { Machine, PluginHost } from '@polyvisor/plugin-api';
import { HypercallNumber } from '../hypercall/table.ts';
import { vmAssist } from '../mm/calls.ts';
import { createServices, type XenServices } from '../services.ts';
import { HvmDomain } from './hvmDomain.ts';
import { hvmOp } from './hvmOp.ts';
import { hvmMemoryOp } from './memoryOp.ts';
import { HvmParam } from './params.ts';
import { plugPlatformDevice } from './platformDevice.ts';

const MEMORY_OP = 12;
const VM_ASSIST = 21;
/** VMASST_TYPE_runstate_update_flag: the only one for these guests. */
const ASSISTS = [5] as const;

export interface StartedHvm {
  readonly domain: HvmDomain;
  readonly services: XenServices;
}

/**
 * What the toolstack does before an HVM guest executes anything: the domain with its services, rings and parameters.
 * A machine with a serial port has its console there; one without gets the ring's.
 */
export function startHvm(host: PluginHost, machine: Machine, leafBase: number): StartedHvm {
  const domain = new HvmDomain(host, machine, leafBase);
  const hasRing = !machine.platform.chips.has('uart');
  const services = createServices(domain, { console: hasRing });
  domain.attach(services);
  domain.hypercalls.set(MEMORY_OP, hvmMemoryOp(domain));
  domain.hypercalls.set(VM_ASSIST, vmAssist(domain, ASSISTS));
  domain.hypercalls.set(HypercallNumber.HVM_OP, hvmOp(domain));
  for (const vcpu of domain.vcpus) {
    vcpu.cpu.externalInterrupt = () => (domain.ended ? undefined : domain.upcalls.pendingVector(vcpu));
    if (vcpu.id !== 0) vcpu.cpu.offline = true;
  }
  connectRings(domain, services, hasRing);
  if (machine.platform.chips.has('pci')) plugPlatformDevice(domain);
  return { domain, services };
}

function connectRings(domain: HvmDomain, services: XenServices, hasRing: boolean): void {
  const { storePort, consolePort } = services.allocateStartOfDayPorts();
  const storeMfn = domain.newFrame();
  domain.params.set(HvmParam.STORE_PFN, BigInt(storeMfn));
  domain.params.set(HvmParam.STORE_EVTCHN, BigInt(storePort));
  if (!hasRing) {
    services.started({ storeMfn, consoleMfn: undefined });
    return;
  }
  const consoleMfn = domain.newFrame();
  domain.params.set(HvmParam.CONSOLE_PFN, BigInt(consoleMfn));
  domain.params.set(HvmParam.CONSOLE_EVTCHN, BigInt(consolePort));
  services.started({ storeMfn, consoleMfn });
}
