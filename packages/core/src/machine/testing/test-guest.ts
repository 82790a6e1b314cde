/** For tests: a machine whose only plug-in places a few bytes of code, with GDT, IDT, TSS and page tables around them. */
import type { PluginHost, Machine as PluginMachine } from '@polyvisor/plugin-api';
import { FakeConsole } from '@polyvisor/testkit';
import { hex, PageTables } from '../../engine/testing/test-bench.ts';
import { PluginRegistry } from '../../plugin/index.ts';
import { Machine } from '../machine.ts';
import type { MachineOptions, RunEnd } from '../options.ts';
import type { MachineVcpu } from '../vcpu.ts';

export const GDT = 0x2000;
export const IDT = 0x3000;
export const TSS = 0x4000;
/** Handler of vector n: HLT at HANDLERS + 16n. */
export const HANDLERS = 0x5000;
export const CODE = 0x10000;
export const STACK_TOP = 0x20000n;
/** RSP0 and IST1 of the TSS. */
export const KERNEL_STACK = 0x22000n;
export const IST1 = 0x24000n;
export const Selector = {
  code0: 0x08,
  data0: 0x10,
  code3of32: 0x1b,
  data3: 0x23,
  code3: 0x2b,
  tss: 0x30,
  absentData: 0x40,
  readOnly: 0x48,
  ldt: 0x50,
} as const;

const DESCRIPTORS: Record<number, bigint> = {
  8: 0x00af9b000000ffffn,
  16: 0x00cf93000000ffffn,
  24: 0x00cffb000000ffffn,
  32: 0x00cff3000000ffffn,
  40: 0x00affb000000ffffn,
  48: 0x0000890000000067n | (BigInt(TSS) << 16n),
  56: 0n,
  64: 0x00cf13000000ffffn,
  72: 0x00cf91000000ffffn,
  80: 0x0000820000000fffn,
};

export interface GuestOptions {
  /** Code by address. */
  readonly code: Readonly<Record<number, string>>;
  /** After everything is in place. */
  readonly prepare?: (guest: TestGuest) => void;
  /** The plug-in's other taps. */
  readonly tap?: (host: PluginHost) => void;
  readonly options?: Partial<MachineOptions>;
}

/** A gate: type 0xe or 0xf at a privilege level. */
export function gate(
  offset: bigint,
  attributes: { type?: number; dpl?: number; ist?: number; selector?: number; present?: boolean } = {},
): [bigint, bigint] {
  const { type = 0xe, dpl = 0, ist = 0, selector = Selector.code0, present = true } = attributes;
  const low =
    (offset & 0xffffn) |
    (BigInt(selector) << 16n) |
    (BigInt(ist | (type << 8) | (dpl << 13) | (present ? 0x8000 : 0)) << 32n);
  return [low | (((offset >> 16n) & 0xffffn) << 48n), offset >> 32n];
}

export class TestGuest {
  readonly machine: Machine;
  readonly console = new FakeConsole();
  tables!: PageTables;

  constructor(machine: Machine) {
    this.machine = machine;
  }
  get vcpu(): MachineVcpu {
    return this.machine.vcpus[0];
  }
  run(): Promise<RunEnd> {
    return this.machine.run();
  }
  setGate(vector: number, ...args: Parameters<typeof gate>): void {
    const [low, high] = gate(...args);
    this.machine.memory.write64(IDT + vector * 16, low);
    this.machine.memory.write64(IDT + vector * 16 + 8, high);
  }
  /** The vector whose handler's HLT ended the run, if any did. */
  get stoppedIn(): number | undefined {
    const at = Number(this.vcpu.rip) - HANDLERS;
    return at >= 0 && at < 4096 ? at >> 4 : undefined;
  }
  /** Quadwords on the stack. */
  stack(count: number): bigint[] {
    return Array.from({ length: count }, (_, i) => this.machine.memory.read64(Number(this.vcpu.gpr[4]) + i * 8));
  }
}

