/** What a VM exit loads of the host-state area (SDM vol. 3C, 27.5). */
import { Gpr, type Segment, SegmentIndex, type Vcpu } from '@polyvisor/plugin-api';
import { Efer } from './checks/state.ts';
import { ExitControl } from './controls.ts';
import { loadedCr0, Msr } from './guest-state.ts';
import type { Vmcs } from './vmcs.ts';

/** Access rights that come from no field: accessed code, data and busy TSS, all present. */
const HostRights = { CODE64: 0xa09b, CODE32: 0xc09b, DATA: 0xc093, TSS: 0x8b, UNUSABLE: 0x1_0000 } as const;
const ALL = 0xffff_ffff;
const TSS_LIMIT = 0x67;
const TABLE_LIMIT = 0xffff;
const DR7_RESET = 0x400n;
const RFLAGS_RESET = 2n;
const DATA_SEGMENTS = ['ES', 'SS', 'DS', 'FS', 'GS'] as const;

const NO_SEGMENT: Segment = { selector: 0, base: 0n, limit: 0, accessRights: HostRights.UNUSABLE };

function dataSegment(vmcs: Vmcs, name: (typeof DATA_SEGMENTS)[number]): Segment {
  const selector = vmcs.read(`HOST_${name}_SELECTOR`);
  const base = name === 'FS' || name === 'GS' ? vmcs.read64(`HOST_${name}_BASE`) : 0n;
  return selector === 0
    ? { ...NO_SEGMENT, base, limit: ALL }
    : { selector, base, limit: ALL, accessRights: HostRights.DATA };
}

/** @param exitControls of the entry that is over */
export function loadHost(vcpu: Vcpu, vmcs: Vmcs, exitControls: number): void {
  const isLong = (exitControls & ExitControl.HOST_ADDRESS_SPACE_SIZE) !== 0;
  const mode = isLong ? Efer.LMA | Efer.LME : 0n;
  const efer =
    exitControls & ExitControl.LOAD_EFER ? vmcs.read64('HOST_EFER') : (vcpu.efer & ~(Efer.LMA | Efer.LME)) | mode;
  vcpu.rflags = RFLAGS_RESET;
  vcpu.switchWorld(undefined, {
    ...{ cr0: loadedCr0(vcpu, vmcs.read64('HOST_CR0')), cr3: vmcs.read64('HOST_CR3'), cr4: vmcs.read64('HOST_CR4') },
    ...{ efer, cpl: 0 },
  });
  const code = isLong ? HostRights.CODE64 : HostRights.CODE32;
  vcpu.setSegment(SegmentIndex.CS, {
    selector: vmcs.read('HOST_CS_SELECTOR'),
    base: 0n,
    limit: ALL,
    accessRights: code,
  });
  for (const name of DATA_SEGMENTS) vcpu.setSegment(SegmentIndex[name], dataSegment(vmcs, name));
  const tss = { base: vmcs.read64('HOST_TR_BASE'), limit: TSS_LIMIT, accessRights: HostRights.TSS };
  vcpu.tables.tr = { selector: vmcs.read('HOST_TR_SELECTOR'), ...tss };
  vcpu.tables.ldtr = NO_SEGMENT;
  Object.assign(vcpu.tables.gdtr, { base: vmcs.read64('HOST_GDTR_BASE'), limit: TABLE_LIMIT });
  Object.assign(vcpu.tables.idtr, { base: vmcs.read64('HOST_IDTR_BASE'), limit: TABLE_LIMIT });
  vcpu.setDebugRegister(7, DR7_RESET);
  vcpu.writeMsr(Msr.DEBUGCTL, 0n);
  if (exitControls & ExitControl.LOAD_PAT) vcpu.writeMsr(Msr.PAT, vmcs.read64('HOST_PAT'));
  vcpu.writeMsr(Msr.SYSENTER_CS, BigInt(vmcs.read('HOST_SYSENTER_CS')));
  vcpu.writeMsr(Msr.SYSENTER_ESP, vmcs.read64('HOST_SYSENTER_ESP'));
  vcpu.writeMsr(Msr.SYSENTER_EIP, vmcs.read64('HOST_SYSENTER_EIP'));
  vcpu.gpr[Gpr.RSP] = vmcs.read64('HOST_RSP');
  vcpu.rip = vmcs.read64('HOST_RIP');
  vcpu.interruptShadow = false;
  vcpu.debugShadow = false;
}
