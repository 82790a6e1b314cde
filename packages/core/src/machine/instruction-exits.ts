import type { Exit, VirtualizationInstruction } from '@polyvisor/plugin-api';
import { INSTRUCTION_EXITS, type InstructionExitName } from '../isa/instruction-exit.ts';

/** Reads the ARG slots of an instruction exit: whole, or their low halves as unsigned numbers. */
export interface ExitArguments {
  arg(index: number): bigint;
  arg32(index: number): number;
}

type Maker = (length: { readonly instructionLength: number }, args: ExitArguments) => Exit;

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
      | 'rdtsc'
      | 'rsm'
      | 'pause'
      | 'cli'
      | 'sti'
      | 'hlt',
  ): Maker =>
  (length) =>
    ({ kind, ...length }) as Exit;
const virtualization =
  (instruction: VirtualizationInstruction): Maker =>
  (length, args) => ({ kind: 'virtualization', instruction, address: args.arg(0), ...length });
/** What {@link INSTRUCTION_EXITS} gives for an operand in memory instead of a register's number. */
const IN_MEMORY = 16;
const withOperands =
  (instruction: VirtualizationInstruction): Maker =>
  (length, args) => {
    const rm = args.arg32(1);
    const operands = {
      rm: rm === IN_MEMORY ? undefined : rm,
      reg: args.arg32(2),
      sizeBytes: (args.arg32(3) / 8) as 4 | 8,
    };
    return { kind: 'virtualization', instruction, address: args.arg(0), operands, ...length };
  };
const io =
  (direction: 'in' | 'out'): Maker =>
  (length, args) => ({
    kind: 'io',
    port: args.arg32(0),
    sizeBytes: args.arg32(1) as 1 | 2 | 4,
    direction,
    string: false,
    rep: false,
    addressSize: 64,
    segment: 3,
    ...length,
  });
const stringIo =
  (direction: 'in' | 'out'): Maker =>
  (length, args) => ({
    kind: 'io',
    port: args.arg32(0),
    sizeBytes: args.arg32(1) as 1 | 2 | 4,
    direction,
    string: true,
    rep: args.arg32(4) !== 0,
    addressSize: args.arg32(2) as 16 | 32 | 64,
    segment: args.arg32(3),
    ...length,
  });

/** The exits that a plug-in may see; the others are native business. */
const makers: Partial<Record<InstructionExitName, Maker>> = {
  int3: (length) => ({ kind: 'softwareInterrupt', vector: 3, ...length }),
  into: (length) => ({ kind: 'softwareInterrupt', vector: 4, ...length }),
  syscall: plain('syscall'),
  sysenter: plain('sysenter'),
  sysret: (length, args) => ({ kind: 'sysret', operandSize: args.arg32(0) as 32 | 64, ...length }),
  sysexit: (length, args) => ({ kind: 'sysexit', operandSize: args.arg32(0) as 32 | 64, ...length }),
  iret: (length, args) => ({ kind: 'iret', operandSize: args.arg32(0) as 16 | 32 | 64, ...length }),
  vmcall: (length) => ({ kind: 'hypercall', instruction: 'vmcall', ...length }),
  vmmcall: (length) => ({ kind: 'hypercall', instruction: 'vmmcall', ...length }),
  in: io('in'),
  out: io('out'),
  ins: stringIo('in'),
  outs: stringIo('out'),
  cpuid: plain('cpuid'),
  rdmsr: plain('rdmsr'),
  wrmsr: plain('wrmsr'),
  readCr: (length, args) => ({ kind: 'readCr', cr: args.arg32(0), gpr: args.arg32(1), ...length }),
  writeCr: (length, args) => ({ kind: 'writeCr', cr: args.arg32(0), gpr: args.arg32(1), ...length }),
  clts: plain('clts'),
  lmsw: (length, args) => ({ kind: 'lmsw', value: args.arg32(0), ...length }),
  readDr: (length, args) => ({ kind: 'readDr', dr: args.arg32(0), gpr: args.arg32(1), ...length }),
  writeDr: (length, args) => ({ kind: 'writeDr', dr: args.arg32(0), gpr: args.arg32(1), ...length }),
  lgdt: (length, args) => ({ kind: 'loadTable', table: 'gdt', limit: args.arg32(0), base: args.arg(1), ...length }),
  lidt: (length, args) => ({ kind: 'loadTable', table: 'idt', limit: args.arg32(0), base: args.arg(1), ...length }),
  lldt: (length, args) => ({ kind: 'loadSelector', register: 'ldt', selector: args.arg32(0), ...length }),
  ltr: (length, args) => ({ kind: 'loadSelector', register: 'tr', selector: args.arg32(0), ...length }),
  invlpg: (length, args) => ({ kind: 'invlpg', gva: args.arg(0), ...length }),
  invpcid: plain('invpcid'),
  wbinvd: plain('wbinvd'),
  invd: plain('invd'),
  rdpmc: plain('rdpmc'),
  rdtsc: (length) => ({ kind: 'rdtsc', withProcessor: false, ...length }),
  rdtscp: (length) => ({ kind: 'rdtsc', withProcessor: true, ...length }),
  rsm: plain('rsm'),
  pause: plain('pause'),
  swapgs: plain('swapgs'),
  xsetbv: plain('xsetbv'),
  monitor: plain('monitor'),
  mwait: plain('mwait'),
  cli: plain('cli'),
  sti: plain('sti'),
  hlt: plain('hlt'),
  vmrun: virtualization('vmrun'),
  vmload: virtualization('vmload'),
  vmsave: virtualization('vmsave'),
  stgi: virtualization('stgi'),
  clgi: virtualization('clgi'),
  skinit: virtualization('skinit'),
  invlpga: virtualization('invlpga'),
  vmxon: virtualization('vmxon'),
  vmxoff: virtualization('vmxoff'),
  vmclear: virtualization('vmclear'),
  vmptrld: virtualization('vmptrld'),
  vmptrst: virtualization('vmptrst'),
  vmlaunch: virtualization('vmlaunch'),
  vmresume: virtualization('vmresume'),
  vmread: withOperands('vmread'),
  vmwrite: withOperands('vmwrite'),
  invept: withOperands('invept'),
  invvpid: withOperands('invvpid'),
};

