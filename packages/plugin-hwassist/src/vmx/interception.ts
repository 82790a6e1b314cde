/** Which exits of the guest's code are VM exits, by its VMCS (SDM vol. 3C, 25.1 to 25.3), and what is told of them (27.2). */
import {
  type Exit,
  type ExitKind,
  type ExitOf,
  Gpr,
  type GuestMemory,
  SegmentIndex,
  type Vcpu,
} from '@polyvisor/plugin-api';
import { exitsForMsr, exitsForPort } from './bitmaps.ts';
import type { Controls } from './checks/state.ts';
import { Primary, Secondary } from './controls.ts';
import { InterruptionType, interruption } from './events.ts';
import { ExitReason } from './exit-reasons.ts';
import { codeSizeOf, instructionBytes, isLongCode, isLongMode } from './guest-code.ts';
import { instructionInformation } from './instruction-information.ts';

/** A VM exit, and what its fields say. */
export interface VmExit {
  readonly reason: number;
  readonly qualification?: bigint;
  readonly linearAddress?: bigint;
  readonly physicalAddress?: bigint;
  readonly interruption?: number;
  readonly errorCode?: number;
  readonly information?: number;
}

/** What decides, of one VMCS as VM entry has read it. */
export interface Rules {
  readonly controls: Controls;
  readonly memory: GuestMemory;
  readonly exceptionBitmap: number;
  readonly pageFaultMask: number;
  readonly pageFaultMatch: number;
  readonly cr0: { readonly mask: bigint; readonly shadow: bigint };
  readonly cr4: { readonly mask: bigint; readonly shadow: bigint };
  readonly cr3Targets: readonly bigint[];
  readonly ioBitmaps: readonly [a: number, b: number];
  readonly msrBitmaps: number;
}

type Rule<K extends ExitKind> = (exit: ExitOf<K>, rules: Rules, vcpu: Vcpu) => VmExit | undefined;

const [VECTOR_DB, VECTOR_PF] = [1, 14];
/** B0 to B3, BD and BS of DR6 are the exit qualification of a #DB (table 27-1). */
const DEBUG_CONDITIONS = 0x600f;
const ONE_BYTE = 1;
const LOW = 0xffff_ffffn;
const CR4_PCE = 1n << 8n;
const MachineStatus = { PE: 1n, TS: 8n, ALL: 0xfn } as const;

const when = (isWanted: boolean, exit: VmExit): VmExit | undefined => (isWanted ? exit : undefined);
const hasPrimary = ({ controls }: Rules, bit: number) => (controls.primary & bit) !== 0;
const hasSecondary = ({ controls }: Rules, bit: number) => (controls.secondary & bit) !== 0;
const exits = (vector: number, { exceptionBitmap }: Rules) => ((exceptionBitmap >>> vector) & 1) !== 0;

/** An instruction that only CPL 0 may execute: #GP comes before the exit (25.1.1). */
const privileged =
  (reason: number, isWanted: (rules: Rules) => boolean = () => true) =>
  (_exit: Exit, rules: Rules, vcpu: Vcpu): VmExit | undefined =>
    when(vcpu.cpl === 0 && isWanted(rules), { reason });
const byPrimary = (bit: number) => (rules: Rules) => hasPrimary(rules, bit);

/** A page fault exits by its error code, too (25.2). */
function pageFaultExits(errorCode: number, rules: Rules): boolean {
  const matches = (errorCode & rules.pageFaultMask) >>> 0 === rules.pageFaultMatch;
  return exits(VECTOR_PF, rules) === matches;
}

/** An exception that its bit in the exception bitmap makes a VM exit. */
export function exceptionExit(
  vector: number,
  errorCode: number | undefined,
  cr2: bigint | undefined,
  rules: Rules,
  vcpu: Vcpu,
): VmExit | undefined {
  if (vector === VECTOR_PF ? !pageFaultExits(errorCode ?? 0, rules) : !exits(vector, rules)) return undefined;
  const conditions = vector === VECTOR_DB ? BigInt(vcpu.latestDebug.conditions & DEBUG_CONDITIONS) : 0n;
  return {
    reason: ExitReason.EXCEPTION_OR_NMI,
    interruption: interruption(InterruptionType.HARDWARE_EXCEPTION, vector, errorCode),
    qualification: vector === VECTOR_PF ? (cr2 ?? 0n) : conditions,
    ...(errorCode !== undefined && { errorCode }),
  };
}
const exception: Rule<'exception'> = ({ vector, errorCode, cr2 }, rules, vcpu) =>
  exceptionExit(vector, errorCode, cr2, rules, vcpu);

