/** Which exits of the guest's code are #VMEXITs, by its VMCB (AMD APM vol. 2, 15.7 to 15.14). */
import { type Exit, type ExitKind, type ExitOf, Gpr, type GuestMemory, type Vcpu } from '@polyvisor/plugin-api';
import { ExitCode } from './exit-codes.ts';
import { Intercept, type InterceptBit, type Intercepts } from './intercepts.ts';
import { interceptsMsr, interceptsPort, ioioExitInfo1 } from './permission-maps.ts';

/** A #VMEXIT: EXITCODE, EXITINFO1 and EXITINFO2. */
export interface VmExit {
  readonly code: number;
  readonly info1?: bigint;
  readonly info2?: bigint;
}

/** What decides, of one VMCB as VMRUN has read it. */
export interface Rules {
  readonly intercepts: Intercepts;
  readonly memory: GuestMemory;
  readonly iopmBasePa: number;
  readonly msrpmBasePa: number;
}

type Rule<K extends ExitKind> = (exit: ExitOf<K>, rules: Rules, vcpu: Vcpu) => VmExit | undefined;

const VECTOR_PF = 14;
/** INT3 and INTO have one byte, INT n has two: the former are exceptions (15.14.2). */
const ONE_BYTE = 1;
const CR0_TS_MP = 0xan;
/** EXITINFO1 of a task switch and of MOV to CRn are given without decode assists (15.7.1): all zero. */
const when = (isIntercepted: boolean, code: number): VmExit | undefined => (isIntercepted ? { code } : undefined);
/** An instruction that only CPL 0 may execute: #GP comes before the intercept (15.7, table 15-7). */
const privileged =
  (bit: InterceptBit, code: number) =>
  (_exit: Exit, { intercepts }: Rules, vcpu: Vcpu): VmExit | undefined =>
    when(vcpu.cpl === 0 && intercepts.has(bit), code);

function changesCr0Selectively(vcpu: Vcpu, value: bigint): boolean {
  return ((vcpu.cr0 ^ value) & ~CR0_TS_MP) !== 0n;
}

function writesCr0(value: bigint, { intercepts }: Rules, vcpu: Vcpu): VmExit | undefined {
  if (intercepts.writesCr(0)) return { code: ExitCode.CR0_WRITE };
  return when(intercepts.has(Intercept.CR0_SEL_WRITE) && changesCr0Selectively(vcpu, value), ExitCode.CR0_SEL_WRITE);
}

const exception: Rule<'exception'> = ({ vector, errorCode, cr2 }, { intercepts }) => {
  if (!intercepts.exception(vector)) return undefined;
  return {
    code: ExitCode.EXCP0 + vector,
    ...(errorCode !== undefined && { info1: BigInt(errorCode) }),
    ...(vector === VECTOR_PF && cr2 !== undefined && { info2: cr2 }),
  };
};

const softwareInterrupt: Rule<'softwareInterrupt'> = ({ vector, instructionLength }, { intercepts }) => {
  if (instructionLength === ONE_BYTE) return when(intercepts.exception(vector), ExitCode.EXCP0 + vector);
  return intercepts.has(Intercept.INTn) ? { code: ExitCode.SWINT, info1: BigInt(vector) } : undefined;
};

const io: Rule<'io'> = (exit, { intercepts, memory, iopmBasePa }, vcpu) => {
  if (!intercepts.has(Intercept.IOIO_PROT)) return undefined;
  if (!interceptsPort(memory, iopmBasePa, exit.port, exit.sizeBytes)) return undefined;
  const info1 = BigInt(ioioExitInfo1(exit));
  return { code: ExitCode.IOIO, info1, info2: vcpu.rip + BigInt(exit.instructionLength) };
};

const msr =
  (access: 'read' | 'write') =>
  (_exit: Exit, { intercepts, memory, msrpmBasePa }: Rules, vcpu: Vcpu): VmExit | undefined => {
    if (vcpu.cpl !== 0 || !intercepts.has(Intercept.MSR_PROT)) return undefined;
    if (!interceptsMsr(memory, msrpmBasePa, vcpu.gprHalves[2 * Gpr.RCX], access)) return undefined;
    return { code: ExitCode.MSR, info1: access === 'write' ? 1n : 0n };
  };

