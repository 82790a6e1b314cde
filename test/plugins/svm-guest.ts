/** For tests: a hypervisor of a few bytes on a processor with SVM, and the guest that it runs with nested paging. */
import type { PluginHost } from '@polyvisor/plugin-api';
import fc from 'fast-check';
import { PageTables } from '../../packages/core/src/engine/testing/test-bench.ts';
import { CODE, GDT, type TestGuest, testGuest } from '../../packages/core/src/machine/testing/test-guest.ts';
import hwassist from '../../packages/plugin-hwassist/src/index.ts';
import { VirtualInterrupt, Vmcb } from '../../packages/plugin-hwassist/src/svm/vmcb.ts';

/** Each tier by itself: in tier 1 all code is compiled when it is first reached. */
export const TIERS = [
  ['tier 0', false],
  ['tier 1', { threshold: 1, batch: 1 }],
] as const;
export type Tier = (typeof TIERS)[number][1];

/** Machine addresses. The guest has the same below 0x4_0000, and where its page tables are. */
export const At = {
  ...{ VMCB: 0x2_8000, OTHER_VMCB: 0x2_9000, IOPM: 0x2_a000, MSRPM: 0x2_d000 },
  ...{ GUEST_CODE: 0x3_0000, DATA: 0x3_1000, STACK: 0x3_2000, IDT: 0x3_4000, HANDLERS: 0x3_5000 },
  ...{ FIRST: 0x3_6000, SECOND: 0x3_7000 },
  ...{ GUEST_TABLES: 0x14_0000, NESTED: 0x16_0000, OTHER_NESTED: 0x18_0000 },
} as const;
export const STACK_TOP = At.STACK + 0x1000;
/** A page of the guest's: GVA by its tables GPA, which is beyond the machine's memory. */
export const GVA = 0x50_0000;
export const GPA = 0x4567_8000;

/** EXITCODE (appendix C). */
export const Code = {
  ...{ READ_CR3: 0x03, WRITE_CR3: 0x13, EXCEPTION: 0x40, INTR: 0x60, VINTR: 0x64, RDTSC: 0x6e, CPUID: 0x72, HLT: 0x78 },
  ...{ IOIO: 0x7b, MSR: 0x7c, SHUTDOWN: 0x7f, VMRUN: 0x80, VMMCALL: 0x81, NPF: 0x400 },
} as const;
/** EXITINFO1 of nested page faults (15.25.6). */
export const Npf = { P: 1n, WRITE: 2n, USER: 4n, FETCH: 16n, FINAL: 1n << 32n, TABLE: 1n << 33n } as const;
const LSTAR = 0xc000_0082;
export const START_RIP = BigInt(At.GUEST_CODE);

export const Op = {
  ...{ VMRUN: '0f01d8', VMMCALL: '0f01d9', VMLOAD: '0f01da', VMSAVE: '0f01db', STGI: '0f01dc', CLGI: '0f01dd' },
  ...{ INVLPGA: '0f01df', HLT: 'f4' },
  /** mov ecx, IA32_EFER; rdmsr; or eax, SVME; wrmsr */
  ENABLE: 'b9800000c0 0f32 0d00100000 0f30',
} as const;
const { ENABLE, HLT, VMMCALL, VMRUN } = Op;

export const lengthOf = (code: string): number => code.replace(/\s/g, '').length / 2;
export const little32 = (value: number): string =>
  [0, 8, 16, 24].map((shift) => ((value >>> shift) & 0xff).toString(16).padStart(2, '0')).join('');
export const movEax = (value: number): string => `b8${little32(value)}`;
/** mov rbx, [address] and back */
export const load = (address: number): string => `488b1c25 ${little32(address)}`;
export const store = (address: number): string => `48891c25 ${little32(address)}`;
/** VMRUN with rAX loaded before. */
export const vmrun = (vmcb: number = At.VMCB): string => `${movEax(vmcb)} ${VMRUN}`;
export const START = `${ENABLE} ${vmrun()}`;

export interface SvmOptions {
  readonly tier: Tier;
  /** The guest's code, at GUEST_CODE. */
  readonly guest: string;
  /** The hypervisor's, at CODE; without it: start the guest once, and halt. */
  readonly host?: string;
  readonly prepare?: (svm: SvmGuest) => void;
  /** What each VMMCALL that is not intercepted does: the hypervisor's own, or the guest's. */
  readonly calls?: readonly ((svm: SvmGuest) => void)[];
}

