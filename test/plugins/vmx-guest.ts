/** For tests: a hypervisor of a few bytes on a processor with VMX, and the guest that it runs with extended page tables. */
import type { PluginHost } from '@polyvisor/plugin-api';
import { PageTables } from '../../packages/core/src/engine/testing/test-bench.ts';
import {
  CODE,
  GDT,
  STACK_TOP as HOST_STACK_TOP,
  IDT,
  Selector,
  type TestGuest,
  TSS,
  testGuest,
} from '../../packages/core/src/machine/testing/test-guest.ts';
import hwassist from '../../packages/plugin-hwassist/src/index.ts';
import { CONTROL_RANGES, fixedOnes, Primary, Secondary } from '../../packages/plugin-hwassist/src/vmx/controls.ts';
import { VMCS_REVISION, Vmcs } from '../../packages/plugin-hwassist/src/vmx/vmcs.ts';
import { lengthOf, little32, type Program, type Tier } from './svm-guest.ts';

/** Machine addresses. The guest has the same below 0x4_0000, and where its page tables are. */
export const At = {
  ...{
    VMXON: 0x2_7000,
    VMCS: 0x2_8000,
    OTHER_VMCS: 0x2_9000,
    IO_BITMAPS: 0x2_a000,
    MSR_BITMAPS: 0x2_c000,
    POINTERS: 0x2_d000,
  },
  ...{ MSR_LIST: 0x2_e000, VIRTUAL_APIC: 0x2_f000 },
  ...{ GUEST_CODE: 0x3_0000, DATA: 0x3_1000, STACK: 0x3_2000, IDT: 0x3_4000, HANDLERS: 0x3_5000 },
  ...{ FIRST: 0x3_6000, SECOND: 0x3_7000 },
  ...{ GUEST_TABLES: 0x14_0000, EPT: 0x16_0000, OTHER_EPT: 0x18_0000 },
} as const;
export const STACK_TOP = At.STACK + 0x1000;
/** A page of the guest's: GVA by its tables GPA, which is beyond the machine's memory. */
export const GVA = 0x50_0000;
export const GPA = 0x4567_8000;
export const OFFSET = 0xabc;
/** Two pages that GPA can be; what a read of their OFFSET gets. */
export const CONTENTS = [0x1111n, 0x2222n] as const;
export const START_RIP = BigInt(At.GUEST_CODE);
/** Where the guest's handler of a vector has its VMCALL. */
export const handler = (vector: number) => BigInt(At.HANDLERS + vector * 16);

/** Interruption information (SDM vol. 3C, 24.8.3): there is an event, and the type of an exception of the processor's. */
export const VALID = 0x8000_0000;
export const HARDWARE_EXCEPTION = 3 << 8;

/** Pointers in memory: to the VMXON region and the VMCSs, and descriptors for INVEPT and INVVPID. */
const Pointer = {
  VMXON: At.POINTERS,
  VMCS: At.POINTERS + 8,
  OTHER: At.POINTERS + 16,
  ZEROS: At.POINTERS + 24,
  PAGE: At.POINTERS + 40,
} as const;
const absolute = (address: number) => `3425 ${little32(address)}`;
export const vmxon = (pointer: number = Pointer.VMXON) => `f30fc7 ${absolute(pointer)}`;
export const vmclear = (pointer: number = Pointer.VMCS) => `660fc7 ${absolute(pointer)}`;
export const vmptrld = (pointer: number = Pointer.VMCS) => `0fc7 ${absolute(pointer)}`;
export const OTHER = Pointer.OTHER;
/** mov ecx, 2; invept rcx, [zeros]; the same of INVVPID. */
export const INVEPT = `b902000000 660f3880 0c25 ${little32(Pointer.ZEROS)}`;
export const INVVPID = `b902000000 660f3881 0c25 ${little32(Pointer.ZEROS)}`;
/** mov ecx, 0; invvpid rcx, [VPID 1, GVA] */
export const INVVPID_OF_PAGE = `b900000000 660f3881 0c25 ${little32(Pointer.PAGE)}`;
export const Op = {
  ...{ VMLAUNCH: '0f01c2', VMRESUME: '0f01c3', VMXOFF: '0f01c4', VMCALL: '0f01c1', HLT: 'f4' },
  /** Nobody's but the bench's: what each does is a test's own. */
  CALL: '0f01d9',
  /** mov rax, cr4; or eax, CR4.VMXE; mov cr4, rax */
  ENABLE: '0f20e0 0d00200000 0f22e0',
  /** vmread rax, rbx; vmwrite rax, rbx */
  VMREAD: '0f78d8',
  VMWRITE: '0f79c3',
} as const;
export const ON = `${Op.ENABLE} ${vmxon()}`;
export const SELECT = `${vmclear()} ${vmptrld()}`;
export const START = `${ON} ${SELECT} ${Op.VMLAUNCH}`;