const writeCr: Rule<'writeCr'> = ({ cr, gpr }, rules, vcpu) => {
  if (vcpu.cpl !== 0) return undefined;
  if (cr === 0) return writesCr0(vcpu.gpr[gpr], rules, vcpu);
  return when(rules.intercepts.writesCr(cr), ExitCode.CR0_WRITE + cr);
};

const VIRTUALIZATION = {
  vmrun: [Intercept.VMRUN, ExitCode.VMRUN],
  vmload: [Intercept.VMLOAD, ExitCode.VMLOAD],
  vmsave: [Intercept.VMSAVE, ExitCode.VMSAVE],
  stgi: [Intercept.STGI, ExitCode.STGI],
  clgi: [Intercept.CLGI, ExitCode.CLGI],
  skinit: [Intercept.SKINIT, ExitCode.SKINIT],
  invlpga: [Intercept.INVLPGA, ExitCode.INVLPGA],
} as const;

const isOfSvm = (instruction: string): instruction is keyof typeof VIRTUALIZATION => instruction in VIRTUALIZATION;

/** By the kind of exit; what is not here is never intercepted. */
const RULES: { readonly [K in ExitKind]?: Rule<K> } = {
  exception,
  softwareInterrupt,
  io,
  writeCr,
  rdmsr: msr('read'),
  wrmsr: msr('write'),
  readCr: ({ cr }, { intercepts }, vcpu) => when(vcpu.cpl === 0 && intercepts.readsCr(cr), ExitCode.CR0_READ + cr),
  readDr: ({ dr }, { intercepts }, vcpu) => when(vcpu.cpl === 0 && intercepts.readsDr(dr), ExitCode.DR0_READ + dr),
  writeDr: ({ dr }, { intercepts }, vcpu) => when(vcpu.cpl === 0 && intercepts.writesDr(dr), ExitCode.DR0_WRITE + dr),
  clts: (_exit, { intercepts }, vcpu) => when(vcpu.cpl === 0 && intercepts.writesCr(0), ExitCode.CR0_WRITE),
  // Unlike MOV, whatever it changes.
  lmsw: (_exit, { intercepts }, vcpu) => {
    if (vcpu.cpl !== 0) return undefined;
    if (intercepts.writesCr(0)) return { code: ExitCode.CR0_WRITE };
    return when(intercepts.has(Intercept.CR0_SEL_WRITE), ExitCode.CR0_SEL_WRITE);
  },
  loadTable: ({ table }, { intercepts }, vcpu) =>
    table === 'gdt'
      ? when(vcpu.cpl === 0 && intercepts.has(Intercept.GDTR_WRITE), ExitCode.GDTR_WRITE)
      : when(vcpu.cpl === 0 && intercepts.has(Intercept.IDTR_WRITE), ExitCode.IDTR_WRITE),
  loadSelector: ({ register }, { intercepts }, vcpu) =>
    register === 'ldt'
      ? when(vcpu.cpl === 0 && intercepts.has(Intercept.LDTR_WRITE), ExitCode.LDTR_WRITE)
      : when(vcpu.cpl === 0 && intercepts.has(Intercept.TR_WRITE), ExitCode.TR_WRITE),
  cpuid: (_exit, { intercepts }) => when(intercepts.has(Intercept.CPUID), ExitCode.CPUID),
  iret: (_exit, { intercepts }) => when(intercepts.has(Intercept.IRET), ExitCode.IRET),
  hypercall: ({ instruction }, { intercepts }) =>
    when(instruction === 'vmmcall' && intercepts.has(Intercept.VMMCALL), ExitCode.VMMCALL),
  rdpmc: (_exit, { intercepts }) => when(intercepts.has(Intercept.RDPMC), ExitCode.RDPMC),
  rdtsc: ({ withProcessor }, { intercepts }) =>
    withProcessor
      ? when(intercepts.has(Intercept.RDTSCP), ExitCode.RDTSCP)
      : when(intercepts.has(Intercept.RDTSC), ExitCode.RDTSC),
  pause: (_exit, { intercepts }) => when(intercepts.has(Intercept.PAUSE), ExitCode.PAUSE),
  rsm: (_exit, { intercepts }) => when(intercepts.has(Intercept.RSM), ExitCode.RSM),
  invlpg: privileged(Intercept.INVLPG, ExitCode.INVLPG),
  invpcid: privileged(Intercept.INVPCID, ExitCode.INVPCID),
  wbinvd: privileged(Intercept.WBINVD, ExitCode.WBINVD),
  invd: privileged(Intercept.INVD, ExitCode.INVD),
  xsetbv: privileged(Intercept.XSETBV, ExitCode.XSETBV),
  monitor: privileged(Intercept.MONITOR, ExitCode.MONITOR),
  mwait: privileged(Intercept.MWAIT, ExitCode.MWAIT),
  hlt: privileged(Intercept.HLT, ExitCode.HLT),
  virtualization: ({ instruction }, { intercepts }, vcpu) => {
    if (!isOfSvm(instruction)) return undefined;
    const [bit, code] = VIRTUALIZATION[instruction];
    return when(vcpu.cpl === 0 && intercepts.has(bit), code);
  },
  shutdown: (_exit, { intercepts }) => when(intercepts.has(Intercept.SHUTDOWN), ExitCode.SHUTDOWN),
};

