/** What VMRUN, #VMEXIT, VMLOAD and VMSAVE move between a VMCB and the processor (AMD APM vol. 2, 15.5 and 15.6; table B-2). */
import { type Assist, Gpr, type Segment, SegmentIndex, type Vcpu } from '@polyvisor/plugin-api';
import { InterruptShadow, type Vmcb, type WideField } from './vmcb.ts';

const CR0_PE = 1n;
const CR0_ET = 1n << 4n;
const CR0_PG = 1n << 31n;
const EFER_LME = 1n << 8n;
const EFER_LMA = 1n << 10n;
const RFLAGS_VM = 1n << 17n;
/** Of {@link Segment.accessRights}. */
const CS_L = 1 << 13;
const DR7_RESET = 0x400n;
const IA32_PAT = 0x277;
/** Loaded by VMRUN; FS, GS, LDTR and TR are VMLOAD's. */
const VMRUN_SEGMENTS = ['ES', 'CS', 'SS', 'DS'] as const;

/** MSRs that VMLOAD and VMSAVE move (15.5.2). */
// biome-ignore format: a table
const VMLOAD_MSRS: readonly (readonly [field: WideField, msr: number])[] = [
  ['KernelGsBase', 0xc0000102], ['STAR', 0xc0000081], ['LSTAR', 0xc0000082], ['CSTAR', 0xc0000083], ['SFMASK', 0xc0000084],
  ['SYSENTER_CS', 0x174], ['SYSENTER_ESP', 0x175], ['SYSENTER_EIP', 0x176],
];

/** LMA follows from LME and CR0.PG, whatever the VMCB says. */
const eferOf = (efer: bigint, cr0: bigint): bigint =>
  efer & EFER_LME && cr0 & CR0_PG ? efer | EFER_LMA : efer & ~EFER_LMA;

/** The guest's state into the processor, which runs it as `assist` says. */
export function loadGuest(vcpu: Vcpu, vmcb: Vmcb, assist: Assist): void {
  const cr0 = vmcb.read64('CR0') | CR0_ET;
  const rflags = vmcb.read64('RFLAGS');
  const cpl = (cr0 & CR0_PE) === 0n ? 0 : (rflags & RFLAGS_VM) !== 0n ? 3 : vmcb.read('CPL') & 3;
  vcpu.rflags = rflags;
  vcpu.switchWorld(assist, {
    cr0,
    cr3: vmcb.read64('CR3'),
    cr4: vmcb.read64('CR4'),
    efer: eferOf(vmcb.read64('EFER'), cr0),
    cpl,
  });
  const isFlat = (vcpu.efer & EFER_LMA) !== 0n && (vmcb.segment('CS').accessRights & CS_L) !== 0;
  for (const name of VMRUN_SEGMENTS) {
    const segment = vmcb.segment(name);
    // 64-bit mode knows no base of these, whatever the VMCB says.
    vcpu.setSegment(SegmentIndex[name], isFlat ? { ...segment, base: 0n } : segment);
  }
  Object.assign(vcpu.tables.gdtr, vmcb.table('GDTR'));
  Object.assign(vcpu.tables.idtr, vmcb.table('IDTR'));
  vcpu.cr2 = vmcb.read64('CR2');
  vcpu.setDebugRegister(6, vmcb.read64('DR6'));
  vcpu.setDebugRegister(7, vmcb.read64('DR7'));
  if (assist.secondLevel) vcpu.writeMsr(IA32_PAT, vmcb.read64('G_PAT'));
  vcpu.gpr[Gpr.RAX] = vmcb.read64('RAX');
  vcpu.gpr[Gpr.RSP] = vmcb.read64('RSP');
  vcpu.rip = vmcb.read64('RIP');
  vcpu.interruptShadow = (vmcb.read('INTERRUPT_SHADOW') & InterruptShadow.INTERRUPT_SHADOW) !== 0;
}

/** The guest's state out of the processor. */
export function saveGuest(vcpu: Vcpu, vmcb: Vmcb): void {
  for (const name of VMRUN_SEGMENTS) vmcb.setSegment(name, vcpu.segment(SegmentIndex[name]));
  vmcb.setTable('GDTR', vcpu.tables.gdtr);
  vmcb.setTable('IDTR', vcpu.tables.idtr);
  vmcb.write('CPL', vcpu.cpl);
  vmcb.write64('EFER', vcpu.efer);
  vmcb.write64('CR4', vcpu.cr4);
  vmcb.write64('CR3', vcpu.cr3);
  vmcb.write64('CR0', vcpu.cr0);
  vmcb.write64('CR2', vcpu.cr2);
  vmcb.write64('DR7', vcpu.debugRegister(7));
  vmcb.write64('DR6', vcpu.debugRegister(6));
  vmcb.write64('RFLAGS', vcpu.rflags);
  vmcb.write64('RIP', vcpu.rip);
  vmcb.write64('RSP', vcpu.gpr[Gpr.RSP]);
  vmcb.write64('RAX', vcpu.gpr[Gpr.RAX]);
  if (vcpu.assist?.secondLevel) vmcb.write64('G_PAT', vcpu.readMsr(IA32_PAT) ?? 0n);
  vmcb.write('INTERRUPT_SHADOW', vcpu.interruptShadow ? InterruptShadow.INTERRUPT_SHADOW : 0);
}