/** A machine that is ready to run. HLT at CPL 0 ends it. */
export async function testGuest(options: GuestOptions): Promise<TestGuest> {
  let guest: TestGuest | undefined;
  const registry = new PluginRegistry();
  const plugin = {
    name: 'bench',
    version: '1.0.0',
    api: '^1.0',
    apply(host: PluginHost) {
      host.hooks.findEntries.tap('bench', () => ({
        entries: [{ name: 'bench', abi: 'test', address: BigInt(CODE), foundIn: 'test', plugin: 'bench', priority: 1 }],
        missing: [],
      }));
      host.hooks.boot.tap('bench', (_request, machine) => {
        guest = new TestGuest(machine as unknown as Machine);
        place(guest, options);
        return true;
      });
      options.tap?.(host);
      host.hooks.exit.for('hlt').tap('bench', (vcpu) => {
        if (vcpu.cpl !== 0) return 'pass';
        (guest as TestGuest).machine.shutdown({ kind: 'poweroff' });
        return 'handled';
      });
    },
  };
  registry.load(plugin, { where: 'test' });
  await Machine.create(machineOptions(registry, options.options));
  return guest as TestGuest;
}

export function machineOptions(registry: PluginRegistry, options: Partial<MachineOptions> = {}): MachineOptions {
  return {
    image: { name: 'test', description: 'bytes', format: 'unknown', file: new Uint8Array(1) },
    commandLine: '',
    memoryBytes: 2 << 20,
    clockKind: 'icount',
    console: new FakeConsole(),
    plugins: registry,
    wallClock: { nowNs: () => performance.now() * 1e6, epochNs: () => 0n },
    engine: { hot: [] },
    idle: () => new Promise(setImmediate),
    ...options,
  };
}

function place(guest: TestGuest, options: GuestOptions): void {
  const { machine, vcpu } = guest;
  const memory = machine.memory as PluginMachine['memory'];
  guest.tables = new PageTables(machine.memory, 0x100000);
  guest.tables.identity(0, 0x40000);
  for (const [at, descriptor] of Object.entries(DESCRIPTORS)) memory.write64(GDT + Number(at), descriptor);
  memory.write64(TSS + 4, KERNEL_STACK);
  memory.write64(TSS + 36, IST1);
  // The I/O permission bitmap starts past the limit: there is none.
  memory.write16(TSS + 0x66, 0x68);
  for (let vector = 0; vector < 256; vector++) {
    guest.setGate(vector, BigInt(HANDLERS + vector * 16));
    memory.write8(HANDLERS + vector * 16, 0xf4);
  }
  for (const [at, code] of Object.entries(options.code)) memory.writeBytes(Number(at), hex(code));
  vcpu.cr4 = 0x620n;
  vcpu.efer = 0xd01n;
  vcpu.cr3 = BigInt(guest.tables.root);
  vcpu.cr0 = 0x80010031n;
  vcpu.tables.gdtr.base = BigInt(GDT);
  vcpu.tables.gdtr.limit = 0x57;
  vcpu.tables.idtr.base = BigInt(IDT);
  vcpu.tables.idtr.limit = 0xfff;
  vcpu.tables.tr = { selector: Selector.tss, base: BigInt(TSS), limit: 0x67, accessRights: 0x8b };
  enter(vcpu, 0);
  vcpu.rip = BigInt(CODE);
  vcpu.gpr[4] = STACK_TOP;
  options.prepare?.(guest);
}

/** CS and SS for a privilege level in 64-bit mode. */
export function enter(vcpu: MachineVcpu, cpl: 0 | 3): void {
  const dpl = cpl << 5;
  vcpu.setSegment(1, {
    selector: cpl ? Selector.code3 : Selector.code0,
    base: 0n,
    limit: 0xffffffff,
    accessRights: 0xa09b | dpl,
  });
  vcpu.setSegment(2, {
    selector: cpl ? Selector.data3 : Selector.data0,
    base: 0n,
    limit: 0xffffffff,
    accessRights: 0xc093 | dpl,
  });
  vcpu.cpl = cpl;
}