/** The #VMEXIT that an exit of guest code is; `undefined`: it is none. */
export function vmExitOf(exit: Exit, rules: Rules, vcpu: Vcpu): VmExit | undefined {
  const rule = RULES[exit.kind] as Rule<ExitKind> | undefined;
  return rule?.(exit as never, rules, vcpu);
}

/** Exits that generated code need not make, by what would have to be intercepted for them to matter. */
const MATTERS: { readonly [K in ExitKind]?: (intercepts: Intercepts) => boolean } = {
  cli: () => false,
  sti: () => false,
  swapgs: () => false,
  syscall: () => false,
  sysret: () => false,
  sysenter: () => false,
  sysexit: () => false,
  iret: (intercepts) => intercepts.has(Intercept.IRET),
  invlpg: (intercepts) => intercepts.has(Intercept.INVLPG),
  readCr: (intercepts) => CONTROL_REGISTERS.some((cr) => intercepts.readsCr(cr)),
  writeCr: (intercepts) => intercepts.writesCr(3),
  exception: (intercepts) => intercepts.exception(VECTOR_PF),
  rdtsc: (intercepts) => intercepts.has(Intercept.RDTSC) || intercepts.has(Intercept.RDTSCP),
  pause: (intercepts) => intercepts.has(Intercept.PAUSE),
};
/** Those that generated code reads by itself. */
const CONTROL_REGISTERS = [0, 2, 3, 4];

/** Whether exits of a kind have to be made for these intercepts; of writes to control registers those of CR3, of exceptions page faults. */
export const mayIntercept = (kind: ExitKind, intercepts: Intercepts): boolean => MATTERS[kind]?.(intercepts) ?? true;

/** What a VMCB may ask for, and no exit tells of: NOT IMPLEMENTED. */
const UNSEEN = [
  ...(['SMI', 'INIT', 'IDTR_READ', 'GDTR_READ', 'LDTR_READ', 'TR_READ', 'PUSHF', 'POPF', 'TASK_SWITCH'] as const),
  ...(['FERR_FREEZE', 'ICEBP', 'MWAIT_ARMED', 'RDPRU', 'EFER_WRITE_TRAP', 'CR0_WRITE_TRAP'] as const),
] as const satisfies readonly (keyof typeof Intercept)[];

/** Names of intercepts that are set and have no effect here. */
export const unseenIntercepts = (intercepts: Intercepts): readonly string[] =>
  UNSEEN.filter((name) => intercepts.has(Intercept[name]));