/** What a processor keeps of the host in its host save area: here, since software may not look at what is there (15.30.4). */
export interface HostState {
  readonly segments: readonly Segment[];
  readonly gdtr: { readonly base: bigint; readonly limit: number };
  readonly idtr: { readonly base: bigint; readonly limit: number };
  readonly efer: bigint;
  readonly cr0: bigint;
  readonly cr3: bigint;
  readonly cr4: bigint;
  readonly rflags: bigint;
  readonly rip: bigint;
  readonly rsp: bigint;
  readonly rax: bigint;
  readonly pat: bigint | undefined;
}

/** @param rip where the host goes on: behind its VMRUN */
export function keepHost(vcpu: Vcpu, rip: bigint): HostState {
  const { gdtr, idtr } = vcpu.tables;
  return {
    segments: VMRUN_SEGMENTS.map((name) => vcpu.segment(SegmentIndex[name])),
    gdtr: { base: gdtr.base, limit: gdtr.limit },
    idtr: { base: idtr.base, limit: idtr.limit },
    ...{ efer: vcpu.efer, cr0: vcpu.cr0, cr3: vcpu.cr3, cr4: vcpu.cr4, rflags: vcpu.rflags, rip },
    ...{ rsp: vcpu.gpr[Gpr.RSP], rax: vcpu.gpr[Gpr.RAX], pat: vcpu.readMsr(IA32_PAT) },
  };
}

/** #VMEXIT's second half (15.6): CPL 0, no breakpoints, protected mode. */
export function restoreHost(vcpu: Vcpu, host: HostState): void {
  vcpu.rflags = host.rflags & ~RFLAGS_VM;
  vcpu.switchWorld(undefined, { cr0: host.cr0 | CR0_PE, cr3: host.cr3, cr4: host.cr4, efer: host.efer, cpl: 0 });
  VMRUN_SEGMENTS.forEach((name, i) => {
    vcpu.setSegment(SegmentIndex[name], host.segments[i]);
  });
  Object.assign(vcpu.tables.gdtr, host.gdtr);
  Object.assign(vcpu.tables.idtr, host.idtr);
  vcpu.setDebugRegister(7, DR7_RESET);
  if (host.pat !== undefined) vcpu.writeMsr(IA32_PAT, host.pat);
  vcpu.gpr[Gpr.RAX] = host.rax;
  vcpu.gpr[Gpr.RSP] = host.rsp;
  vcpu.rip = host.rip;
  vcpu.interruptShadow = false;
}

/** A base of more than 48 bits is made canonical (15.5.1). */
const canonical = (segment: Segment): Segment => ({
  ...segment,
  base: BigInt.asUintN(64, BigInt.asIntN(48, segment.base)),
});

/** VMLOAD (15.5.2). */
export function vmload(vcpu: Vcpu, vmcb: Vmcb): void {
  vcpu.setSegment(SegmentIndex.FS, canonical(vmcb.segment('FS')));
  vcpu.setSegment(SegmentIndex.GS, canonical(vmcb.segment('GS')));
  vcpu.tables.ldtr = canonical(vmcb.segment('LDTR'));
  vcpu.tables.tr = canonical(vmcb.segment('TR'));
  for (const [field, msr] of VMLOAD_MSRS) vcpu.writeMsr(msr, vmcb.read64(field));
}

/** VMSAVE (15.5.2). */
export function vmsave(vcpu: Vcpu, vmcb: Vmcb): void {
  vmcb.setSegment('FS', vcpu.segment(SegmentIndex.FS));
  vmcb.setSegment('GS', vcpu.segment(SegmentIndex.GS));
  vmcb.setSegment('LDTR', vcpu.tables.ldtr);
  vmcb.setSegment('TR', vcpu.tables.tr);
  for (const [field, msr] of VMLOAD_MSRS) vmcb.write64(field, vcpu.readMsr(msr) ?? 0n);
}
