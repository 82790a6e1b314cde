import { FakeMemory } from '@polyvisor/testkit';
import { describe, expect, it } from 'vitest';
import { CONTROL_RANGES, EntryControl, ExitControl, Pin, Primary, Secondary } from '../controls.ts';
import type { NarrowField, WideField } from '../fields.ts';
import { VMCS_REVISION, Vmcs } from '../vmcs.ts';
import { illegalControls } from './controls.ts';
import { illegalGuestState, pdptesOf } from './guest.ts';
import { illegalHostState } from './host.ts';
import { illegalSegment } from './segments.ts';
import type { Controls, Entry } from './state.ts';

const CR4_BITS = 0x33_27bcn;
const VALID = 0x8000_0000;
const NO_LINK = (1n << 64n) - 1n;
const PAT = 0x0007_0406_0007_0406n;

type Fields = { readonly [K in NarrowField]?: number } & { readonly [K in WideField]?: bigint };
interface Change extends Fields {
  readonly controls?: Partial<Controls>;
  readonly isHostLong?: boolean;
}
/** 64-bit code of an unrestricted guest, as a hypervisor would start it. */
const LEGAL: Fields = {
  ...{ HOST_CR0: 0x8000_0031n, HOST_CR3: 0x1000n, HOST_CR4: 0x2020n, HOST_EFER: 0xd01n, HOST_PAT: PAT },
  ...{ HOST_CS_SELECTOR: 8, HOST_SS_SELECTOR: 16, HOST_TR_SELECTOR: 0x30, VPID: 1, EPT_POINTER: 0x1en },
  ...{ GUEST_CR0: 0x8000_0031n, GUEST_CR3: 0x1000n, GUEST_CR4: 0x2020n, GUEST_EFER: 0x501n, GUEST_PAT: PAT },
  ...{ GUEST_RFLAGS: 2n, GUEST_DR7: 0x400n, VMCS_LINK_POINTER: NO_LINK, VIRTUAL_APIC_ADDRESS: 0x2000n },
};
const CONTROLS: Controls = {
  pin: CONTROL_RANGES.pin.defaults | Pin.NMI_EXITING | Pin.VIRTUAL_NMIS,
  primary: (CONTROL_RANGES.primary.defaults | Primary.ACTIVATE_SECONDARY_CONTROLS | Primary.USE_TPR_SHADOW) >>> 0,
  secondary: Secondary.ENABLE_EPT | Secondary.ENABLE_VPID | Secondary.UNRESTRICTED_GUEST,
  exit:
    CONTROL_RANGES.exit.defaults | ExitControl.HOST_ADDRESS_SPACE_SIZE | ExitControl.LOAD_PAT | ExitControl.LOAD_EFER,
  entry: CONTROL_RANGES.entry.defaults | EntryControl.IA32E_MODE_GUEST | EntryControl.LOAD_PAT | EntryControl.LOAD_EFER,
};
const FLAT = { selector: 0, base: 0n, limit: 0xffff_ffff };

function entryWith({ controls, isHostLong = true, ...fields }: Change): Entry {
  const memory = new FakeMemory(0x4000);
  const vmcs = new Vmcs(memory, 0);
  for (const name of ['ES', 'SS', 'DS', 'FS', 'GS'] as const) vmcs.setSegment(name, { ...FLAT, accessRights: 0xc093 });
  vmcs.setSegment('CS', { ...FLAT, accessRights: 0xa09b });
  vmcs.setSegment('LDTR', { ...FLAT, accessRights: 0x1_0000 });
  vmcs.setSegment('TR', { ...FLAT, limit: 0x67, accessRights: 0x8b });
  for (const [field, value] of Object.entries({ ...LEGAL, ...fields })) {
    if (typeof value === 'bigint') vmcs.write64(field as WideField, value);
    else vmcs.write(field as NarrowField, value);
  }
  memory.write32(0x3000, VMCS_REVISION);
  return { vmcs, memory, controls: { ...CONTROLS, ...controls }, cr4Bits: CR4_BITS, isHostLong };
}
const injected = (information: number, more: Change = {}): Change => ({
  ENTRY_INTERRUPTION_INFORMATION: VALID + information,
  ...more,
});