export interface SvmGuest extends TestGuest {
  readonly vmcb: Vmcb;
  readonly tables: PageTables;
  readonly guestTables: PageTables;
  readonly nested: PageTables;
}

/** The same bit numbers as exit codes have, from 0x60 on (table B-1). */
export function intercept(vmcb: Vmcb, ...bits: readonly number[]): void {
  for (const bit of bits) {
    const field = bit < 0x80 ? 'INTERCEPT_VECTOR_3' : 'INTERCEPT_VECTOR_4';
    vmcb.write(field, vmcb.read(field) | (1 << (bit & 31)));
  }
}

export const exitOf = (vmcb: Vmcb) => ({
  code: vmcb.read64('EXITCODE'),
  info1: vmcb.read64('EXITINFO1'),
  info2: vmcb.read64('EXITINFO2'),
  rip: vmcb.read64('RIP'),
});

/** What {@link exitOf} is to be. */
export const exit = (code: number, rip: bigint, info1 = 0n, info2 = 0n) => ({ code: BigInt(code), info1, info2, rip });

/** Run the hypervisor to its HLT. */
export async function runSvm(options: SvmOptions): Promise<SvmGuest> {
  const calls = [...(options.calls ?? [])];
  let boot: Parameters<PluginHost['hooks']['boot']['tap']>[1] | undefined;
  let svm: SvmGuest | undefined;
  const guest = await testGuest({
    code: { [CODE]: options.host ?? `${START} ${HLT}`, [At.GUEST_CODE]: options.guest },
    tap: (host) => {
      host.hooks.configure.tap('bench', (platform) => platform.chips.add('localApic'));
      // The bench starts the machine before the other plug-in would be asked.
      const later: typeof host.hooks.boot = {
        tap: (_name, fn) => {
          boot = fn;
        },
      };
      hwassist.apply({ ...host, hooks: { ...host.hooks, boot: later } });
      host.hooks.exit.for('hypercall').tap('bench', () => {
        calls.shift()?.(svm as SvmGuest);
        return 'handled';
      });
    },
    prepare: (bench) => {
      boot?.({} as never, bench.machine);
      svm = place(bench);
      options.prepare?.(svm);
    },
    options: { engine: { hot: [], regions: options.tier } },
  });
  await guest.run();
  return svm as SvmGuest;
}

function place(guest: TestGuest): SvmGuest {
  const { machine, vcpu } = guest;
  const { memory } = machine;
  // Spurious-interrupt vector register: the local APIC is on.
  vcpu.writeDevice(0xfee0_00f0, 4, 0x1ff);
  const guestTables = new PageTables(memory, At.GUEST_TABLES);
  guestTables.identity(0, 0x4_0000);
  guestTables.map(BigInt(GVA), GPA);
  for (let vector = 0; vector < 256; vector++) {
    const handler = At.HANDLERS + vector * 16;
    memory.write64(
      At.IDT + vector * 16,
      BigInt(handler & 0xffff) | (8n << 16n) | (0x8e00n << 32n) | (BigInt(handler >> 16) << 48n),
    );
    memory.writeBytes(handler, Uint8Array.of(0x0f, 0x01, 0xd9));
  }
  const nested = nestedTables(guest, At.NESTED);
  const vmcb = legalVmcb(guest, At.VMCB, nested);
  return Object.assign(guest, { vmcb, guestTables, nested });
}

/** All that the guest has but GPA. */
export function nestedTables({ machine }: Pick<TestGuest, 'machine'>, at: number): PageTables {
  const nested = new PageTables(machine.memory, at);
  nested.identity(0, 0x4_0000);
  nested.identity(At.GUEST_TABLES, At.GUEST_TABLES + 0x1_0000);
  return nested;
}

