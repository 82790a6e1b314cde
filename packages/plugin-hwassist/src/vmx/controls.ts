/** Bits of the VM-execution, VM-exit and VM-entry controls (SDM vol. 3C, 24.6 to 24.8), as far as the processor has them. */

export const Pin = {
  EXTERNAL_INTERRUPT_EXITING: 1 << 0,
  NMI_EXITING: 1 << 3,
  VIRTUAL_NMIS: 1 << 5,
  PREEMPTION_TIMER: 1 << 6,
} as const;

// biome-ignore format: a table
export const Primary = {
  INTERRUPT_WINDOW_EXITING: 1 << 2, USE_TSC_OFFSETTING: 1 << 3, HLT_EXITING: 1 << 7, INVLPG_EXITING: 1 << 9, MWAIT_EXITING: 1 << 10,
  RDPMC_EXITING: 1 << 11, RDTSC_EXITING: 1 << 12, CR3_LOAD_EXITING: 1 << 15, CR3_STORE_EXITING: 1 << 16,
  CR8_LOAD_EXITING: 1 << 19, CR8_STORE_EXITING: 1 << 20, USE_TPR_SHADOW: 1 << 21, NMI_WINDOW_EXITING: 1 << 22,
  MOV_DR_EXITING: 1 << 23, UNCONDITIONAL_IO_EXITING: 1 << 24, USE_IO_BITMAPS: 1 << 25, USE_MSR_BITMAPS: 1 << 28,
  MONITOR_EXITING: 1 << 29, PAUSE_EXITING: 1 << 30, ACTIVATE_SECONDARY_CONTROLS: 1 << 31,
} as const;

// biome-ignore format: a table
export const Secondary = {
  ENABLE_EPT: 1 << 1, ENABLE_RDTSCP: 1 << 3, ENABLE_VPID: 1 << 5, WBINVD_EXITING: 1 << 6, UNRESTRICTED_GUEST: 1 << 7,
  ENABLE_INVPCID: 1 << 12,
} as const;

// biome-ignore format: a table
export const ExitControl = {
  SAVE_DEBUG_CONTROLS: 1 << 2, HOST_ADDRESS_SPACE_SIZE: 1 << 9, ACKNOWLEDGE_INTERRUPT: 1 << 15,
  SAVE_PAT: 1 << 18, LOAD_PAT: 1 << 19, SAVE_EFER: 1 << 20, LOAD_EFER: 1 << 21, SAVE_PREEMPTION_TIMER: 1 << 22,
} as const;

export const EntryControl = {
  ...{ LOAD_DEBUG_CONTROLS: 1 << 2, IA32E_MODE_GUEST: 1 << 9, ENTRY_TO_SMM: 1 << 10, DEACTIVATE_DUAL_MONITOR: 1 << 11 },
  ...{ LOAD_PAT: 1 << 14, LOAD_EFER: 1 << 15 },
} as const;

const all = (bits: Readonly<Record<string, number>>) => Object.values(bits).reduce((sum, bit) => sum | bit, 0);

/** What a vector of controls may be: bits that must be 1, those of them that IA32_VMX_TRUE_* lets be 0, and bits that may be 1. */
export interface ControlRange {
  readonly defaults: number;
  readonly optionalDefaults: number;
  readonly allowed: number;
}
const range = (defaults: number, optionalDefaults: number, known: number): ControlRange => ({
  defaults,
  optionalDefaults,
  allowed: defaults | known,
});

const ENTRY_WITHOUT_SMM = all(EntryControl) & ~(EntryControl.ENTRY_TO_SMM | EntryControl.DEACTIVATE_DUAL_MONITOR);
/** The default settings of reserved controls (appendix A.3 to A.5). */
export const CONTROL_RANGES = {
  pin: range(0x16, 0, all(Pin)),
  primary: range(0x0401_e172, Primary.CR3_LOAD_EXITING | Primary.CR3_STORE_EXITING, all(Primary)),
  secondary: range(0, 0, all(Secondary)),
  exit: range(0x0003_6dff, ExitControl.SAVE_DEBUG_CONTROLS, all(ExitControl)),
  entry: range(0x0000_11ff, EntryControl.LOAD_DEBUG_CONTROLS, ENTRY_WITHOUT_SMM),
} as const satisfies Readonly<Record<string, ControlRange>>;

/** Bits that must be 1 whatever is asked for. */
export const fixedOnes = ({ defaults, optionalDefaults }: ControlRange): number => defaults & ~optionalDefaults;