/** An instruction exit that stands for itself: its name, and what plug-ins see of it, if anything. */
export interface InstructionExit {
  readonly name: InstructionExitName;
  readonly exit: Exit | undefined;
}

/** The instruction at which the engine stopped. `detail` is its number in INSTRUCTION_EXITS. */
export function instructionExit(detail: number, lengthBytes: number, args: ExitArguments): InstructionExit {
  const known = made[detail][lengthBytes] ?? polledAgain(detail, lengthBytes, args);
  if (known) return known;
  if (detail === SOFTWARE_INTERRUPT) {
    const vector = args.arg32(0);
    const exit: Exit = { kind: 'softwareInterrupt', vector, instructionLength: lengthBytes };
    return (interrupts[vector * (LONGEST_BYTES + 1) + lengthBytes] ??= { name: 'softwareInterrupt', exit });
  }
  const name = INSTRUCTION_EXITS[detail];
  const answer: InstructionExit = { name, exit: makers[name]?.({ instructionLength: lengthBytes }, args) };
  if (!answer.exit || WITHOUT_ARGUMENTS.has(name)) made[detail][lengthBytes] = answer;
  else if (name === 'in' || name === 'out') polled[detail] = answer;
  return answer;
}

/** What the last IN or OUT was, by number in INSTRUCTION_EXITS: guests ask one port again and again. */
const polled: (InstructionExit | undefined)[] = [];
function polledAgain(detail: number, lengthBytes: number, args: ExitArguments): InstructionExit | undefined {
  const last = polled[detail];
  if (last?.exit?.kind !== 'io' || last.exit.instructionLength !== lengthBytes) return undefined;
  return last.exit.port === args.arg32(0) && last.exit.sizeBytes === args.arg32(1) ? last : undefined;
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
  'sysenter',
  'vmcall',
  'vmmcall',
  'int3',
  'into',
]);
const SOFTWARE_INTERRUPT = INSTRUCTION_EXITS.indexOf('softwareInterrupt');
/** Of INT n, by the vector and the length in bytes. */
const interrupts: InstructionExit[] = [];
const LONGEST_BYTES = 15;
/** By number in INSTRUCTION_EXITS and length in bytes. */
const made: (InstructionExit | undefined)[][] = INSTRUCTION_EXITS.map(() => []);
