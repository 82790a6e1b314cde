/** VMRUN and #VMEXIT: the host's world, the guest's, and the ways between them (AMD APM vol. 2, 15.5 to 15.7). */
import type {
  DeliveredEvent,
  EventGate,
  Exit,
  ExitAnswer,
  ExitOf,
  GatedEvent,
  PhysicalEvent,
  Vcpu,
} from '@polyvisor/plugin-api';
import type { Surroundings } from '../assist.ts';
import { illegalState } from './consistency.ts';
import { eventInfo, eventOf } from './events.ts';
import { ExitCode, exitName } from './exit-codes.ts';
import { type HostState, keepHost, loadGuest, restoreHost, saveGuest, vmload, vmsave } from './guest-state.ts';
import { mayIntercept, type Rules, unseenIntercepts, type VmExit, vmExitOf } from './interception.ts';
import { Intercept, type Intercepts, readIntercepts } from './intercepts.ts';
import { NestedPageTables, NpfCode } from './nested-paging.ts';
import { NP_ENABLE, TlbControl, VirtualInterrupt, Vmcb } from './vmcb.ts';

/** SCE, LME, LMA, NXE, SVME, AIBRSE. */
const EFER_BITS = 0x20_1d01n;
const EFER_LMA = 1n << 10n;
const EFER_NXE = 1n << 11n;
const CR0_PG = 1n << 31n;
const CR4_PSE = 1n << 4n;
const CR4_PAE = 1n << 5n;
const CR4_SMEP = 1n << 20n;
const RFLAGS_TF = 1n << 8n;
const RFLAGS_IF = 1n << 9n;
const DR6_BS = 1n << 14n;
const VECTOR_DB = 1;
const TASK_PRIORITY_REGISTER = 8;
/** As CPUID says: numbered from 0, which is the host's. */
export const ASIDS = 64;
const MASK64 = (1n << 64n) - 1n;
const OF_CHIPS = 'chips';

/** The guest that runs. */
interface RunningGuest {
  readonly vmcb: Vmcb;
  readonly host: HostState;
  readonly rules: Rules;
  readonly tables: NestedPageTables | undefined;
  /** V_TPR, V_IRQ and their like, as they are now. */
  virtual: number;
  readonly virtualVector: number;
}

/** Which world a vCPU is in. */
export class World {
  readonly #vcpu: Vcpu;
  readonly #surroundings: Surroundings;
  /** The global interrupt flag (15.17). */
  #gif = true;
  #guest: RunningGuest | undefined;
  /** The interrupt that the guest takes at this moment: a virtual one, or that of the chips. */
  #taken: number | typeof OF_CHIPS | undefined;

  constructor(vcpu: Vcpu, surroundings: Surroundings) {
    this.#vcpu = vcpu;
    this.#surroundings = surroundings;
  }

  /** From now on events come by the global interrupt flag. */
  attach(): void {
    this.#vcpu.eventGate ??= this.#gate;
    this.#vcpu.externalInterrupt ??= () => this.#virtualInterrupt();
  }

  setGif(gif: boolean): void {
    this.#gif = gif;
    if (gif) this.#vcpu.kick();
  }

  // ---- events ----

