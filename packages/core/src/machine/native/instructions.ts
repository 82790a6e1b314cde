import { TSC_AUX } from '../../cpu/state.ts';
import { Flag } from '../../isa/flags.ts';
import type { InstructionExitName } from '../../isa/instruction-exit.ts';
import { breakpointsEnabled, Dr6, detectsAccess, reportInDr6 } from '../breakpoints/debug-registers.ts';
import { AccessRights } from '../cpu-mode.ts';
import type { MachineVcpu } from '../vcpu.ts';
import { memoryFault, type NativeAnswer, type NativeFault, protection, undefinedOpcode, Vector } from './answer.ts';
import { after, type Native, number, value } from './context.ts';
import { errorCodeOf, isFault, isNull, readDescriptor, SystemType, TSS_BUSY } from './descriptors.ts';
import { farTransfer } from './far-transfer.ts';
import { syscall, sysenter, sysexit, sysret } from './fast-calls.ts';
import { mergeFlags } from './flags.ts';
import { hasDescriptors, iopl, isLongMode } from './mode.ts';
import { readMsr, writeMsr } from './msrs.ts';
import { portIo, portString } from './port-io.ts';
import {
  invalidateProcessContext,
  readControlRegister,
  readDebugRegister,
  writeControlRegister,
  writeDebugRegister,
} from './registers.ts';
import { farReturn, interruptReturn } from './returns.ts';
import { returnToSameLevel } from './same-level-return.ts';
import { loadDataSegment, nullSegment } from './segments.ts';
import { loadAccessRights, loadFarPointer, loadLimit, verify } from './selectors.ts';
import { above, currentStack, peek, push, setStackPointer } from './stack.ts';

const RAX = 0;
const RBX = 3;
const RCX = 1;
const RDX = 2;
const SS = 2;

/** Only at CPL 0. */
const privileged =
  (run: Native): Native =>
  (context) =>
    context.privileged || context.vcpu.cpl === 0 ? run(context) : protection();

const setInterruptFlag =
  (on: boolean): Native =>
  (context) => {
    const { vcpu } = context;
    if (!context.privileged && vcpu.cpl > iopl(vcpu)) return protection();
    const { eflags } = vcpu;
    if (on && !(eflags & Flag.IF)) vcpu.interruptShadow = true;
    vcpu.eflags = on ? eflags | Flag.IF : eflags & ~Flag.IF;
    return 'next';
  };

const popf: Native = (context) => {
  const { vcpu } = context;
  const width = number(context, 0);
  const stack = currentStack(vcpu);
  const found = peek(vcpu, stack, width / 8, 1);
  if (isFault(found)) return found;
  setStackPointer(vcpu, stack, above(stack, width / 8));
  const kept = BigInt(Flag.RF | Flag.VIF | Flag.VIP | Flag.VM);
  const merged = mergeFlags(vcpu.rflags, found[0], vcpu.cpl, width);
  vcpu.rflags = (merged & ~kept) | (vcpu.rflags & kept & ~BigInt(Flag.RF));
  return 'next';
};

/** PUSHF, where IF is not in the state block. Virtual-8086 mode has been looked at. */
const pushf: Native = (context) => {
  const { vcpu } = context;
  const stack = currentStack(vcpu);
  const pointer = push(vcpu, stack, number(context, 0) / 8, [BigInt(vcpu.eflags & ~(Flag.RF | Flag.VM))]);
  if (typeof pointer === 'object') return pointer;
  setStackPointer(vcpu, stack, pointer);
  return 'next';
};

const popSegment: Native = (context) => {
  const { vcpu } = context;
  const bytes = number(context, 1) / 8;
  const stack = currentStack(vcpu);
  // A selector is read as a word, whatever the operand size moves the pointer by (SDM vol. 2B, POP).
  const found = peek(vcpu, stack, 2, 1);
  if (isFault(found)) return found;
  const fault = loadDataSegment(vcpu, number(context, 0), Number(found[0]));
  if (fault) return fault;
  setStackPointer(vcpu, stack, above(stack, bytes));
  if (number(context, 0) === SS) vcpu.interruptShadow = vcpu.debugShadow = true;
  return 'next';
};

/** MOV to a segment register. */
const loadSegment: Native = (context) => {
  const { vcpu } = context;
  const fault = loadDataSegment(vcpu, number(context, 0), number(context, 1) & 0xffff);
  if (fault) return fault;
  if (number(context, 0) === SS) vcpu.interruptShadow = vcpu.debugShadow = true;
  return 'next';
};

/** Only where there are descriptors: #UD in real-address and virtual-8086 mode. */
const needsDescriptors =
  (run: Native): Native =>
  (context) =>
    hasDescriptors(context.vcpu) ? run(context) : undefinedOpcode;