export interface VmxOptions {
  readonly tier: Tier;
  /** The guest's code, at GUEST_CODE. */
  readonly guest: string;
  /** The hypervisor's, at CODE; without it: start the guest once, and halt. It goes on behind its first VMLAUNCH. */
  readonly host?: string;
  readonly prepare?: (vmx: VmxGuest) => void;
  /** What each CALL does, the hypervisor's own or the guest's. */
  readonly calls?: readonly ((vmx: VmxGuest) => void)[];
}

export interface VmxGuest extends TestGuest {
  readonly vmcs: Vmcs;
  readonly tables: PageTables;
  readonly guestTables: PageTables;
  readonly ept: PageTables;
}

/** What an exit says of itself. */
export const exitOf = (vmcs: Vmcs) => ({
  reason: vmcs.read('EXIT_REASON'),
  qualification: vmcs.read64('EXIT_QUALIFICATION'),
  rip: vmcs.read64('GUEST_RIP'),
});
/** What {@link exitOf} is to be. */
export const exit = (reason: number, rip: bigint, qualification = 0n) => ({ reason, qualification, rip });

/** Run the hypervisor to its HLT. */
export async function runVmx(options: VmxOptions): Promise<VmxGuest> {
  const calls = [...(options.calls ?? [])];
  const host = options.host ?? `${START} ${Op.HLT}`;
  let boot: Parameters<PluginHost['hooks']['boot']['tap']>[1] | undefined;
  let vmx: VmxGuest | undefined;
  const guest = await testGuest({
    code: { [CODE]: host, [At.GUEST_CODE]: options.guest },
    tap: (bench) => {
      bench.hooks.configure.tap('bench', (platform) => platform.chips.add('localApic'));
      // The bench starts the machine before the other plug-in would be asked.
      const later: typeof bench.hooks.boot = {
        tap: (_name, fn) => {
          boot = fn;
        },
      };
      hwassist.apply({ ...bench, options: { vmx: '' }, hooks: { ...bench.hooks, boot: later } });
      bench.hooks.exit.for('hypercall').tap('bench', (_vcpu, { instruction }) => {
        if (instruction !== 'vmmcall') return 'pass';
        calls.shift()?.(vmx as VmxGuest);
        return 'handled';
      });
    },
    prepare: (bench) => {
      boot?.({} as never, bench.machine);
      vmx = place(bench, BigInt(CODE + lengthOf(upToLaunch(host))));
      options.prepare?.(vmx);
    },
    options: { engine: { hot: [], regions: options.tier } },
  });
  await guest.run();
  return vmx as VmxGuest;
}

const upToLaunch = (host: string): string => {
  const at = host.indexOf(Op.VMLAUNCH);
  return at < 0 ? host : host.slice(0, at + Op.VMLAUNCH.length);
};

function place(guest: TestGuest, hostRip: bigint): VmxGuest {
  const { machine, vcpu } = guest;
  const { memory } = machine;
  // Spurious-interrupt vector register: the local APIC is on.
  vcpu.writeDevice(0xfee0_00f0, 4, 0x1ff);
  const guestTables = new PageTables(memory, At.GUEST_TABLES);
  guestTables.identity(0, 0x4_0000);
  guestTables.map(BigInt(GVA), GPA);
  for (let vector = 0; vector < 256; vector++) {
    const at = At.HANDLERS + vector * 16;
    memory.write64(
      At.IDT + vector * 16,
      BigInt(at & 0xffff) | (8n << 16n) | (0x8e00n << 32n) | (BigInt(at >> 16) << 48n),
    );
    memory.writeBytes(at, Uint8Array.of(0x0f, 0x01, 0xc1));
  }
  const pointers = [At.VMXON, At.VMCS, At.OTHER_VMCS];
  pointers.forEach((region, i) => {
    memory.write64(At.POINTERS + i * 8, BigInt(region));
    memory.write32(region, VMCS_REVISION);
  });
  memory.write64(Pointer.PAGE, 1n);
  memory.write64(Pointer.PAGE + 8, BigInt(GVA));
  const ept = extendedTables(guest, At.EPT);
  return Object.assign(guest, { vmcs: legalVmcs(guest, At.VMCS, ept, hostRip), guestTables, ept });
}

