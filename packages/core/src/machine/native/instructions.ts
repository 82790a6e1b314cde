import { Flag } from '../../isa/flags.ts';
import type { InstructionExitName } from '../../isa/instruction-exit.ts';
import { memoryFault, type NativeAnswer, protection, undefinedOpcode, Vector } from './answer.ts';
import { after, iopl, type Native, number, value } from './context.ts';
import { farReturn, farTransfer, interruptReturn, mergeFlags } from './delivery.ts';
import { readMsr, writeMsr } from './msrs.ts';
import { portIo, portString } from './port-io.ts';
import { readControlRegister, readDebugRegister, writeControlRegister, writeDebugRegister } from './registers.ts';
import { returnToSameLevel } from './same-level-return.ts';
import { isFault, loadDataSegment, readDescriptor } from './segments.ts';
import { loadAccessRights, loadFarPointer, loadLimit, verify } from './selectors.ts';

const RAX = 0;
const RBX = 3;
const RCX = 1;
const RDX = 2;
const RSP = 4;
const GS = 5;
const SS = 2;
/** In a TSS descriptor's type. */
const TSS_BUSY = 2;

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
    if (on && !(vcpu.rflags & BigInt(Flag.IF))) vcpu.interruptShadow = true;
    vcpu.rflags = on ? vcpu.rflags | BigInt(Flag.IF) : vcpu.rflags & ~BigInt(Flag.IF);
    return 'next';
  };

const popf: Native = (context) => {
  const { vcpu } = context;
  const width = number(context, 0);
  const found = vcpu.read(vcpu.gpr[RSP], width / 8);
  if (!found.ok) return memoryFault(found.fault);
  const view = new DataView(found.bytes.buffer);
  const image = BigInt(width === 16 ? view.getUint16(0, true) : view.getUint32(0, true));
  vcpu.gpr[RSP] += BigInt(width / 8);
  const kept = BigInt(Flag.RF | Flag.VIF | Flag.VIP | Flag.VM);
  const merged = mergeFlags(vcpu.rflags, image, vcpu.cpl, width);
  vcpu.rflags = (merged & ~kept) | (vcpu.rflags & kept & ~BigInt(Flag.RF));
  return 'next';
};

const popSegment: Native = (context) => {
  const { vcpu } = context;
  const bytes = number(context, 1) / 8;
  const found = vcpu.read(vcpu.gpr[RSP], bytes);
  if (!found.ok) return memoryFault(found.fault);
  const fault = loadDataSegment(vcpu, number(context, 0), new DataView(found.bytes.buffer).getUint16(0, true));
  if (fault) return fault;
  vcpu.gpr[RSP] += BigInt(bytes);
  if (number(context, 0) === SS) vcpu.interruptShadow = true;
  return 'next';
};

/** MOV to a segment register. */
const loadSegment: Native = (context) => {
  const { vcpu } = context;
  const fault = loadDataSegment(vcpu, number(context, 0), number(context, 1) & 0xffff);
  if (fault) return fault;
  if (number(context, 0) === SS) vcpu.interruptShadow = true;
  return 'next';
};

const loadSelector =
  (which: 'ldtr' | 'tr'): Native =>
  (context) => {
    const { vcpu } = context;
    const selector = number(context, 0);
    if ((selector & 0xfffc) === 0) {
      if (which === 'tr') return protection();
      vcpu.tables.ldtr = { selector, base: 0n, limit: 0, accessRights: 1 << 16 };
      return 'next';
    }
    const low = readDescriptor(vcpu, selector);
    if (isFault(low)) return low;
    // The upper half of a 16-byte system descriptor (SDM vol. 3A, 8.2.3).
    if ((selector & 0xfff8) + 15 > vcpu.tables.gdtr.limit) return protection(selector & 0xfffc);
    const high = vcpu.read(vcpu.tables.gdtr.base + BigInt((selector & 0xfff8) + 8), 4, { as: 'supervisor' });
    if (!high.ok) return memoryFault(high.fault);
    const upper = BigInt(new DataView(high.bytes.buffer).getUint32(0, true)) << 32n;
    const wanted = which === 'tr' ? 9 : 2;
    if ((low.accessRights & 0x1f) !== wanted || selector & 4) return protection(selector & 0xfffc);
    if (!(low.accessRights & 0x80)) return { vector: Vector.NP, errorCode: selector & 0xfffc };
    let { accessRights } = low;
    if (which === 'tr') {
      accessRights |= TSS_BUSY;
      const written = vcpu.write(
        vcpu.tables.gdtr.base + BigInt((selector & 0xfff8) + 5),
        Uint8Array.of(accessRights & 0xff),
        { as: 'supervisor' },
      );
      if (!written.ok) return memoryFault(written.fault);
    }
    vcpu.tables[which] = { ...low, accessRights, base: low.base | upper };
    return 'next';
  };

const done = (fault: NativeAnswer | undefined): NativeAnswer => fault ?? 'done';

const cpuidInstruction: Native = ({ vcpu, machine }) => {
  const answer = machine.cpuid(vcpu, Number(vcpu.gpr[RAX] & 0xffffffffn), Number(vcpu.gpr[RCX] & 0xffffffffn));
  vcpu.gpr[RAX] = BigInt(answer.eax >>> 0);
  vcpu.gpr[RBX] = BigInt(answer.ebx >>> 0);
  vcpu.gpr[RCX] = BigInt(answer.ecx >>> 0);
  vcpu.gpr[RDX] = BigInt(answer.edx >>> 0);
  return 'next';
};