/** LLDT and LTR. In IA-32e mode system descriptors have 16 bytes (SDM vol. 3A, 8.2.3). */
const loadSelector =
  (which: 'ldtr' | 'tr'): Native =>
  (context) => {
    const { vcpu } = context;
    const selector = number(context, 0);
    if (isNull(selector)) {
      if (which === 'tr') return protection();
      vcpu.tables.ldtr = nullSegment(selector);
      return 'next';
    }
    const low = readDescriptor(vcpu, selector);
    if (isFault(low)) return low;
    const upper = isLongMode(vcpu) ? upperBase(vcpu, selector) : 0n;
    if (typeof upper === 'object') return upper;
    const type = low.accessRights & 0x1f;
    const allowed =
      which === 'ldtr'
        ? type === SystemType.LDT
        : type === SystemType.TSS32 || (type === SystemType.TSS16 && !isLongMode(vcpu));
    if (!allowed || selector & 4) return protection(errorCodeOf(selector));
    if (!(low.accessRights & AccessRights.P)) return { vector: Vector.NP, errorCode: errorCodeOf(selector) };
    let { accessRights } = low;
    if (which === 'tr') {
      accessRights |= TSS_BUSY;
      const busy = vcpu.tables.gdtr.base + BigInt((selector & 0xfff8) + 5);
      const written = vcpu.write(busy, Uint8Array.of(accessRights & 0xff), { as: 'supervisor' });
      if (!written.ok) return memoryFault(written.fault);
    }
    vcpu.tables[which] = { ...low, accessRights, base: low.base | upper };
    return 'next';
  };

function upperBase(vcpu: MachineVcpu, selector: number): bigint | NativeFault {
  const at = (selector & 0xfff8) + 8;
  if (at + 7 > vcpu.tables.gdtr.limit) return protection(errorCodeOf(selector));
  const high = vcpu.read(vcpu.tables.gdtr.base + BigInt(at), 4, { as: 'supervisor' });
  if (!high.ok) return memoryFault(high.fault);
  return BigInt(new DataView(high.bytes.buffer).getUint32(0, true)) << 32n;
}

const done = (fault: NativeAnswer | undefined): NativeAnswer => fault ?? 'done';

const far =
  (call: boolean): Native =>
  (context) => {
    const origin = { call, nextRip: after(context) };
    return done(farTransfer(context.vcpu, number(context, 0), value(context, 1), number(context, 2), origin));
  };

export const cpuidInstruction: Native = ({ vcpu, machine }) => {
  const answer = machine.cpuid(vcpu, Number(vcpu.gpr[RAX] & 0xffffffffn), Number(vcpu.gpr[RCX] & 0xffffffffn));
  vcpu.gpr[RAX] = BigInt(answer.eax >>> 0);
  vcpu.gpr[RBX] = BigInt(answer.ebx >>> 0);
  vcpu.gpr[RCX] = BigInt(answer.ecx >>> 0);
  vcpu.gpr[RDX] = BigInt(answer.edx >>> 0);
  return 'next';
};

const readTimeStamp: Native = ({ vcpu }) => {
  const ticks = vcpu.platform.tsc.read();
  vcpu.gpr[RAX] = ticks & 0xffffffffn;
  vcpu.gpr[RDX] = ticks >> 32n;
  return 'next';
};

const swapgs: Native = privileged(({ vcpu }) => {
  vcpu.swapGs();
  return 'next';
});

const iret: Native = (context) => {
  const { vcpu } = context;
  const width = number(context, 0);
  const resumeFlag = breakpointsEnabled(vcpu) && resumeFlagInFrame(vcpu, width);
  const short = width === 64 && returnToSameLevel(vcpu);
  const fault = short ? undefined : interruptReturn(vcpu, width, after(context));
  if (!fault) {
    vcpu.nmiBlocked = false;
    if (resumeFlag) vcpu.eflags |= Flag.RF;
  }
  return done(fault);
};

/** RF as IRET would load it: it keeps an instruction breakpoint from stopping the same instruction again. */
function resumeFlagInFrame(vcpu: MachineVcpu, width: number): boolean {
  if (width === 16) return false;
  const frame = peek(vcpu, currentStack(vcpu), width / 8, 3);
  return !isFault(frame) && (frame[2] & BigInt(Flag.RF)) !== 0n;
}

/** CLAC and STAC: #UD above CPL 0. */
const alignmentCheck =
  (on: boolean): Native =>
  ({ vcpu }) => {
    if (vcpu.cpl !== 0) return undefinedOpcode;
    vcpu.eflags = on ? vcpu.eflags | Flag.AC : vcpu.eflags & ~Flag.AC;
    return 'next';
  };