/** 64-bit code at CPL 0; VMRUN, VMMCALL and shutdown are intercepted. */
export function legalVmcb({ machine }: Pick<TestGuest, 'machine'>, at: number, nested: PageTables, asid = 1): Vmcb {
  const vmcb = new Vmcb(machine.memory, at);
  intercept(vmcb, Code.VMRUN, Code.VMMCALL, Code.SHUTDOWN);
  vmcb.write('ASID', asid);
  vmcb.write('NP_CONTROL', 1);
  const wide = {
    ...{ nCR3: BigInt(nested.root), IOPM_BASE_PA: BigInt(At.IOPM), MSRPM_BASE_PA: BigInt(At.MSRPM) },
    ...{ G_PAT: 0x0007_0406_0007_0406n, EFER: 0x1d01n, CR0: 0x8001_0031n, CR3: BigInt(At.GUEST_TABLES), CR4: 0x6a0n },
    ...{ DR6: 0xffff_0ff0n, DR7: 0x400n, RFLAGS: 2n, RIP: BigInt(At.GUEST_CODE), RSP: BigInt(STACK_TOP) },
  } as const;
  for (const [field, value] of Object.entries(wide)) vmcb.write64(field as keyof typeof wide, value);
  const flat = { base: 0n, limit: 0xffff_ffff };
  vmcb.setSegment('CS', { ...flat, selector: 8, accessRights: 0xa09b });
  for (const name of ['SS', 'DS', 'ES'] as const) {
    vmcb.setSegment(name, { ...flat, selector: 16, accessRights: 0xc093 });
  }
  vmcb.setTable('GDTR', { base: BigInt(GDT), limit: 0x57 });
  vmcb.setTable('IDTR', { base: BigInt(At.IDT), limit: 0xfff });
  return vmcb;
}

/** Where the guest's handler of a vector has its VMMCALL. */
export const handler = (vector: number) => BigInt(At.HANDLERS + vector * 16);
/** Two pages that GPA can be; what a read of their OFFSET gets. */
export const CONTENTS = [0x1111n, 0x2222n] as const;
export const OFFSET = 0xabc;
export function placePages({ machine, nested }: SvmGuest): void {
  CONTENTS.forEach((value, i) => {
    machine.memory.write64([At.FIRST, At.SECOND][i] + OFFSET, value);
  });
  nested.map(BigInt(GPA), At.FIRST);
}
/** The vector of all interrupts. */
export const VECTOR = 0x51;
/** Interrupts exit, and go by the host's IF; so does CPUID. */
export function maskInterrupts({ vmcb }: SvmGuest): void {
  intercept(vmcb, Code.INTR, Code.CPUID);
  allowCalls(vmcb);
  vmcb.write('V_CONTROL', VirtualInterrupt.V_INTR_MASKING);
}
export function requestVirtual(vmcb: Vmcb, control: number): void {
  vmcb.write('V_CONTROL', VirtualInterrupt.V_IRQ | VirtualInterrupt.V_INTR_MASKING | control);
  vmcb.write('V_INTR_VECTOR', VECTOR);
}
/** The guest's VMMCALLs are calls, too. */
export const allowCalls = (vmcb: Vmcb) => vmcb.write('INTERCEPT_VECTOR_4', 1);
/** Quadwords of the guest's stack. */
export const stackOf = ({ machine, vmcb }: SvmGuest, count: number) =>
  Array.from({ length: count }, (_, i) => machine.memory.read64(Number(vmcb.read64('RSP')) + i * 8));

export interface Case {
  readonly what: string;
  readonly before?: string;
  readonly guest: string;
  readonly code: number;
  readonly info1?: bigint;
  readonly info2?: bigint;
}

/** Instructions that exit by {@link interceptAll}, and what is told of them. */
export const INTERCEPTED: readonly Case[] = [
  { what: 'CPUID', guest: '0fa2', code: Code.CPUID },
  { what: 'RDTSC', guest: '0f31', code: Code.RDTSC },
  // out 0x80, al: 8 bits, 64-bit addresses
  { what: 'OUT', guest: 'e680', code: Code.IOIO, info1: 0x80_0210n, info2: START_RIP + 2n },
  { what: 'IN', guest: 'e480', code: Code.IOIO, info1: 0x80_0211n, info2: START_RIP + 2n },
  { what: 'RDMSR', before: `b9${little32(LSTAR)}`, guest: '0f32', code: Code.MSR },
  { what: 'WRMSR', before: `b9${little32(LSTAR)}`, guest: '0f30', code: Code.MSR, info1: 1n },
  { what: 'read of CR3', guest: '0f20d8', code: Code.READ_CR3 },
  { what: 'write of CR3', before: movEax(At.GUEST_TABLES), guest: '0f22d8', code: Code.WRITE_CR3 },
];