/** All that the guest has but GPA. Bits 0 to 2 of an entry mean the same as in page tables: it may be read, written and executed. */
export function extendedTables({ machine }: Pick<TestGuest, 'machine'>, at: number): PageTables {
  const ept = new PageTables(machine.memory, at);
  ept.identity(0, 0x4_0000);
  ept.identity(At.GUEST_TABLES, At.GUEST_TABLES + 0x1_0000);
  return ept;
}
/** Write-back, four levels. */
export const eptPointer = (ept: PageTables) => BigInt(ept.root) | 0x1en;

const SEGMENTS = {
  CS: [8, 0xa09b],
  SS: [16, 0xc093],
  DS: [16, 0xc093],
  ES: [16, 0xc093],
  FS: [16, 0xc093],
  GS: [16, 0xc093],
} as const;

/** 64-bit code at CPL 0 of an unrestricted guest; nothing exits that need not. */
export function legalVmcs(
  { machine }: Pick<TestGuest, 'machine'>,
  at: number,
  ept: PageTables,
  hostRip: bigint,
  vpid = 1,
): Vmcs {
  const { memory } = machine;
  memory.write32(at, VMCS_REVISION);
  const vmcs = new Vmcs(memory, at);
  const [vcpu] = machine.vcpus;
  const { EPT, ...no } = {
    EPT: Secondary.ENABLE_EPT,
    VPID: Secondary.ENABLE_VPID,
    UNRESTRICTED: Secondary.UNRESTRICTED_GUEST,
  };
  const narrow = {
    PIN_BASED_CONTROLS: CONTROL_RANGES.pin.defaults,
    PROCESSOR_BASED_CONTROLS:
      fixedOnes(CONTROL_RANGES.primary) |
      Primary.ACTIVATE_SECONDARY_CONTROLS |
      Primary.USE_MSR_BITMAPS |
      Primary.USE_IO_BITMAPS,
    SECONDARY_CONTROLS: EPT | no.VPID | no.UNRESTRICTED | Secondary.ENABLE_RDTSCP,
    // 64-bit host; PAT and EFER of both.
    EXIT_CONTROLS: CONTROL_RANGES.exit.defaults | 0x3c_0200,
    ENTRY_CONTROLS: CONTROL_RANGES.entry.defaults | 0xc200,
    ...{
      VPID: vpid,
      HOST_CS_SELECTOR: Selector.code0,
      HOST_SS_SELECTOR: Selector.data0,
      HOST_TR_SELECTOR: Selector.tss,
    },
    ...{ GUEST_GDTR_LIMIT: 0x57, GUEST_IDTR_LIMIT: 0xfff },
  } as const;
  const wide = {
    ...{ EPT_POINTER: eptPointer(ept), MSR_BITMAPS: BigInt(At.MSR_BITMAPS), VMCS_LINK_POINTER: (1n << 64n) - 1n },
    ...{ IO_BITMAP_A: BigInt(At.IO_BITMAPS), IO_BITMAP_B: BigInt(At.IO_BITMAPS + 0x1000) },
    ...{
      HOST_CR0: vcpu.cr0,
      HOST_CR3: vcpu.cr3,
      HOST_CR4: vcpu.cr4 | 0x2000n,
      HOST_EFER: 0xd01n,
      HOST_PAT: 0x0007_0406_0007_0406n,
    },
    ...{
      HOST_RIP: hostRip,
      HOST_RSP: HOST_STACK_TOP,
      HOST_GDTR_BASE: BigInt(GDT),
      HOST_IDTR_BASE: BigInt(IDT),
      HOST_TR_BASE: BigInt(TSS),
    },
    ...{ GUEST_CR0: 0x8001_0031n, GUEST_CR3: BigInt(At.GUEST_TABLES), GUEST_CR4: 0x26a0n, GUEST_EFER: 0xd01n },
    ...{
      GUEST_PAT: 0x0007_0406_0007_0406n,
      GUEST_DR7: 0x400n,
      GUEST_RFLAGS: 2n,
      GUEST_RIP: START_RIP,
      GUEST_RSP: BigInt(STACK_TOP),
    },
    ...{ GUEST_GDTR_BASE: BigInt(GDT), GUEST_IDTR_BASE: BigInt(At.IDT) },
  } as const;
  for (const [field, value] of Object.entries(narrow)) vmcs.write(field as keyof typeof narrow, value);
  for (const [field, value] of Object.entries(wide)) vmcs.write64(field as keyof typeof wide, value);
  for (const [name, [selector, accessRights]] of Object.entries(SEGMENTS))
    vmcs.setSegment(name as keyof typeof SEGMENTS, { base: 0n, limit: 0xffff_ffff, selector, accessRights });
  vmcs.setSegment('LDTR', { base: 0n, limit: 0, selector: 0, accessRights: 0x1_0000 });
  vmcs.setSegment('TR', { base: BigInt(TSS), limit: 0x67, selector: Selector.tss, accessRights: 0x8b });
  return vmcs;
}

