/**
 * lguest's interface as it was at different times: "subject to wild and random change between versions" (Linux 2.6.32,
 * include/linux/lguest.h). An era is the span of kernels that speak one of them.
 */
import { Gpr } from '@polyvisor/plugin-api';

/** Numbers of hypercalls (asm/lguest_hcall.h of 2.6.28 and 2.6.32). A number is missing where no era has it. */
export const Call = {
  FLUSH_ASYNC: 0,
  LGUEST_INIT: 1,
  SHUTDOWN: 2,
  LOAD_GDT: 3,
  NEW_PGTABLE: 4,
  FLUSH_TLB: 5,
  LOAD_IDT_ENTRY: 6,
  SET_STACK: 7,
  TS: 8,
  SET_CLOCKEVENT: 9,
  HALT: 10,
  SET_PMD: 13,
  SET_PTE: 14,
  /** SET_PMD in kernels that had no PAE yet. */
  SET_PGD: 15,
  LOAD_TLS: 16,
  NOTIFY: 17,
  LOAD_GDT_ENTRY: 18,
  SEND_INTERRUPTS: 19,
} as const;
export type CallName = keyof typeof Call;
export const LAST_CALL = Call.SEND_INTERRUPTS;

/** Vector of the hypercall by INT. */
export const TRAP_ENTRY = 0x1f;
export const RING_SIZE = 64;
/** The host writes it when a call of the ring is done, the guest's zero says that it waits. */
export const RING_DONE = 0xff;
export const IRQS = 32;
/** LHCALL_SHUTDOWN's second argument. */
export const SHUTDOWN_RESTART = 2;

/** Offsets of the fields of struct lguest_data, bytes; 32-bit words but for the ring's status bytes. */
export interface DataLayout {
  readonly irqEnabled: number;
  readonly blockedInterrupts: number;
  readonly cr2: number;
  readonly seconds: number;
  readonly nanoseconds: number;
  readonly irqPending: number | undefined;
  readonly ringStatus: number;
  readonly ring: number;
  readonly reserveMem: number;
  readonly tscKhz: number;
  readonly pgdir: number | undefined;
  /** Of the first instruction in which no interrupt is delivered; without {@link noirqEnd} it is the one IRET. */
  readonly noirqStart: number;
  readonly noirqEnd: number | undefined;
  readonly kernelAddress: number;
  readonly syscallVector: number;
  readonly sizeBytes: number;
}

interface DataShape {
  readonly irqPending: boolean;
  /** Words of a call in the ring. */
  readonly ringWords: number;
  readonly pgdir: boolean;
  /** A range of instructions without interrupts, not one. */
  readonly noirqRange: boolean;
}

function layoutOf({ irqPending, ringWords, pgdir, noirqRange }: DataShape): DataLayout {
  let end = 0;
  const take = (sizeBytes: number) => {
    end += sizeBytes;
    return end - sizeBytes;
  };
  const word = () => take(4);
  return {
    irqEnabled: word(),
    blockedInterrupts: word(),
    cr2: word(),
    seconds: word(),
    nanoseconds: word(),
    irqPending: irqPending ? word() : undefined,
    ringStatus: take(RING_SIZE),
    ring: take(RING_SIZE * ringWords * 4),
    reserveMem: word(),
    tscKhz: word(),
    pgdir: pgdir ? word() : undefined,
    noirqStart: word(),
    noirqEnd: noirqRange ? word() : undefined,
    kernelAddress: word(),
    syscallVector: word(),
    sizeBytes: end,
  };
}

export interface Era {
  /** The first kernel of it: what `abi:` names. */
  readonly name: string;
  /** In words: `Linux 2.6.31 to 2.6.34`. */
  readonly kernels: string;
  /** `vmcall` accepts INT 0x1f too: the real host rewrote the one to the other. */
  readonly transfer: 'int' | 'vmcall';
  /** Registers of arguments 1, 2, …. */
  readonly registers: readonly number[];
  /** Which word of a call in the ring holds argument 0, 1, 2, …. */
  readonly ringOrder: readonly number[];
  readonly data: DataLayout;
  readonly calls: ReadonlySet<number>;
  /** How devices are found: in descriptors above the guest's memory, those of 2.6.24 with typed fields, or on a PCI bus. */
  readonly bus: 'typedFields' | 'descriptors' | 'pci';
  /** Another era has the same first hypercall and struct: it is this one only if it is named. */
  readonly onlyNamed?: true;
  /** CLI in the kernel does nothing: kernels have one that no pv_op replaces. */
  readonly ignoresCli: boolean;
}

const OLD_REGISTERS = [Gpr.RDX, Gpr.RBX, Gpr.RCX];
const NEW_REGISTERS = [Gpr.RBX, Gpr.RCX, Gpr.RDX, Gpr.RSI];
const ALL_CALLS = new Set<number>(Object.values(Call));
const without = (...numbers: number[]) => new Set([...ALL_CALLS].filter((number) => !numbers.includes(number)));
const OLD_CALLS = without(Call.SET_PMD, Call.LOAD_GDT_ENTRY, Call.SEND_INTERRUPTS);
const NEW_CALLS = without(Call.LOAD_GDT);
const PCI_CALLS = without(Call.LOAD_GDT, Call.NOTIFY);

