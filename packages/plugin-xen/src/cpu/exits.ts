import type { ExitAnswer, ExitKind, ExitOf, PluginHost, Vcpu } from '@polyvisor/plugin-api';
import type { XenVcpu } from '../domain.ts';
import type { PvDomain } from '../pvDomain.ts';
import { deliverUpcall } from './bounce.ts';
import { updatePorts } from './directIo.ts';
import { onException, onSoftwareInterrupt } from './exceptions.ts';
import { onIo } from './io.ts';
import { privileged } from './privileged.ts';
import { type Dispatch, onSyscall, onSysenter } from './syscall.ts';
import { injectException, Vector } from './traps.ts';

/** The PV vCPU behind a machine's vCPU, while its domain lives. */
export type FindVcpu = (cpu: Vcpu) => { readonly domain: PvDomain; readonly vcpu: XenVcpu } | undefined;

type Handler<K extends ExitKind> = (domain: PvDomain, vcpu: XenVcpu, exit: ExitOf<K>) => ExitAnswer;

/**
 * First-level exit handlers of PV guests. An exit that is not listed, or that a handler passes on, ends in
 * the CPU's own fault, which comes back as an exception and is reflected to the guest.
 */
export function tapExits(host: PluginHost, find: FindVcpu, dispatch: Dispatch): void {
  const tap = <K extends ExitKind>(kind: K, handler: Handler<K>): void => {
    host.hooks.exit.for(kind).tap('xen', (cpu, exit) => {
      const found = find(cpu);
      return found === undefined ? 'pass' : handler(found.domain, found.vcpu, exit);
    });
  };
  tap('syscall', (domain, vcpu, exit) => {
    vcpu.inXen = true;
    onSyscall(domain, vcpu, exit.instructionLength, dispatch);
    return 'handled';
  });
  tap('sysenter', (domain, vcpu) => {
    vcpu.inXen = true;
    onSysenter(domain, vcpu);
    return 'handled';
  });
  tap('exception', onException);
  tap('softwareInterrupt', (domain, vcpu, exit) => {
    vcpu.inXen = true;
    return onSoftwareInterrupt(domain, vcpu, exit, dispatch);
  });
  tap('io', onIo);
  tap('cpuid', privileged.cpuid);
  tap('rdmsr', privileged.rdmsr);
  tap('wrmsr', privileged.wrmsr);
  tap('readCr', privileged.readCr);
  tap('writeCr', privileged.writeCr);
  tap('clts', privileged.clts);
  tap('readDr', privileged.readDr);
  tap('writeDr', privileged.writeDr);
  tap('wbinvd', privileged.wbinvd);
  tap('cli', privileged.interruptFlag);
  tap('sti', privileged.interruptFlag);
  tap('shutdown', (domain, vcpu) => {
    domain.crash(vcpu, 'triple fault');
    return 'handled';
  });
}

/** Before guest code is entered: what is due in the domain's services, then a pending NMI, then the event upcall. */
export function onBeforeEntry(domain: PvDomain, vcpu: XenVcpu): void {
  const { services } = domain;
  vcpu.inXen = false;
  services.beforeEntry(vcpu);
  if (domain.ended || !vcpu.initialised || vcpu.cpu.blocked || vcpu.cpu.offline) return;
  if (vcpu.nmiPending && !vcpu.nmiMasked && vcpu.traps[Vector.NMI].address !== 0n) {
    vcpu.nmiPending = false;
    vcpu.nmiMasked = true;
    injectException(domain, vcpu, Vector.NMI);
  }
  if (services.upcallPending(vcpu)) deliverUpcall(domain, vcpu);
  domain.directEntries[vcpu.id].update(domain, vcpu);
  updatePorts(domain, vcpu);
  domain.directCalls[vcpu.id].update(domain.host, domain.mm.frames, vcpu);
}
