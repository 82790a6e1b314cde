/** One hypercall number: its name in the public headers, and the counter `--stats` shows for it. */
export interface HypercallInfo {
  readonly name: string;
  readonly counter: string;
}

/** Number → name (public/xen.h, enum hypercall_num). Gaps were never used. */
const NAMES: Readonly<Record<number, string>> = {
  0: 'set_trap_table',
  1: 'mmu_update',
  2: 'set_gdt',
  3: 'stack_switch',
  4: 'set_callbacks',
  5: 'fpu_taskswitch',
  6: 'sched_op_compat',
  7: 'platform_op',
  8: 'set_debugreg',
  9: 'get_debugreg',
  10: 'update_descriptor',
  12: 'memory_op',
  13: 'multicall',
  14: 'update_va_mapping',
  15: 'set_timer_op',
  16: 'event_channel_op_compat',
  17: 'xen_version',
  18: 'console_io',
  19: 'physdev_op_compat',
  20: 'grant_table_op',
  21: 'vm_assist',
  22: 'update_va_mapping_otherdomain',
  23: 'iret',
  24: 'vcpu_op',
  25: 'set_segment_base',
  26: 'mmuext_op',
  27: 'xsm_op',
  28: 'nmi_op',
  29: 'sched_op',
  30: 'callback_op',
  31: 'xenoprof_op',
  32: 'event_channel_op',
  33: 'physdev_op',
  34: 'hvm_op',
  35: 'sysctl',
  36: 'domctl',
  37: 'kexec_op',
  38: 'tmem_op',
  39: 'argo_op',
  40: 'xenpmu_op',
  41: 'dm_op',
  42: 'hypfs_op',
};

/** The names by number, as the dispatcher looks them up. */
export const HYPERCALLS: readonly (HypercallInfo | undefined)[] = Array.from({ length: 43 }, (_, number) => {
  const name = NAMES[number];
  return name === undefined ? undefined : { name, counter: `hypercall.${name}` };
});

/** Numbers by name, for the rooms that register handlers. */
export const HypercallNumber = {
  SCHED_OP_COMPAT: 6,
  PLATFORM_OP: 7,
  MULTICALL: 13,
  SET_TIMER_OP: 15,
  EVENT_CHANNEL_OP_COMPAT: 16,
  XEN_VERSION: 17,
  CONSOLE_IO: 18,
  GRANT_TABLE_OP: 20,
  VCPU_OP: 24,
  XSM_OP: 27,
  NMI_OP: 28,
  SCHED_OP: 29,
  XENOPROF_OP: 31,
  EVENT_CHANNEL_OP: 32,
  HVM_OP: 34,
  SYSCTL: 35,
  DOMCTL: 36,
  KEXEC_OP: 37,
  TMEM_OP: 38,
  ARGO_OP: 39,
  XENPMU_OP: 40,
  DM_OP: 41,
  HYPFS_OP: 42,
} as const;