  readonly #gate: EventGate = {
    lets: (event) => this.#lets(event),
    takes: (event) => this.#takes(event),
  };
  #lets(event: PhysicalEvent): boolean | undefined {
    if (!this.#gif) return false;
    const guest = this.#guest;
    if (event === 'nmi' || !guest || !(guest.virtual & VirtualInterrupt.V_INTR_MASKING)) return undefined;
    return (guest.host.rflags & RFLAGS_IF) !== 0n;
  }
  #takes(event: GatedEvent): boolean {
    const { intercepts } = this.#guest?.rules ?? {};
    if (!intercepts) return false;
    if (event === 'external') return this.#takesVirtual();
    const [bit, code] = event === 'nmi' ? [Intercept.NMI, ExitCode.NMI] : [Intercept.INTR, ExitCode.INTR];
    if (intercepts.has(bit)) {
      this.#vmexit({ code });
      return true;
    }
    if (event === 'interrupt') this.#taken = OF_CHIPS;
    return false;
  }
  #takesVirtual(): boolean {
    const guest = this.#guest as RunningGuest;
    if (guest.rules.intercepts.has(Intercept.VINTR)) {
      this.#vmexit({ code: ExitCode.VINTR });
      return true;
    }
    guest.virtual &= ~VirtualInterrupt.V_IRQ;
    this.#taken = guest.virtualVector;
    return false;
  }
  /** Vector of the virtual interrupt that the guest could take, or takes now (15.21.4). */
  #virtualInterrupt(): number | undefined {
    if (this.#taken !== undefined) {
      const taken = this.#taken;
      this.#taken = undefined;
      return taken === OF_CHIPS ? undefined : taken;
    }
    const guest = this.#guest;
    if (!guest || (guest.virtual & VirtualInterrupt.V_IRQ) === 0) return undefined;
    const { V_TPR_MASK, V_INTR_PRIO_MASK, V_INTR_PRIO_SHIFT, V_IGN_TPR } = VirtualInterrupt;
    const priority = (guest.virtual & V_INTR_PRIO_MASK) >>> V_INTR_PRIO_SHIFT;
    const isAbove = priority > (guest.virtual & V_TPR_MASK & 0xf) || (guest.virtual & V_IGN_TPR) !== 0;
    return isAbove ? guest.virtualVector : undefined;
  }
  /** CR8 of a guest with V_INTR_MASKING is V_TPR (15.21.2). True: done. */
  #taskPriority(guest: RunningGuest, exit: ExitOf<'readCr'> | ExitOf<'writeCr'>): boolean {
    const { gpr, cpl } = this.#vcpu;
    if (exit.cr !== TASK_PRIORITY_REGISTER || cpl !== 0) return false;
    if (!(guest.virtual & VirtualInterrupt.V_INTR_MASKING)) return false;
    if (exit.kind === 'readCr') gpr[exit.gpr] = BigInt(guest.virtual & 0xf);
    else if (gpr[exit.gpr] > 0xfn) return false;
    else guest.virtual = (guest.virtual & ~VirtualInterrupt.V_TPR_MASK) | Number(gpr[exit.gpr]);
    return true;
  }

  // ---- VMRUN ----

  vmload(address: number): void {
    vmload(this.#vcpu, new Vmcb(this.#surroundings.memory, address));
  }
  vmsave(address: number): void {
    vmsave(this.#vcpu, new Vmcb(this.#surroundings.memory, address));
  }

  vmrun(address: number, lengthBytes: number): void {
    const { memory, count } = this.#surroundings;
    const vcpu = this.#vcpu;
    const vmcb = new Vmcb(memory, address);
    const host = keepHost(vcpu, vcpu.rip + BigInt(lengthBytes));
    count('vmrun');
    const illegal = illegalState(vmcb, {
      asids: ASIDS,
      cr4Bits: vcpu.cr4Bits,
      eferBits: EFER_BITS,
      hostPaging: (host.cr0 & CR0_PG) !== 0n,
    });
    if (illegal !== undefined) {
      this.#refuse(vmcb, host, illegal);
      return;
    }
    const tables = this.#tables(vmcb, host);
    const intercepts = readIntercepts(vmcb);
    this.#tellUnseen(intercepts);
    const guest: RunningGuest = {
      ...{ vmcb, host, tables },
      rules: {
        intercepts,
        memory,
        iopmBasePa: Number(vmcb.read64('IOPM_BASE_PA')),
        msrpmBasePa: Number(vmcb.read64('MSRPM_BASE_PA')),
      },
      virtual: vmcb.read('V_CONTROL'),
      virtualVector: vmcb.read('V_INTR_VECTOR'),
    };
    this.#guest = guest;
    this.#gif = true;
    loadGuest(vcpu, vmcb, {
      addressSpace: vmcb.read('ASID'),
      secondLevel: tables,
      tscOffset: vmcb.read64('TSC_OFFSET'),
      exit: (exit) => this.#exit(guest, exit),
      wants: (kind) => mayIntercept(kind, guest.rules.intercepts),
    });
    if (vmcb.read('TLB_CONTROL') !== TlbControl.NOTHING) vcpu.flushTlb();
    this.#inject(eventOf(vmcb.read64('EVENTINJ')));
    vcpu.kick();
  }
  readonly #toldUnseen = new Set<string>();
  #tellUnseen(intercepts: Intercepts): void {
    for (const name of unseenIntercepts(intercepts)) {
      if (this.#toldUnseen.has(name)) continue;
      this.#toldUnseen.add(name);
      this.#surroundings.log('debug', `a guest's guest runs with an intercept that has no effect: ${name}`);
    }
  }
  #tables(vmcb: Vmcb, host: HostState): NestedPageTables | undefined {
    if ((vmcb.read('NP_CONTROL') & NP_ENABLE) === 0) return undefined;
    return new NestedPageTables(this.#surroundings.memory, {
      levels: host.efer & EFER_LMA ? 'four' : host.cr4 & CR4_PAE ? 'pae' : 'legacy',
      nCr3: Number(vmcb.read64('nCR3')),
      noExecute: (host.efer & EFER_NXE) !== 0n,
      fetchesAreTold: (host.efer & EFER_NXE) !== 0n || (host.cr4 & CR4_SMEP) !== 0n,
      pageSizeExtensions: (host.cr4 & CR4_PSE) !== 0n,
    });
  }
  #inject(event: DeliveredEvent | undefined): void {
    if (event) this.#vcpu.inject(event.vector, event.errorCode, event.source);
  }
  /** #VMEXIT(INVALID): nothing of the guest has been loaded. */
  #refuse(vmcb: Vmcb, host: HostState, why: string): void {
    this.#surroundings.log('debug', `VMRUN refuses the VMCB at 0x${vmcb.gpa.toString(16)}: ${why}`);
    this.#surroundings.count('vmexit.INVALID');
    vmcb.write64('EXITCODE', BigInt(ExitCode.INVALID));
    vmcb.write64('EVENTINJ', 0n);
    this.#gif = false;
    restoreHost(this.#vcpu, host);
  }

  // ---- #VMEXIT ----

  /** The first say in an exit of the guest: `handled` as a #VMEXIT, or as CR8 of its own. */
  #exit(guest: RunningGuest, exit: Exit): ExitAnswer {
    const vmExit =
      exit.kind === 'secondLevelFault' ? this.#nestedPageFault(guest, exit) : vmExitOf(exit, guest.rules, this.#vcpu);
    if (vmExit) {
      const lengthBytes = 'instructionLength' in exit ? exit.instructionLength : 0;
      this.#vmexit(vmExit, 'during' in exit ? exit.during : undefined, lengthBytes);
      return 'handled';
    }
    if (exit.kind !== 'readCr' && exit.kind !== 'writeCr') return 'pass';
    return this.#taskPriority(guest, exit) ? 'handled' : 'pass';
  }
  #nestedPageFault({ tables }: RunningGuest, { gpa, access }: ExitOf<'secondLevelFault'>): VmExit {
    const where = access === 'table' || access === 'tableWrite' ? NpfCode.TABLE : NpfCode.FINAL;
    return { code: ExitCode.NPF, info1: BigInt(tables?.errorCode ?? 0) | where, info2: BigInt(gpa) };
  }

  #vmexit({ code, info1 = 0n, info2 = 0n }: VmExit, during?: DeliveredEvent, lengthBytes = 0): void {
    const vcpu = this.#vcpu;
    const { vmcb, host, virtual } = this.#guest as RunningGuest;
    this.#surroundings.count(`vmexit.${exitName(code)}`);
    // An event that VMRUN was asked to inject, and that has not been on its way yet, is told as one whose delivery came to nothing.
    const interrupted = during ?? vcpu.takeInjected();
    saveGuest(vcpu, vmcb);
    vmcb.write64('EXITCODE', BigInt(code));
    vmcb.write64('EXITINFO1', info1);
    vmcb.write64('EXITINFO2', info2);
    vmcb.write64('EXITINTINFO', eventInfo(interrupted));
    vmcb.write64('EVENTINJ', 0n);
    vmcb.write64('nRIP', lengthBytes === 0 ? 0n : (vcpu.rip + BigInt(lengthBytes)) & MASK64);
    vmcb.write('V_CONTROL', virtual);
    this.#guest = undefined;
    this.#taken = undefined;
    this.#gif = false;
    vcpu.blocked = false;
    restoreHost(vcpu, host);
    // VMRUN is done now: it is what the host has stepped over (15.5.1).
    if (host.rflags & RFLAGS_TF) {
      vcpu.setDebugRegister(6, vcpu.debugRegister(6) | DR6_BS);
      vcpu.inject(VECTOR_DB);
    }
  }
}