export function setControls(
  vmcs: Vmcs,
  field: 'PIN_BASED_CONTROLS' | 'PROCESSOR_BASED_CONTROLS' | 'SECONDARY_CONTROLS' | 'EXIT_CONTROLS',
  ...bits: readonly number[]
): void {
  vmcs.write(
    field,
    bits.reduce((all, bit) => all | bit, vmcs.read(field)),
  );
}
export function placePages({ machine, ept }: VmxGuest): void {
  CONTENTS.forEach((value, i) => {
    machine.memory.write64([At.FIRST, At.SECOND][i] + OFFSET, value);
  });
  ept.map(BigInt(GPA), At.FIRST);
}
/** Quadwords of the guest's stack. */
export const stackOf = ({ machine, vmcs }: VmxGuest, count: number) =>
  Array.from({ length: count }, (_, i) => machine.memory.read64(Number(vmcs.read64('GUEST_RSP')) + i * 8));

const [RSP, RBP] = [4, 5];

/** What a program leaves behind, in the guest's guest and in the guest itself. RSI and RDI are pointers before a string instruction only. */
export async function outcome({ steps, registers, flags }: Program, tier: Tier, nested: boolean) {
  const pointers = `be${little32(At.DATA + 0x100)} bf${little32(At.DATA + 0x200)}`;
  const code = steps.map((step) => (step === '48a5' || step === 'aa' ? `${pointers} ${step}` : step)).join(' ');
  const start = ({ vcpu, vmcs }: VmxGuest) => {
    registers.forEach((value, register) => {
      if (register !== RSP) vcpu.gpr[register] = value;
    });
    vcpu.gpr[RBP] = BigInt(At.DATA);
    vmcs.write64('GUEST_RFLAGS', flags);
    vmcs.write64('GUEST_RSP', BigInt(At.STACK + 0x800));
    if (nested) return;
    vcpu.gpr[RSP] = BigInt(At.STACK + 0x800);
    vcpu.rflags = flags;
    vcpu.rip = START_RIP;
  };
  const vmx = await runVmx({
    tier,
    guest: `${code} ${nested ? Op.VMCALL : Op.HLT}`,
    host: `${ON} ${SELECT} ${Op.CALL} ${Op.VMLAUNCH} ${Op.HLT}`,
    calls: [start],
  });
  const { vcpu, vmcs, machine } = vmx;
  const words = (at: number, count: number) =>
    Array.from({ length: count }, (_, i) => machine.memory.read64(at + i * 8));
  return {
    gpr: [...vcpu.gpr].map((value, register) => (nested && register === RSP ? vmcs.read64('GUEST_RSP') : value)),
    end: nested ? vmcs.read64('GUEST_RIP') : vcpu.rip - 1n,
    rflags: nested ? vmcs.read64('GUEST_RFLAGS') : vcpu.rflags,
    memory: [words(At.DATA, 0x50), words(At.STACK + 0x700, 0x40)],
  };
}
