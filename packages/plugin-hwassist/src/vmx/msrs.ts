/** Registers by which a processor says what VMX it has, and some that every processor of this vendor has (SDM vol. 4, table 2-2; vol. 3D, appendix A). */
import { CONTROL_RANGES, type ControlRange, fixedOnes } from './controls.ts';
import { HIGHEST_INDEX } from './fields.ts';
import { VMCS_BYTES, VMCS_REVISION } from './vmcs.ts';

// biome-ignore format: a table
export const VmxMsr = {
  PLATFORM_ID: 0x17, FEATURE_CONTROL: 0x3a, BIOS_SIGN_ID: 0x8b, ARCH_CAPABILITIES: 0x10a,
  BASIC: 0x480, PIN_BASED: 0x481, PRIMARY: 0x482, EXIT: 0x483, ENTRY: 0x484, MISC: 0x485,
  CR0_FIXED0: 0x486, CR0_FIXED1: 0x487, CR4_FIXED0: 0x488, CR4_FIXED1: 0x489, VMCS_ENUM: 0x48a,
  SECONDARY: 0x48b, EPT_VPID_CAP: 0x48c, TRUE_PIN_BASED: 0x48d, TRUE_PRIMARY: 0x48e, TRUE_EXIT: 0x48f, TRUE_ENTRY: 0x490,
} as const;

/** First and last of those that are answered here. */
export const VMX_MSRS = [
  [VmxMsr.PLATFORM_ID, VmxMsr.PLATFORM_ID],
  [VmxMsr.FEATURE_CONTROL, VmxMsr.FEATURE_CONTROL],
  [VmxMsr.BIOS_SIGN_ID, VmxMsr.BIOS_SIGN_ID],
  [VmxMsr.ARCH_CAPABILITIES, VmxMsr.ARCH_CAPABILITIES],
  [VmxMsr.BASIC, VmxMsr.TRUE_ENTRY],
] as const;

/** IA32_FEATURE_CONTROL: locked, with VMX outside of SMX operation, as firmware leaves it. */
const FEATURE_CONTROL = 0b101n;
/**
 * IA32_ARCH_CAPABILITIES: RDCL_NO, SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO, PSDP_NO. Nothing is
 * executed here ahead of its time.
 */
const ARCH_CAPABILITIES = [0n, 3n, 4n, 5n, 6n, 8n, 13n, 14n, 15n].reduce((all, bit) => all | (1n << bit), 0n);

const VMX_MEMORY_TYPE_WB = 6n;
/** IA32_VMX_BASIC: INS and OUTS are told of in the instruction-information field; there are TRUE registers. */
const Basic = { SIZE_SHIFT: 32n, TYPE_SHIFT: 50n, STRING_IO_INFORMATION: 1n << 54n, TRUE_CONTROLS: 1n << 55n } as const;
export const CR3_TARGETS = 4;
/** The VMX-preemption timer counts once in so many ticks of the TSC, as a power of two. */
export const PREEMPTION_TIMER_SHIFT = 5n;
/** IA32_VMX_MISC: a VM exit stores EFER.LMA into the control "IA-32e mode guest"; activity state HLT. */
const MISC = PREEMPTION_TIMER_SHIFT | (1n << 5n) | (1n << 6n) | (BigInt(CR3_TARGETS) << 16n);

/** Bits of IA32_VMX_EPT_VPID_CAP (appendix A.10): all of what it can say but advanced information, shadow stacks and walks of 5 levels. */
const EPT = [0n, 6n, 8n, 14n, 16n, 17n, 20n, 21n, 25n, 26n];
const VPID = [32n, 40n, 41n, 42n, 43n];
const EPT_VPID_CAP = [...EPT, ...VPID].reduce((all, bit) => all | (1n << bit), 0n);

/** PE, NE and PG; in CR0 no bit must be 0. */
export const CR0_FIXED0 = 0x8000_0021n;
const CR0_FIXED1 = 0xffff_ffffn;
export const CR4_VMXE = 1n << 13n;

const pair = (mustBeOne: number, mayBeOne: number): bigint => BigInt(mustBeOne >>> 0) | (BigInt(mayBeOne >>> 0) << 32n);
const byDefault = ({ defaults, allowed }: ControlRange) => pair(defaults, allowed);
const truly = (controls: ControlRange) => pair(fixedOnes(controls), controls.allowed);

const READ_ONLY: ReadonlyMap<number, bigint> = new Map([
  [VmxMsr.PLATFORM_ID, 0n],
  [VmxMsr.FEATURE_CONTROL, FEATURE_CONTROL],
  [VmxMsr.ARCH_CAPABILITIES, ARCH_CAPABILITIES],
  [
    VmxMsr.BASIC,
    BigInt(VMCS_REVISION) |
      (BigInt(VMCS_BYTES) << Basic.SIZE_SHIFT) |
      (VMX_MEMORY_TYPE_WB << Basic.TYPE_SHIFT) |
      Basic.STRING_IO_INFORMATION |
      Basic.TRUE_CONTROLS,
  ],
  [VmxMsr.PIN_BASED, byDefault(CONTROL_RANGES.pin)],
  [VmxMsr.PRIMARY, byDefault(CONTROL_RANGES.primary)],
  [VmxMsr.EXIT, byDefault(CONTROL_RANGES.exit)],
  [VmxMsr.ENTRY, byDefault(CONTROL_RANGES.entry)],
  [VmxMsr.MISC, MISC],
  [VmxMsr.CR0_FIXED0, CR0_FIXED0],
  [VmxMsr.CR0_FIXED1, CR0_FIXED1],
  [VmxMsr.CR4_FIXED0, CR4_VMXE],
  [VmxMsr.VMCS_ENUM, BigInt(HIGHEST_INDEX << 1)],
  [VmxMsr.SECONDARY, byDefault(CONTROL_RANGES.secondary)],
  [VmxMsr.EPT_VPID_CAP, EPT_VPID_CAP],
  [VmxMsr.TRUE_PIN_BASED, truly(CONTROL_RANGES.pin)],
  [VmxMsr.TRUE_PRIMARY, truly(CONTROL_RANGES.primary)],
  [VmxMsr.TRUE_EXIT, truly(CONTROL_RANGES.exit)],
  [VmxMsr.TRUE_ENTRY, truly(CONTROL_RANGES.entry)],
]);

const isHere = (index: number) => VMX_MSRS.some(([first, last]) => index >= first && index <= last);

/** `undefined`: it is none of these. @param cr4Bits of the processor, VMXE apart */
export function readVmxMsr(index: number, cr4Bits: bigint): bigint | undefined {
  if (index === VmxMsr.CR4_FIXED1) return cr4Bits | CR4_VMXE;
  // There is no microcode, and no update of it.
  if (index === VmxMsr.BIOS_SIGN_ID) return 0n;
  return READ_ONLY.get(index);
}

/** `undefined`: it is none of these; `false`: #GP(0). Software writes 0 to IA32_BIOS_SIGN_ID before it asks for the revision. */
export const writesVmxMsr = (index: number): boolean | undefined =>
  isHere(index) ? index === VmxMsr.BIOS_SIGN_ID : undefined;