const Msr = { STAR: 0xc0000081, LSTAR: 0xc0000082, CSTAR: 0xc0000083, FMASK: 0xc0000084 } as const;
const EFER_SCE = 1n;
const FLAT_CODE64 = 0xa09b;
const FLAT_CODE32 = 0xc09b;
const FLAT_DATA = 0xc093;

/** SYSCALL (SDM vol. 2B; AMD APM vol. 3): selectors from STAR, no descriptor is read. */
const syscall: Native = (context) => {
  const { vcpu } = context;
  if (!(vcpu.efer & EFER_SCE)) return undefinedOpcode;
  const msr = (index: number) => vcpu.msrs.get(index) ?? 0n;
  const selector = Number((msr(Msr.STAR) >> 32n) & 0xfffcn);
  vcpu.gpr[RCX] = after(context);
  vcpu.gpr[11] = vcpu.rflags & ~BigInt(Flag.RF);
  vcpu.rip = vcpu.engine.mode === 'long64' ? msr(Msr.LSTAR) : msr(Msr.CSTAR);
  vcpu.rflags = (vcpu.rflags & ~msr(Msr.FMASK) & ~BigInt(Flag.RF)) | 2n;
  vcpu.setSegment(1, { selector, base: 0n, limit: 0xffffffff, accessRights: FLAT_CODE64 });
  vcpu.setSegment(2, { selector: selector + 8, base: 0n, limit: 0xffffffff, accessRights: FLAT_DATA });
  vcpu.cpl = 0;
  return 'done';
};

const sysret: Native = privileged((context) => {
  const { vcpu } = context;
  if (!(vcpu.efer & EFER_SCE)) return undefinedOpcode;
  const wide = number(context, 0) === 64;
  const base = Number((vcpu.msrs.get(Msr.STAR) ?? 0n) >> 48n) & 0xffff;
  const selector = (wide ? base + 16 : base) | 3;
  vcpu.rip = wide ? vcpu.gpr[RCX] : vcpu.gpr[RCX] & 0xffffffffn;
  vcpu.rflags = (vcpu.gpr[11] & 0x3c7fd7n) | 2n;
  vcpu.setSegment(1, {
    selector,
    base: 0n,
    limit: 0xffffffff,
    accessRights: (wide ? FLAT_CODE64 : FLAT_CODE32) | 0x60,
  });
  vcpu.setSegment(2, { selector: (base + 8) | 3, base: 0n, limit: 0xffffffff, accessRights: FLAT_DATA | 0x60 });
  vcpu.cpl = 3;
  return 'done';
});

const swapgs: Native = privileged(({ vcpu }) => {
  const segment = vcpu.segment(GS);
  vcpu.setSegment(GS, { ...segment, base: vcpu.kernelGsBase });
  vcpu.kernelGsBase = segment.base;
  return 'next';
});

const iret: Native = (context) => {
  const width = number(context, 0);
  const short = width === 64 && returnToSameLevel(context.vcpu);
  const fault = short ? undefined : interruptReturn(context.vcpu, width);
  if (!fault) context.vcpu.nmiBlocked = false;
  return done(fault);
};

/** CLAC and STAC: #UD above CPL 0. */
const alignmentCheck =
  (on: boolean): Native =>
  ({ vcpu }) => {
    if (vcpu.cpl !== 0) return undefinedOpcode;
    vcpu.rflags = on ? vcpu.rflags | BigInt(Flag.AC) : vcpu.rflags & ~BigInt(Flag.AC);
    return 'next';
  };

/** INT1: a #DB of the trap kind, with no check of the gate's DPL. */
const debugTrap: Native = (context) => {
  context.vcpu.rip = after(context);
  return { vector: Vector.DB };
};

/**
 * The instructions that leave the engine, as the processor carries them out.
 * NOT IMPLEMENTED natively, #UD, and not advertised by CPUID: SYSENTER, SYSEXIT (as AMD's do in long mode), INVPCID,
 * XSETBV, MONITOR, MWAIT, RDPMC. VMCALL and VMMCALL raise #UD unless a plug-in takes them.
 */
export const nativeInstructions: Partial<Record<InstructionExitName, Native>> = {
  syscall,
  sysret,
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
    const read = readDebugRegister(context.vcpu, number(context, 0));
    if (read === undefined) return undefinedOpcode;
    context.vcpu.gpr[number(context, 1)] = read;
    return 'next';
  }),
  writeDr: privileged((context) => writeDebugRegister(context.vcpu, number(context, 0), value(context, 2))),
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
  lldt: privileged(loadSelector('ldtr')),
  ltr: privileged(loadSelector('tr')),
  invlpg: privileged((context) => {
    context.vcpu.flushTlb(value(context, 0));
    return 'next';
  }),
  wbinvd: privileged(() => 'next'),
  invd: privileged(() => 'next'),
  swapgs,
  cli: setInterruptFlag(false),
  sti: setInterruptFlag(true),
  hlt: privileged(({ vcpu }) => {
    vcpu.blocked = true;
    return 'next';
  }),
  farJump: (context) =>
    done(farTransfer(context.vcpu, number(context, 0), value(context, 1), number(context, 2), undefined)),
  farCall: (context) =>
    done(farTransfer(context.vcpu, number(context, 0), value(context, 1), number(context, 2), after(context))),
  farReturn: (context) => done(farReturn(context.vcpu, number(context, 0), number(context, 1))),
  loadSegment,
  loadFarPointer,
  lar: loadAccessRights,
  lsl: loadLimit,
  verr: verify('read'),
  verw: verify('write'),
  popSegment,
  popf,
  clac: alignmentCheck(false),
  stac: alignmentCheck(true),
  int1: debugTrap,
};