/** INT3 and INTO; INT n never exits. */
const softwareInterrupt: Rule<'softwareInterrupt'> = ({ vector, instructionLength }, rules) =>
  when(instructionLength === ONE_BYTE && exits(vector, rules), {
    reason: ExitReason.EXCEPTION_OR_NMI,
    interruption: interruption(InterruptionType.SOFTWARE_EXCEPTION, vector),
  });

/** Exit qualification for control-register accesses (table 27-3). */
const CrAccess = { TO: 0, FROM: 1, CLTS: 2, LMSW: 3, TYPE_SHIFT: 4, GPR_SHIFT: 8, SOURCE_SHIFT: 16 } as const;
const crAccess = (cr: number, type: number, gpr = 0, source = 0): VmExit => ({
  reason: ExitReason.CR_ACCESS,
  qualification: BigInt(
    (cr | (type << CrAccess.TYPE_SHIFT) | (gpr << CrAccess.GPR_SHIFT) | (source << CrAccess.SOURCE_SHIFT)) >>> 0,
  ),
});

/** What MOV to a control register writes. */
export const writtenValue = (vcpu: Vcpu, gpr: number): bigint =>
  isLongCode(vcpu) ? vcpu.gpr[gpr] : vcpu.gpr[gpr] & LOW;

function writeCrExits(cr: number, value: bigint, rules: Rules): boolean {
  switch (cr) {
    case 0:
    case 4: {
      const { mask, shadow } = cr === 0 ? rules.cr0 : rules.cr4;
      return ((value ^ shadow) & mask) !== 0n;
    }
    case 3:
      return hasPrimary(rules, Primary.CR3_LOAD_EXITING) && !rules.cr3Targets.includes(value);
    case 8:
      return hasPrimary(rules, Primary.CR8_LOAD_EXITING);
    default:
      return false;
  }
}
const writeCr: Rule<'writeCr'> = ({ cr, gpr }, rules, vcpu) =>
  when(vcpu.cpl === 0 && writeCrExits(cr, writtenValue(vcpu, gpr), rules), crAccess(cr, CrAccess.TO, gpr));
const readCr: Rule<'readCr'> = ({ cr, gpr }, rules, vcpu) => {
  const isWanted =
    (cr === 3 && hasPrimary(rules, Primary.CR3_STORE_EXITING)) ||
    (cr === 8 && hasPrimary(rules, Primary.CR8_STORE_EXITING));
  return when(vcpu.cpl === 0 && isWanted, crAccess(cr, CrAccess.FROM, gpr));
};
const clts: Rule<'clts'> = (_exit, { cr0 }, vcpu) =>
  when(vcpu.cpl === 0 && (cr0.mask & cr0.shadow & MachineStatus.TS) !== 0n, crAccess(0, CrAccess.CLTS));
/** LMSW cannot clear PE, so that a source without it says nothing of it (25.1.3). */
const lmsw: Rule<'lmsw'> = ({ value }, { cr0 }, vcpu) => {
  const source = BigInt(value) & MachineStatus.ALL;
  const setsPe = (cr0.mask & source & ~cr0.shadow & MachineStatus.PE) !== 0n;
  const changes = ((source ^ cr0.shadow) & cr0.mask & MachineStatus.ALL & ~MachineStatus.PE) !== 0n;
  return when(vcpu.cpl === 0 && (setsPe || changes), crAccess(0, CrAccess.LMSW, 0, value & 0xffff));
};

/** Exit qualification for MOV DR (table 27-4). */
const MovDr = { FROM: 1 << 4, GPR_SHIFT: 8 } as const;
const movDr =
  (direction: number) =>
  ({ dr, gpr }: ExitOf<'readDr'> | ExitOf<'writeDr'>, rules: Rules, vcpu: Vcpu): VmExit | undefined =>
    when(vcpu.cpl === 0 && hasPrimary(rules, Primary.MOV_DR_EXITING), {
      reason: ExitReason.MOV_DR,
      qualification: BigInt(dr | direction | (gpr << MovDr.GPR_SHIFT)),
    });

