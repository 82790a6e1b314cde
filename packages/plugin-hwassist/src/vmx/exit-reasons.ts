/** Basic exit reasons (SDM vol. 3D, appendix C), as far as there are exits for them here. */
// biome-ignore format: a table
export const ExitReason = {
  EXCEPTION_OR_NMI: 0, EXTERNAL_INTERRUPT: 1, TRIPLE_FAULT: 2, INTERRUPT_WINDOW: 7, NMI_WINDOW: 8, CPUID: 10, HLT: 12, INVD: 13,
  INVLPG: 14, RDPMC: 15, RDTSC: 16, VMCALL: 18, VMCLEAR: 19, VMLAUNCH: 20, VMPTRLD: 21, VMPTRST: 22, VMREAD: 23, VMRESUME: 24,
  VMWRITE: 25, VMXOFF: 26, VMXON: 27, CR_ACCESS: 28, MOV_DR: 29, IO: 30, RDMSR: 31, WRMSR: 32, INVALID_GUEST_STATE: 33,
  MSR_LOADING: 34, MWAIT: 36, MONITOR: 39, PAUSE: 40, TPR_BELOW_THRESHOLD: 43, EPT_VIOLATION: 48, EPT_MISCONFIGURATION: 49,
  INVEPT: 50, RDTSCP: 51, PREEMPTION_TIMER: 52, INVVPID: 53, WBINVD: 54, XSETBV: 55, INVPCID: 58,
} as const;

/** Bit 31 of the exit reason: the VM entry has failed. */
export const ENTRY_FAILURE = 0x8000_0000;

const NAMES: ReadonlyMap<number, string> = new Map(Object.entries(ExitReason).map(([name, reason]) => [reason, name]));

/** For traces and counters: `CR_ACCESS`, `EPT_VIOLATION`. */
export const exitName = (reason: number): string => NAMES.get(reason) ?? `${reason}`;

/** VM-instruction error numbers (SDM vol. 3C, 30.4). */
// biome-ignore format: a table
export const InstructionError = {
  VMCALL_IN_ROOT: 1, VMCLEAR_INVALID_ADDRESS: 2, VMCLEAR_VMXON_POINTER: 3, VMLAUNCH_NOT_CLEAR: 4, VMRESUME_NOT_LAUNCHED: 5,
  INVALID_CONTROLS: 7, INVALID_HOST_STATE: 8, VMPTRLD_INVALID_ADDRESS: 9, VMPTRLD_VMXON_POINTER: 10, VMPTRLD_REVISION: 11,
  UNSUPPORTED_FIELD: 12, READ_ONLY_FIELD: 13, VMXON_IN_ROOT: 15, BLOCKED_BY_MOV_SS: 26, INVALID_OPERAND: 28,
} as const;