const NEW_RING = [0, 1, 2, 3, 4];

/**
 * In order of time. Read in sources: calls and registers of 2.6.24, 2.6.25, 2.6.30, 2.6.31 to 3.19 and 4.1; lguest_data of 2.6.24,
 * from 2.6.31 to 3.19, and of 4.1. That of 2.6.25 and 2.6.30 is what lies between, and 4.0's is 3.19's.
 */
export const ERAS: readonly Era[] = [
  {
    name: '2.6.24',
    kernels: 'Linux 2.6.24',
    transfer: 'int',
    registers: OLD_REGISTERS,
    ringOrder: [0, 3, 1, 2],
    data: layoutOf({ irqPending: false, ringWords: 4, pgdir: true, noirqRange: true }),
    calls: OLD_CALLS,
    bus: 'typedFields',
    onlyNamed: true,
    ignoresCli: false,
  },
  {
    name: '2.6.25',
    kernels: 'Linux 2.6.25 to 2.6.29',
    transfer: 'int',
    registers: OLD_REGISTERS,
    ringOrder: [0, 3, 1, 2],
    data: layoutOf({ irqPending: false, ringWords: 4, pgdir: true, noirqRange: true }),
    calls: OLD_CALLS,
    bus: 'descriptors',
    ignoresCli: false,
  },
  {
    name: '2.6.30',
    kernels: 'Linux 2.6.30',
    transfer: 'vmcall',
    registers: NEW_REGISTERS.slice(0, 3),
    ringOrder: [0, 1, 2, 3],
    data: layoutOf({ irqPending: false, ringWords: 4, pgdir: true, noirqRange: true }),
    calls: OLD_CALLS,
    bus: 'descriptors',
    ignoresCli: false,
  },
  {
    name: '2.6.31',
    kernels: 'Linux 2.6.31 to 2.6.34',
    transfer: 'vmcall',
    registers: NEW_REGISTERS,
    ringOrder: NEW_RING,
    data: layoutOf({ irqPending: true, ringWords: 5, pgdir: true, noirqRange: true }),
    calls: NEW_CALLS,
    bus: 'descriptors',
    ignoresCli: false,
  },
  {
    name: '2.6.35',
    kernels: 'Linux 2.6.35 to 3.0',
    transfer: 'int',
    registers: NEW_REGISTERS,
    ringOrder: NEW_RING,
    data: layoutOf({ irqPending: true, ringWords: 5, pgdir: true, noirqRange: true }),
    calls: NEW_CALLS,
    bus: 'descriptors',
    ignoresCli: true,
  },
  {
    name: '3.1',
    kernels: 'Linux 3.1 to 3.19',
    transfer: 'int',
    registers: NEW_REGISTERS,
    ringOrder: NEW_RING,
    data: layoutOf({ irqPending: true, ringWords: 5, pgdir: false, noirqRange: true }),
    calls: NEW_CALLS,
    bus: 'descriptors',
    ignoresCli: true,
  },
  {
    name: '4.0',
    kernels: 'Linux 4.0',
    transfer: 'int',
    registers: NEW_REGISTERS,
    ringOrder: NEW_RING,
    data: layoutOf({ irqPending: true, ringWords: 5, pgdir: false, noirqRange: true }),
    calls: PCI_CALLS,
    bus: 'pci',
    onlyNamed: true,
    ignoresCli: true,
  },
  {
    name: '4.1',
    kernels: 'Linux 4.1 to 4.13',
    transfer: 'int',
    registers: NEW_REGISTERS,
    ringOrder: NEW_RING,
    data: layoutOf({ irqPending: true, ringWords: 5, pgdir: false, noirqRange: false }),
    calls: PCI_CALLS,
    bus: 'pci',
    ignoresCli: true,
  },
];

/** Kernels before and after these eras, with the reason why they cannot run. */
const OTHERS = [{ from: [2, 6, 23], reason: 'Linux 2.6.23 has a bus of its own with DMA: NOT IMPLEMENTED' }];

const numbersOf = (version: string) => version.split('.').map(Number);

/** The era of a kernel version such as `2.6.32`, or why there is none. */
export function eraOf(version: string): Era | { readonly reason: string } {
  if (!/^\d+\.\d+(\.\d+)?$/.test(version)) return { reason: `"${version}" is no kernel version` };
  const wanted = numbersOf(version);
  const spans = [
    ...ERAS.map((era) => ({ from: numbersOf(era.name), era })),
    ...OTHERS.map(({ from, reason }) => ({ from, era: { reason } })),
  ].sort((a, b) => compare(a.from, b.from));
  const found = spans.filter(({ from }) => compare(from, wanted) <= 0).pop();
  if (!found) return { reason: `Linux ${version} has no lguest` };
  return compare(wanted, [4, 14]) >= 0 ? { reason: `Linux ${version} has no lguest any more` } : found.era;
}

function compare(a: readonly number[], b: readonly number[]): number {
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

export const callName = (number: number): CallName | undefined =>
  (Object.keys(Call) as CallName[]).find((name) => Call[name] === number);
