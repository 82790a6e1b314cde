import {
  type ExitAnswer,
  type ExitKind,
  type ExitOf,
  Gpr,
  type PluginHost,
  SegmentIndex,
  type Vcpu,
} from '@polyvisor/plugin-api';
import type { WordBytes } from '../abi/struct.ts';
import { xenLeaf } from '../cpu/cpuid.ts';
import { type HypercallContext, NO_RESULT, type XenVcpu } from '../domain.ts';
import { EPERM } from '../errno.ts';
import { dispatchHypercall } from '../hypercall/dispatch.ts';
import { PAGE_BYTES } from '../layout.ts';
import { ARGUMENTS, type HvmDomain } from './hvmDomain.ts';
import { type HypercallInstruction, hvmHypercallPage } from './hypercallPage.ts';

export type FindHvm = (cpu: Vcpu) => { readonly domain: HvmDomain; readonly vcpu: XenVcpu } | undefined;
type Handler<K extends ExitKind> = (domain: HvmDomain, vcpu: XenVcpu, exit: ExitOf<K>) => ExitAnswer;

const VECTOR_UD = 6;
const VECTOR_GP = 13;
const RFLAGS_IF = 1 << 9;
const RFLAGS_VM = 1 << 17;
const EFER_LMA = 1n << 10n;
const CODE_L = 1 << 13;
const LEAVES = 0x100;
const LOW = 0xffff_ffffn;
/** "Auth", of "AuthenticAMD", in EBX of leaf 0. */
const AMD = 0x6874_7541;

/** First-level exits of guests on real page tables; whatever is not here is the processor's own behaviour. */
export function tapHvmExits(host: PluginHost, find: FindHvm): void {
  const tap = <K extends ExitKind>(kind: K, handler: Handler<K>): void => {
    host.hooks.exit.for(kind).tap('xen', (cpu, exit) => {
      const found = find(cpu);
      return found === undefined ? 'pass' : handler(found.domain, found.vcpu, exit);
    });
  };
  tap('hypercall', onHypercall);
  tap('cpuid', onCpuid);
  tap('wrmsr', onWriteMsr);
  tap('rdmsr', (domain, { cpu }) => (isOwnMsr(domain, cpu) ? { fault: VECTOR_GP, errorCode: 0 } : 'pass'));
  tap('hlt', (domain, vcpu) => {
    // Above CPL 0 it is #GP.
    if (vcpu.cpu.cpl !== 0) return 'pass';
    domain.halted(vcpu, (vcpu.cpu.eflags & RFLAGS_IF) !== 0);
    return domain.ended || vcpu.cpu.offline ? 'handled' : 'pass';
  });
}

/** Before guest code is entered: what is due in the services; interrupts are taken by the processor itself. */
export function onHvmBeforeEntry(domain: HvmDomain, vcpu: XenVcpu): void {
  domain.services.beforeEntry(vcpu);
  domain.upcalls.refresh(vcpu);
}

function instructionOf(domain: HvmDomain): HypercallInstruction {
  return domain.machine.cpuid(0, 0).ebx === AMD ? 'vmmcall' : 'vmcall';
}

function wordBytesOf(cpu: Vcpu): WordBytes {
  const isLong = (cpu.efer & EFER_LMA) !== 0n && (cpu.accessRights(SegmentIndex.CS) & CODE_L) !== 0;
  return isLong ? 8 : 4;
}

/** A processor has one of the two instructions; the other is #UD, as on hardware. Only CPL 0 may call. */
function onHypercall(domain: HvmDomain, vcpu: XenVcpu, exit: ExitOf<'hypercall'>): ExitAnswer {
  const { cpu } = vcpu;
  if (exit.instruction !== instructionOf(domain)) return { fault: VECTOR_UD };
  const wordBytes = wordBytesOf(cpu);
  const isRefused = cpu.cpl !== 0 || (cpu.eflags & RFLAGS_VM) !== 0;
  const result = isRefused ? EPERM : call({ domain, vcpu, wordBytes });
  if (result !== NO_RESULT) cpu.gpr[Gpr.RAX] = BigInt.asUintN(wordBytes * 8, result);
  return 'handled';
}

function call(context: HypercallContext) {
  const { gpr } = context.vcpu.cpu;
  const mask = context.wordBytes === 8 ? 0xffff_ffff_ffff_ffffn : LOW;
  const number = gpr[Gpr.RAX] & mask;
  const args = ARGUMENTS[context.wordBytes].map((register) => gpr[register] & mask);
  return dispatchHypercall(context, number > LOW ? -1 : Number(number), args);
}

function onCpuid(domain: HvmDomain, vcpu: XenVcpu): ExitAnswer {
  const { gpr } = vcpu.cpu;
  const index = Number(gpr[Gpr.RAX] & LOW) - domain.leafBase;
  if (index < 0 || index >= LEAVES) return 'pass';
  const answer = xenLeaf(domain, vcpu, index, Number(gpr[Gpr.RCX] & LOW));
  gpr[Gpr.RAX] = BigInt(answer.eax >>> 0);
  gpr[Gpr.RBX] = BigInt(answer.ebx >>> 0);
  gpr[Gpr.RCX] = BigInt(answer.ecx >>> 0);
  gpr[Gpr.RDX] = BigInt(answer.edx >>> 0);
  return 'handled';
}

/** The MSR for the hypercall page has the number of the first leaf. */
function isOwnMsr(domain: HvmDomain, cpu: Vcpu): boolean {
  return Number(cpu.gpr[Gpr.RCX] & LOW) === domain.leafBase;
}

/** The MSR that leaf 2 names: guest-physical address of the page, with its number in the low 12 bits; there is one. */
function onWriteMsr(domain: HvmDomain, vcpu: XenVcpu): ExitAnswer {
  const { cpu } = vcpu;
  if (!isOwnMsr(domain, cpu)) return 'pass';
  if (cpu.cpl !== 0) return 'pass';
  const value = (cpu.gpr[Gpr.RAX] & LOW) | ((cpu.gpr[Gpr.RDX] & LOW) << 32n);
  const gfn = Number(value >> 12n);
  if ((value & 0xfffn) !== 0n || !domain.mm.isGuestFrame(gfn)) return { fault: VECTOR_GP, errorCode: 0 };
  domain.latchWordSize(wordBytesOf(cpu));
  domain.hypercallPageGpa = gfn * PAGE_BYTES;
  domain.memory.writeBytes(domain.hypercallPageGpa, hvmHypercallPage(instructionOf(domain)));
  return 'handled';
}