/** Exit qualification for I/O instructions (table 27-5). */
const Io = { IN: 1 << 3, STRING: 1 << 4, REP: 1 << 5, IMMEDIATE: 1 << 6, PORT_SHIFT: 16 } as const;
/** Opcodes of IN and OUT with a port in the instruction. */
const isImmediatePort = (bytes: Uint8Array): boolean => bytes.length > 1 && (bytes[bytes.length - 2] & 0xfc) === 0xe4;
/** VM-exit instruction information of INS and OUTS (table 27-8). */
const StringIo = { SIZE_SHIFT: 7, SEGMENT_SHIFT: 15 } as const;

function ioExits(port: number, sizeBytes: number, rules: Rules): boolean {
  if (hasPrimary(rules, Primary.USE_IO_BITMAPS)) return exitsForPort(rules.memory, rules.ioBitmaps, port, sizeBytes);
  return hasPrimary(rules, Primary.UNCONDITIONAL_IO_EXITING);
}

const io: Rule<'io'> = (exit, rules, vcpu) => {
  const { port, sizeBytes, direction, string, rep, addressSize, segment, instructionLength } = exit;
  if (!ioExits(port, sizeBytes, rules)) return undefined;
  const isImmediate = !string && isImmediatePort(instructionBytes(vcpu, instructionLength));
  const flags =
    (direction === 'in' ? Io.IN : 0) | (string ? Io.STRING : 0) | (rep ? Io.REP : 0) | (isImmediate ? Io.IMMEDIATE : 0);
  const qualification = BigInt((sizeBytes - 1 + flags + (port << Io.PORT_SHIFT)) >>> 0);
  if (!string) return { reason: ExitReason.IO, qualification };
  const index = BigInt.asUintN(addressSize, vcpu.gpr[direction === 'in' ? Gpr.RDI : Gpr.RSI]);
  const isFlat = isLongCode(vcpu) && segment < SegmentIndex.FS;
  return {
    ...{ reason: ExitReason.IO, qualification },
    linearAddress: isFlat ? index : vcpu.segment(segment).base + index,
    information: ((addressSize >>> 5) << StringIo.SIZE_SHIFT) | (segment << StringIo.SEGMENT_SHIFT),
  };
};

const msr =
  (access: 'read' | 'write') =>
  (_exit: Exit, rules: Rules, vcpu: Vcpu): VmExit | undefined => {
    if (vcpu.cpl !== 0) return undefined;
    const usesBitmaps = hasPrimary(rules, Primary.USE_MSR_BITMAPS);
    const isWanted = !usesBitmaps || exitsForMsr(rules.memory, rules.msrBitmaps, vcpu.gprHalves[2 * Gpr.RCX], access);
    return when(isWanted, { reason: access === 'read' ? ExitReason.RDMSR : ExitReason.WRMSR });
  };

const REASONS = {
  ...{
    vmclear: ExitReason.VMCLEAR,
    vmlaunch: ExitReason.VMLAUNCH,
    vmptrld: ExitReason.VMPTRLD,
    vmptrst: ExitReason.VMPTRST,
  },
  ...{
    vmread: ExitReason.VMREAD,
    vmresume: ExitReason.VMRESUME,
    vmwrite: ExitReason.VMWRITE,
    vmxoff: ExitReason.VMXOFF,
  },
  ...{ vmxon: ExitReason.VMXON, invept: ExitReason.INVEPT, invvpid: ExitReason.INVVPID },
} as const;
const WITHOUT_OPERANDS: ReadonlySet<string> = new Set(['vmlaunch', 'vmresume', 'vmxoff']);
const isOfVmx = (instruction: string): instruction is keyof typeof REASONS => instruction in REASONS;

function withOperands(reason: number, lengthBytes: number, vcpu: Vcpu): VmExit {
  const bytes = instructionBytes(vcpu, lengthBytes);
  const found = instructionInformation(bytes, codeSizeOf(vcpu), vcpu.rip + BigInt(lengthBytes));
  return { reason, information: found.information, qualification: found.displacement };
}