/** DR7.GD is set: #DB at the instruction (SDM vol. 3B, 18.3.1.2). */
function generalDetect(vcpu: MachineVcpu): NativeFault {
  reportInDr6(vcpu, Dr6.BD);
  return { vector: Vector.DB };
}

/** INT1: a #DB of the trap kind, with no check of the gate's DPL. */
const debugTrap: Native = (context) => {
  context.vcpu.rip = after(context);
  context.vcpu.latestDebug = { conditions: 0, dr6: context.vcpu.debugRegister(6) };
  return { vector: Vector.DB };
};

/**
 * The instructions that leave the engine, as the processor carries them out.
 * NOT IMPLEMENTED natively, #UD, and not advertised by CPUID: XSETBV, MONITOR, MWAIT, RDPMC. VMCALL and VMMCALL raise #UD unless a plug-in takes them.
 */
export const nativeInstructions: Partial<Record<InstructionExitName, Native>> = {
  syscall,
  sysret,
  sysenter,
  sysexit,
  iret,
  in: portIo('in'),
  out: portIo('out'),
  ins: portString('ins'),
  outs: portString('outs'),
  cpuid: cpuidInstruction,
  rdmsr: privileged(({ vcpu }) => readMsr(vcpu)),
  wrmsr: privileged(({ vcpu }) => writeMsr(vcpu)),
  readCr: privileged((context) => {
    const read = readControlRegister(context.vcpu, number(context, 0));
    if (read === undefined) return undefinedOpcode;
    context.vcpu.gpr[number(context, 1)] = read;
    return 'next';
  }),
  writeCr: privileged((context) => writeControlRegister(context.vcpu, number(context, 0), value(context, 2))),
  readDr: privileged((context) => {
    if (detectsAccess(context.vcpu)) return generalDetect(context.vcpu);
    const read = readDebugRegister(context.vcpu, number(context, 0));
    if (read === undefined) return undefinedOpcode;
    context.vcpu.gpr[number(context, 1)] = read;
    return 'next';
  }),
  writeDr: privileged((context) => {
    if (detectsAccess(context.vcpu)) return generalDetect(context.vcpu);
    return writeDebugRegister(context.vcpu, number(context, 0), value(context, 2));
  }),
  clts: privileged(({ vcpu }) => {
    vcpu.cr0 &= ~8n;
    return 'next';
  }),
  lmsw: privileged((context) => {
    const { vcpu } = context;
    const word = BigInt(number(context, 0) & 15);
    return writeControlRegister(vcpu, 0, (vcpu.cr0 & ~14n) | word | (vcpu.cr0 & 1n));
  }),
  lgdt: privileged((context) => {
    context.vcpu.tables.gdtr.limit = number(context, 0);
    context.vcpu.tables.gdtr.base = value(context, 1);
    return 'next';
  }),
  lidt: privileged((context) => {
    context.vcpu.tables.idtr.limit = number(context, 0);
    context.vcpu.tables.idtr.base = value(context, 1);
    return 'next';
  }),
  lldt: needsDescriptors(privileged(loadSelector('ldtr'))),
  ltr: needsDescriptors(privileged(loadSelector('tr'))),
  invpcid: privileged((context) =>
    invalidateProcessContext(context.vcpu, value(context, 0), value(context, 1), value(context, 2)),
  ),
  invlpg: privileged((context) => {
    context.vcpu.flushTlb(value(context, 0));
    return 'next';
  }),
  pause: ({ vcpu }) => {
    vcpu.hasPaused = true;
    return 'next';
  },
  rdtsc: readTimeStamp,
  rdtscp: (context) => {
    context.vcpu.gpr[RCX] = BigInt(context.vcpu.slot32(TSC_AUX) >>> 0);
    return readTimeStamp(context);
  },
  wbinvd: privileged(() => 'next'),
  invd: privileged(() => 'next'),
  swapgs,
  cli: setInterruptFlag(false),
  sti: setInterruptFlag(true),
  hlt: privileged(({ vcpu }) => {
    vcpu.blocked = true;
    return 'next';
  }),
  farJump: far(false),
  farCall: far(true),
  farReturn: (context) => done(farReturn(context.vcpu, number(context, 0), number(context, 1))),
  loadSegment,
  loadFarPointer,
  lar: needsDescriptors(loadAccessRights),
  lsl: needsDescriptors(loadLimit),
  verr: needsDescriptors(verify('read')),
  verw: needsDescriptors(verify('write')),
  popSegment,
  popf,
  pushf,
  clac: alignmentCheck(false),
  stac: alignmentCheck(true),
  int1: debugTrap,
};