/** Those of {@link INTERCEPTED}; the maps have the port 0x80 and LSTAR. */
export function interceptAll({ vmcb, machine: { memory } }: SvmGuest): void {
  intercept(vmcb, Code.CPUID, Code.RDTSC, Code.IOIO, Code.MSR);
  vmcb.write('INTERCEPT_CR', 0x0008_0008);
  memory.write8(At.IOPM + 0x80 / 8, 1);
  // Two bits for each Code.MSR from 0xc0000000 on, at 0x800 of the map.
  memory.write8(At.MSRPM + 0x800 + (LSTAR & 0x1fff) / 4, 0x30);
}

const [RAX, RSP] = [0, 4];
export interface Program {
  readonly steps: readonly string[];
  readonly registers: readonly bigint[];
  readonly flags: bigint;
}
/** Instructions on registers, on RBP's page and on the stack, with neither undefined flags nor faults. */
// biome-ignore format: a table
const STEPS = [
  '4801d8', '4829ca', '4811fe', '4819d1', '4821f3', '09c7', '31d0', '4839c8', '4885db', '48ffc2', 'ffcf', 'f7d8', '48f7d1', '0fc8',
  '6601d3', '28dc', '00f1', '0f94c0', '480f42f2', '4889c7', '0fb6db', '480fbec9', '4c01c8', '4d89da', '48d1e0', 'd1fb', '4893',
  '488b4d08', '48895d10', '4801550c', '48114518', '66ff4d22', '83452a7f', '480fc15530', '48874d38', '488d4c1805', 'f8', 'f9', 'f5',
  '50', '5b', '51', '5a', '4156', '4158', '9c 58', '4883ec10', '4883c410', '48a5', 'aa', '488b0424', '48090c24',
];
export const PROGRAM = fc.record<Program>({
  steps: fc.array(fc.constantFrom(...STEPS), { minLength: 1, maxLength: 12 }),
  registers: fc.array(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), { minLength: 16, maxLength: 16 }),
  // None, CF, all arithmetic ones and DF.
  flags: fc.constantFrom(0x2n, 0x3n, 0xcd7n),
});
const RBP = 5;

/** What a program leaves behind. RSI and RDI are pointers before a string instruction only. */
export async function outcome({ steps, registers, flags }: Program, tier: Tier, nested: boolean) {
  const pointers = `be${little32(At.DATA + 0x100)} bf${little32(At.DATA + 0x200)}`;
  const code = steps.map((step) => (step === '48a5' || step === 'aa' ? `${pointers} ${step}` : step)).join(' ');
  const start = ({ vcpu, vmcb }: SvmGuest) => {
    registers.forEach((value, register) => {
      if (register !== RSP) vcpu.gpr[register] = value;
    });
    vcpu.gpr[RBP] = BigInt(At.DATA);
    vmcb.write64('RFLAGS', flags);
    vmcb.write64('RAX', registers[RAX]);
    vmcb.write64('RSP', BigInt(At.STACK + 0x800));
    if (nested) return;
    vcpu.gpr[RSP] = BigInt(At.STACK + 0x800);
    vcpu.rflags = flags;
    vcpu.rip = START_RIP;
  };
  const svm = await runSvm({
    tier,
    guest: `${code} ${nested ? VMMCALL : HLT}`,
    host: `${ENABLE} ${VMMCALL} ${vmrun()} ${HLT}`,
    calls: [start],
  });
  const { vcpu, vmcb, machine } = svm;
  const words = (at: number, count: number) =>
    Array.from({ length: count }, (_, i) => machine.memory.read64(at + i * 8));
  return {
    gpr: [...vcpu.gpr].map((value, register) => {
      if (!nested || (register !== RAX && register !== RSP)) return value;
      return vmcb.read64(register === RAX ? 'RAX' : 'RSP');
    }),
    end: nested ? vmcb.read64('RIP') : vcpu.rip - 1n,
    exitCode: nested ? vmcb.read64('EXITCODE') : BigInt(Code.VMMCALL),
    rflags: nested ? vmcb.read64('RFLAGS') : vcpu.rflags,
    memory: [words(At.DATA, 0x50), words(At.STACK + 0x700, 0x40)],
  };
}
