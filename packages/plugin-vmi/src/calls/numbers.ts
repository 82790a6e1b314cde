/** Names of the calls of API 3.0 by number (Linux 2.6.32, arch/x86/include/asm/vmi.h and vmi_time.h). */
// biome-ignore format: a table
const RANGES: readonly (readonly [first: number, names: readonly string[]])[] = [
  [0, [
    'CPUID', 'WRMSR', 'RDMSR', 'SetGDT', 'SetLDT', 'SetIDT', 'SetTR', 'GetGDT', 'GetLDT', 'GetIDT', 'GetTR',
    'WriteGDTEntry', 'WriteLDTEntry', 'WriteIDTEntry', 'UpdateKernelStack', 'SetCR0', 'SetCR2', 'SetCR3', 'SetCR4',
    'GetCR0', 'GetCR2', 'GetCR3', 'GetCR4', 'WBINVD', 'SetDR', 'GetDR', 'RDPMC', 'RDTSC', 'CLTS', 'EnableInterrupts',
    'DisableInterrupts', 'GetInterruptMask', 'SetInterruptMask', 'IRET', 'SYSEXIT', 'Halt', 'Reboot', 'Shutdown',
    'SetPxE', 'SetPxELong', 'UpdatePxE', 'UpdatePxELong', 'MachineToPhysical', 'PhysicalToMachine', 'AllocatePage',
    'ReleasePage', 'InvalPage', 'FlushTLB', 'SetLinearMapping',
  ]],
  [61, [
    'SetIOPLMask', 'SetInitialAPState', 'APICWrite', 'APICRead', 'IODelay', 'GetCycleFrequency', 'GetCycleCounter',
    'SetAlarm', 'CancelAlarm', 'GetWallclockTime', 'WallclockUpdated',
  ]],
  [73, ['SetLazyMode']],
  // VMI_Init has a slot in the header instead of a number; a ROM that traps for it does so with this one.
  [127, ['Init']],
];

export const CALL_NAMES: ReadonlyMap<number, string> = new Map(
  RANGES.flatMap(([first, names]) => names.map((name, i): [number, string] => [first + i, name])),
);