/** At all levels; #UD comes first in compatibility mode, and outside of protected mode (30.3). */
const virtualization: Rule<'virtualization'> = ({ instruction, instructionLength }, _rules, vcpu) => {
  if (!isOfVmx(instruction) || (isLongMode(vcpu) && !isLongCode(vcpu))) return undefined;
  const reason = REASONS[instruction];
  return WITHOUT_OPERANDS.has(instruction) ? { reason } : withOperands(reason, instructionLength, vcpu);
};

const rdtsc: Rule<'rdtsc'> = ({ withProcessor }, rules) => {
  if (!hasPrimary(rules, Primary.RDTSC_EXITING)) return undefined;
  if (!withProcessor) return { reason: ExitReason.RDTSC };
  return when(hasSecondary(rules, Secondary.ENABLE_RDTSCP), { reason: ExitReason.RDTSCP });
};

/** By the kind of exit; what is not here is never a VM exit. */
const RULES: { readonly [K in ExitKind]?: Rule<K> } = {
  ...{ exception, softwareInterrupt, writeCr, readCr, clts, lmsw, io, virtualization, rdtsc },
  readDr: movDr(MovDr.FROM),
  writeDr: movDr(0),
  rdmsr: msr('read'),
  wrmsr: msr('write'),
  cpuid: () => ({ reason: ExitReason.CPUID }),
  hypercall: ({ instruction }) => when(instruction === 'vmcall', { reason: ExitReason.VMCALL }),
  rdpmc: (_exit, rules, vcpu) =>
    when(hasPrimary(rules, Primary.RDPMC_EXITING) && (vcpu.cpl === 0 || (vcpu.cr4 & CR4_PCE) !== 0n), {
      reason: ExitReason.RDPMC,
    }),
  pause: (_exit, rules) => when(hasPrimary(rules, Primary.PAUSE_EXITING), { reason: ExitReason.PAUSE }),
  invlpg: ({ gva }, rules, vcpu) =>
    when(vcpu.cpl === 0 && hasPrimary(rules, Primary.INVLPG_EXITING), {
      reason: ExitReason.INVLPG,
      qualification: gva,
    }),
  invpcid: ({ instructionLength }, rules, vcpu) => {
    const isWanted = hasSecondary(rules, Secondary.ENABLE_INVPCID) && hasPrimary(rules, Primary.INVLPG_EXITING);
    return isWanted && vcpu.cpl === 0 ? withOperands(ExitReason.INVPCID, instructionLength, vcpu) : undefined;
  },
  wbinvd: privileged(ExitReason.WBINVD, (rules) => hasSecondary(rules, Secondary.WBINVD_EXITING)),
  invd: privileged(ExitReason.INVD),
  hlt: privileged(ExitReason.HLT, byPrimary(Primary.HLT_EXITING)),
  shutdown: () => ({ reason: ExitReason.TRIPLE_FAULT }),
};

/** The VM exit that an exit of guest code is; `undefined`: it is none. */
export function vmExitOf(exit: Exit, rules: Rules, vcpu: Vcpu): VmExit | undefined {
  const rule = RULES[exit.kind] as Rule<ExitKind> | undefined;
  return rule?.(exit as never, rules, vcpu);
}

const mayPageFaultExit = (rules: Rules): boolean =>
  exits(VECTOR_PF, rules) || rules.pageFaultMask !== 0 || rules.pageFaultMatch !== 0;

/** Exits that generated code need not make, by what would have to be set for them to matter. */
const MATTERS: { readonly [K in ExitKind]?: (rules: Rules) => boolean } = {
  cli: () => false,
  sti: () => false,
  swapgs: () => false,
  syscall: () => false,
  sysret: () => false,
  iret: () => false,
  invlpg: byPrimary(Primary.INVLPG_EXITING),
  readCr: (rules) => rules.cr0.mask !== 0n || rules.cr4.mask !== 0n || hasPrimary(rules, Primary.CR3_STORE_EXITING),
  writeCr: byPrimary(Primary.CR3_LOAD_EXITING),
  exception: mayPageFaultExit,
  rdtsc: (rules) => hasPrimary(rules, Primary.RDTSC_EXITING) || !hasSecondary(rules, Secondary.ENABLE_RDTSCP),
  pause: byPrimary(Primary.PAUSE_EXITING),
};

/** Whether exits of a kind have to be made under these rules; of writes to control registers those of CR3, of exceptions page faults. */
export const mayExit = (kind: ExitKind, rules: Rules): boolean => MATTERS[kind]?.(rules) ?? true;
