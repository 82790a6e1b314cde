import type { Exit } from '@polyvisor/plugin-api';
import { INSTRUCTION_EXITS, type InstructionExitName } from '../isa/instruction-exit.ts';

/** Reads the ARG slots of an instruction exit. */
export interface ExitArguments {
  readonly lengthBytes: number;
  arg(index: number): bigint;
}

type Maker = (length: { instructionLength: number }, number: (index: number) => number, args: ExitArguments) => Exit;

const plain =
  (
    kind:
      | 'syscall'
      | 'sysenter'
      | 'cpuid'
      | 'rdmsr'
      | 'wrmsr'
      | 'clts'
      | 'invpcid'
      | 'wbinvd'
      | 'invd'
      | 'rdpmc'
      | 'swapgs'
      | 'xsetbv'
      | 'monitor'
      | 'mwait'
      | 'cli'
      | 'sti'
      | 'hlt',
  ): Maker =>
  (length) =>
    ({ kind, ...length }) as Exit;
const io =
  (direction: 'in' | 'out'): Maker =>
  (length, n) => ({
    kind: 'io',
    port: n(0),
    sizeBytes: n(1) as 1 | 2 | 4,
    direction,
    string: false,
    rep: false,
    addressSize: 64,
    segment: 3,
    ...length,
  });
const stringIo =
  (direction: 'in' | 'out'): Maker =>
  (length, n) => ({
    kind: 'io',
    port: n(0),
    sizeBytes: n(1) as 1 | 2 | 4,
    direction,
    string: true,
    rep: n(4) !== 0,
    addressSize: n(2) as 16 | 32 | 64,
    segment: n(3),
    ...length,
  });

/** The exits that a plug-in may see; the others are native business. */
const makers: Partial<Record<InstructionExitName, Maker>> = {
  softwareInterrupt: (length, n) => ({ kind: 'softwareInterrupt', vector: n(0), ...length }),
  int3: (length) => ({ kind: 'softwareInterrupt', vector: 3, ...length }),
  into: (length) => ({ kind: 'softwareInterrupt', vector: 4, ...length }),
  syscall: plain('syscall'),
  sysenter: plain('sysenter'),
  sysret: (length, n) => ({ kind: 'sysret', operandSize: n(0) as 32 | 64, ...length }),
  sysexit: (length, n) => ({ kind: 'sysexit', operandSize: n(0) as 32 | 64, ...length }),
  iret: (length, n) => ({ kind: 'iret', operandSize: n(0) as 16 | 32 | 64, ...length }),
  vmcall: (length) => ({ kind: 'hypercall', instruction: 'vmcall', ...length }),
  vmmcall: (length) => ({ kind: 'hypercall', instruction: 'vmmcall', ...length }),
  in: io('in'),
  out: io('out'),
  ins: stringIo('in'),
  outs: stringIo('out'),
  cpuid: plain('cpuid'),
  rdmsr: plain('rdmsr'),
  wrmsr: plain('wrmsr'),
  readCr: (length, n) => ({ kind: 'readCr', cr: n(0), gpr: n(1), ...length }),
  writeCr: (length, n) => ({ kind: 'writeCr', cr: n(0), gpr: n(1), ...length }),
  clts: plain('clts'),
  lmsw: (length, n) => ({ kind: 'lmsw', value: n(0), ...length }),
  readDr: (length, n) => ({ kind: 'readDr', dr: n(0), gpr: n(1), ...length }),
  writeDr: (length, n) => ({ kind: 'writeDr', dr: n(0), gpr: n(1), ...length }),
  lgdt: (length, n, args) => ({ kind: 'loadTable', table: 'gdt', limit: n(0), base: args.arg(1), ...length }),
  lidt: (length, n, args) => ({ kind: 'loadTable', table: 'idt', limit: n(0), base: args.arg(1), ...length }),
  lldt: (length, n) => ({ kind: 'loadSelector', register: 'ldt', selector: n(0), ...length }),
  ltr: (length, n) => ({ kind: 'loadSelector', register: 'tr', selector: n(0), ...length }),
  invlpg: (length, _n, args) => ({ kind: 'invlpg', gva: args.arg(0), ...length }),
  invpcid: plain('invpcid'),
  wbinvd: plain('wbinvd'),
  invd: plain('invd'),
  rdpmc: plain('rdpmc'),
  swapgs: plain('swapgs'),
  xsetbv: plain('xsetbv'),
  monitor: plain('monitor'),
  mwait: plain('mwait'),
  cli: plain('cli'),
  sti: plain('sti'),
  hlt: plain('hlt'),
};

/** The instruction at which the engine stopped: its name, and the exit that plug-ins see of it, if any. */
export function instructionExit(
  detail: number,
  args: ExitArguments,
): { name: InstructionExitName; exit: Exit | undefined } {
  const name = INSTRUCTION_EXITS[detail];
  if (WITHOUT_ARGUMENTS.has(name)) return exitWithoutArguments(name, args);
  const number = (index: number) => Number(args.arg(index) & 0xffffffffn);
  return { name, exit: makers[name]?.({ instructionLength: args.lengthBytes }, number, args) };
}

/** Exits that differ by their length alone are made once. */
const WITHOUT_ARGUMENTS: ReadonlySet<InstructionExitName> = new Set<InstructionExitName>([
  'syscall',
  'cpuid',
  'rdmsr',
  'wrmsr',
  'cli',
  'sti',
  'hlt',
  'swapgs',
  'clts',
]);
const made = new Map<string, { name: InstructionExitName; exit: Exit | undefined }[]>();

function exitWithoutArguments(
  name: InstructionExitName,
  args: ExitArguments,
): { name: InstructionExitName; exit: Exit | undefined } {
  let byLength = made.get(name);
  if (!byLength) made.set(name, (byLength = []));
  byLength[args.lengthBytes] ??= { name, exit: makers[name]?.({ instructionLength: args.lengthBytes }, () => 0, args) };
  return byLength[args.lengthBytes];
}