describe('a VM entry', () => {
  it('takes what is legal', () => {
    const entry = entryWith({});
    expect([illegalControls(entry), illegalHostState(entry), illegalGuestState(entry)]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });

  it.each<[what: string, change: Change]>([
    ['a reserved pin control', { controls: { pin: CONTROLS.pin | (1 << 7) } }],
    ['a reserved pin control', { controls: { pin: CONTROLS.pin & ~2 } }],
    ['a reserved primary control', { controls: { primary: (CONTROLS.primary | 1) >>> 0 } }],
    ['a reserved secondary control', { controls: { secondary: CONTROLS.secondary | 1 } }],
    ['a reserved exit control', { controls: { exit: CONTROLS.exit | (1 << 23) } }],
    ['a reserved entry control', { controls: { entry: CONTROLS.entry | EntryControl.ENTRY_TO_SMM } }],
    ['too many CR3 targets', { CR3_TARGET_COUNT: 5 }],
    [
      'an I/O bitmap that is no page',
      { controls: { primary: (CONTROLS.primary | Primary.USE_IO_BITMAPS) >>> 0 }, IO_BITMAP_B: 8n },
    ],
    [
      'MSR bitmaps that are no page',
      { controls: { primary: (CONTROLS.primary | Primary.USE_MSR_BITMAPS) >>> 0 }, MSR_BITMAPS: 1n << 40n },
    ],
    ['a virtual-APIC page that is no page', { VIRTUAL_APIC_ADDRESS: 0x10n }],
    ['an illegal TPR threshold', { TPR_THRESHOLD: 1 }],
    ['an illegal TPR threshold', { TPR_THRESHOLD: 0x10 }],
    ['virtual NMIs without NMI exiting', { controls: { pin: CONTROLS.pin & ~Pin.NMI_EXITING } }],
    [
      'NMI-window exiting without virtual NMIs',
      {
        controls: { pin: CONTROL_RANGES.pin.defaults, primary: (CONTROLS.primary | Primary.NMI_WINDOW_EXITING) >>> 0 },
      },
    ],
    [
      'saving a preemption timer that is off',
      { controls: { exit: CONTROLS.exit | ExitControl.SAVE_PREEMPTION_TIMER } },
    ],
    ['VPID 0', { VPID: 0 }],
    ['an illegal EPT pointer', { EPT_POINTER: 0x1n }],
    ['an unrestricted guest without EPT', { controls: { secondary: Secondary.UNRESTRICTED_GUEST } }],
    ['an illegal VM-exit MSR-store list', { EXIT_MSR_STORE_COUNT: 1, EXIT_MSR_STORE_ADDRESS: 8n }],
    ['an illegal VM-exit MSR-load list', { EXIT_MSR_LOAD_COUNT: 2, EXIT_MSR_LOAD_ADDRESS: (1n << 40n) - 16n }],
    ['an illegal VM-entry MSR-load list', { ENTRY_MSR_LOAD_COUNT: 1, ENTRY_MSR_LOAD_ADDRESS: 1n << 40n }],
    ['an illegal event to inject', injected(0x120)],
    ['an illegal event to inject', injected(0x203)],
    ['an illegal event to inject', injected(0x320)],
    ['an illegal event to inject', injected(0x30d)],
    ['an illegal event to inject', injected(0xb06)],
    ['an illegal event to inject', injected(0xb0d, { ENTRY_EXCEPTION_ERROR_CODE: 0x1_0000 })],
    ['an illegal event to inject', injected(0xb0d, { GUEST_CR0: 0x20n })],
    ['an illegal event to inject', injected(0x1030)],
    ['an illegal event to inject', injected(0x480)],
    ['an illegal event to inject', injected(0x480, { ENTRY_INSTRUCTION_LENGTH: 16 })],
    ['an illegal event to inject', injected(0x700)],
  ])('refuses %s', (what, change) => {
    expect(illegalControls(entryWith(change))).toBe(what);
  });
  it.each<[what: string, change: Change]>([
    ['an exception with its error code', injected(0xb0d, { ENTRY_EXCEPTION_ERROR_CODE: 0xffff })],
    ['INT n', injected(0x480, { ENTRY_INSTRUCTION_LENGTH: 2 })],
    ['an exception in real-address mode', injected(0x30d, { GUEST_CR0: 0x20n })],
    ['no event', { ENTRY_INTERRUPTION_INFORMATION: 0x7fff_ffff }],
  ])('takes %s', (_what, change) => {
    expect(illegalControls(entryWith(change))).toBeUndefined();
  });

  it.each<[what: string, change: Change]>([
    ['CR0', { HOST_CR0: 0x8000_0011n }],
    ['CR0', { HOST_CR0: 0x1_8000_0031n }],
    ['CR4', { HOST_CR4: 0x20n }],
    ['CR4', { HOST_CR4: 0x1_2020n | (1n << 23n) }],
    ['CR3', { HOST_CR3: 1n << 40n }],
    ['a base that is not canonical', { HOST_SYSENTER_EIP: 1n << 47n }],
    ['PAT', { HOST_PAT: 2n }],
    ['EFER', { HOST_EFER: 0x1n }],
    ['EFER', { HOST_EFER: 0xd03n }],
    ['RPL or TI of a selector', { HOST_GS_SELECTOR: 4 }],
    ['a null CS or TR', { HOST_CS_SELECTOR: 0 }],
    ['the address-space size is not that of the entry', { isHostLong: false }],
    ['CR4.PAE of a 64-bit host', { HOST_CR4: 0x2000n }],
    ['RIP of a 64-bit host', { HOST_RIP: 1n << 47n }],
  ])('refuses of the host %s', (what, change) => {
    expect(illegalHostState(entryWith(change))).toBe(what);
  });

  const CODE_RIGHTS = { GUEST_CS_ACCESS_RIGHTS: 0xa09b };
  it.each<[what: string, change: Change]>([
    ['CR0', { GUEST_CR0: 0x8000_0011n }],
    ['CR0', { GUEST_CR0: 0x8000_0020n }],
    ['CR0', { GUEST_CR0: 0x20n, controls: { secondary: Secondary.ENABLE_EPT } }],
    ['CR4', { GUEST_CR4: 0x20n }],
    ['DEBUGCTL or DR7', { GUEST_DR7: 1n << 32n }],
    ['the mode that CR0 and CR4 make', { GUEST_CR4: 0x2000n }],
    ['CR3', { GUEST_CR3: 1n << 40n }],
    ['SYSENTER', { GUEST_SYSENTER_ESP: 1n << 47n }],
    ['PAT', { GUEST_PAT: 0x0300n }],
    ['EFER', { GUEST_EFER: 0x1n }],
    ['EFER', { GUEST_EFER: 0x503n }],
    ['RFLAGS', { GUEST_RFLAGS: 0n }],
    ['RFLAGS', { GUEST_RFLAGS: 0x2_0002n }],
    ['RFLAGS', injected(0x30, { GUEST_RFLAGS: 2n })],
    ['a segment register', { GUEST_TR_ACCESS_RIGHTS: 0x89 }],
    ['GDTR or IDTR', { GUEST_IDTR_LIMIT: 0x1_0000 }],
    ['RIP', { GUEST_RIP: 1n << 47n }],
    ['RIP', { GUEST_RIP: 1n << 32n, GUEST_CS_ACCESS_RIGHTS: 0xc09b }],
    ['the activity state', { GUEST_ACTIVITY: 2 }],
    ['the activity state', { GUEST_ACTIVITY: 1, GUEST_INTERRUPTIBILITY: 2 }],
    ['the activity state', injected(0xb0d, { GUEST_ACTIVITY: 1 })],
    ['the interruptibility state', { GUEST_INTERRUPTIBILITY: 3, GUEST_RFLAGS: 0x202n }],
    ['the interruptibility state', { GUEST_INTERRUPTIBILITY: 1 }],
    ['the interruptibility state', { GUEST_INTERRUPTIBILITY: 0x20 }],
    ['the interruptibility state', injected(0x202, { GUEST_INTERRUPTIBILITY: 8 })],
    ['pending debug exceptions', { GUEST_PENDING_DEBUG: 1n << 13n }],
    ['pending debug exceptions', { GUEST_RFLAGS: 0x102n, GUEST_INTERRUPTIBILITY: 2 }],
    ['the VMCS link pointer', { VMCS_LINK_POINTER: 0x2000n }],
  ])('fails for %s of the guest', (what, change) => {
    expect(illegalGuestState(entryWith(change))?.what).toBe(what);
  });
  it('takes a link to another VMCS', () => {
    expect(illegalGuestState(entryWith({ VMCS_LINK_POINTER: 0x3000n }))).toBeUndefined();
  });

  it('looks at the PDPTEs of a guest with PAE paging: of the VMCS with EPT, else in memory', () => {
    const pae: Change = {
      ...{ GUEST_EFER: 1n, GUEST_CS_ACCESS_RIGHTS: 0xc09b, GUEST_PDPTE2: 0x1001n },
      controls: { entry: CONTROLS.entry & ~EntryControl.IA32E_MODE_GUEST },
    };
    expect(pdptesOf(entryWith(pae))).toEqual([0n, 0n, 0x1001n, 0n]);
    expect(illegalGuestState(entryWith({ ...pae, GUEST_PDPTE3: 3n }))).toEqual({ what: 'a PDPTE', qualification: 2n });
    const shadow = entryWith({ ...pae, controls: { ...pae.controls, secondary: 0 } });
    shadow.memory.write64(0x1018, 5n);
    expect(pdptesOf(shadow)).toEqual([0n, 0n, 0n, 5n]);
    expect(pdptesOf(entryWith({}))).toBeUndefined();
  });

  it.each<[segment: string | undefined, change: Change]>([
    [undefined, CODE_RIGHTS],
    [undefined, { GUEST_CS_ACCESS_RIGHTS: 0xc093 }],
    ['CS', { GUEST_CS_ACCESS_RIGHTS: 0xa09a }],
    ['CS', { GUEST_CS_ACCESS_RIGHTS: 0xe09b }],
    ['CS', { GUEST_CS_ACCESS_RIGHTS: 0xa0fb }],
    ['CS', { GUEST_CS_BASE: 1n << 32n }],
    ['CS', { GUEST_CS_LIMIT: 0xffff_0000 }],
    ['SS', { GUEST_SS_ACCESS_RIGHTS: 0xc09b }],
    [undefined, { GUEST_SS_ACCESS_RIGHTS: 0x1_0000 }],
    ['SS', { GUEST_SS_SELECTOR: 3, controls: { secondary: Secondary.ENABLE_EPT } }],
    ['DS', { GUEST_DS_ACCESS_RIGHTS: 0xc092 }],
    ['DS', { GUEST_DS_ACCESS_RIGHTS: 0xc099 }],
    ['ES', { GUEST_ES_ACCESS_RIGHTS: 0xc013 }],
    ['FS', { GUEST_FS_BASE: 1n << 47n }],
    [undefined, { GUEST_FS_BASE: 0xffff_8000_0000_0000n }],
    ['LDTR', { GUEST_LDTR_ACCESS_RIGHTS: 0x8b }],
    ['TR', { GUEST_TR_ACCESS_RIGHTS: 0x83 }],
    ['TR', { GUEST_TR_SELECTOR: 4 }],
  ])('finds %s wrong', (segment, change) => {
    expect(illegalSegment(entryWith(change))).toBe(segment);
  });
});
