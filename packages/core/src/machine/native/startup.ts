import { DR } from '../../cpu/state.ts';
import { RESET_LDTR, RESET_SEGMENTS, RESET_TR } from '../cpu-mode.ts';
import type { MachineVcpu } from '../vcpu.ts';
import { SIGNATURE } from './cpuid.ts';

const CS = 1;
const RDX = 2;
/** CR0.CD and CR0.NW stay as they are. */
const CACHE_CONTROL = 0x6000_0000n;
const CR0_ET = 0x10n;
const PAGE_SHIFT = 12n;

/** INIT and SIPI that have come to a vCPU take effect (SDM vol. 3A, 8.4). */
export function takeStartup(vcpu: MachineVcpu): void {
  const { init, vector } = vcpu.startup.take();
  if (init) {
    initialise(vcpu);
    if (vector === undefined) vcpu.startup.waitForStartup();
  }
  if (vector !== undefined) startAt(vcpu, vector);
}

/** What INIT makes of the registers; x87, SSE, MTRRs, the counter and most MSRs stay (SDM vol. 3A, table 9-1). */
function initialise(vcpu: MachineVcpu): void {
  vcpu.blocked = false;
  vcpu.pending = undefined;
  vcpu.interruptShadow = false;
  vcpu.debugShadow = false;
  vcpu.heldTraps = 0;
  vcpu.forgetNmi();
  vcpu.eflags = 2;
  // Out of paging first: the rest means nothing to it then.
  vcpu.cr0 = (vcpu.cr0 & CACHE_CONTROL) | CR0_ET;
  vcpu.efer = 0n;
  vcpu.cr4 = 0n;
  vcpu.cr3 = 0n;
  vcpu.cr2 = 0n;
  vcpu.cpl = 0;
  vcpu.platform.taskPriority = 0;
  RESET_SEGMENTS.forEach((segment, index) => vcpu.setSegment(index, segment));
  vcpu.rip = 0xfff0n;
  vcpu.gpr.fill(0n);
  vcpu.gpr[RDX] = BigInt(SIGNATURE);
  resetTables(vcpu);
  for (const index of [0, 1, 2, 3] as const) vcpu.setSlot64(DR[index], 0n);
  vcpu.setSlot64(DR[6], 0xffff0ff0n);
  vcpu.setSlot64(DR[7], 0x400n);
}

function resetTables({ tables }: MachineVcpu): void {
  for (const table of [tables.gdtr, tables.idtr]) {
    table.base = 0n;
    table.limit = 0xffff;
  }
  tables.ldtr = RESET_LDTR;
  tables.tr = RESET_TR;
}

/** The start of real-address mode at a page that the SIPI's vector names. */
function startAt(vcpu: MachineVcpu, vector: number): void {
  const code = RESET_SEGMENTS[CS];
  vcpu.setSegment(CS, { ...code, selector: vector << 8, base: BigInt(vector) << PAGE_SHIFT });
  vcpu.rip = 0n;
  vcpu.offline = false;
  vcpu.blocked = false;
  const { atStartup } = vcpu;
  vcpu.atStartup = undefined;
  atStartup?.();
}
