import { readFileSync } from 'node:fs';
import { Command, CommanderError, Option } from 'commander';
import { usageError } from './cli-error.ts';
import { addDeviceOptions, type DeviceFlags, deviceRequests } from './device-options.ts';
import { addOps } from './ops/command-line.ts';
import {
  parseBootModule,
  parseChip,
  parseClock,
  parseCompileThread,
  parseConsole,
  parseCpus,
  parseExits,
  parseExpect,
  parseFunctions,
  parseMemory,
  parseName,
  parseProfile,
  parseTier,
  parseTimeout,
  parseTrace,
  parseWatch,
} from './option-values.ts';
import type {
  BootModuleRequest,
  CompareOptions,
  CompileThreadChoice,
  ConsoleChoice,
  ControlRequest,
  EntriesOptions,
  ExitsChoice,
  ExtraChip,
  OpsReportOptions,
  OpsRequest,
  PluginRequest,
  RunOptions,
  TierChoice,
  TraceRequest,
} from './options.ts';
import { addPlugin } from './plugins/command-line.ts';

/** What the command line asks for; `help`: it has been answered already, as the question for the version is. */
export type Request =
  | { readonly kind: 'help' }
  | { readonly kind: 'run'; readonly options: RunOptions }
  | { readonly kind: 'entries'; readonly options: EntriesOptions }
  | { readonly kind: 'compare'; readonly options: CompareOptions }
  | { readonly kind: 'control'; readonly request: ControlRequest }
  | { readonly kind: 'ops'; readonly request: OpsRequest }
  | { readonly kind: 'plugin'; readonly request: PluginRequest }
  | { readonly kind: 'opsReport'; readonly options: OpsReportOptions };

interface ParsedFlags extends DeviceFlags {
  plugin?: string[];
  entry?: string;
  append?: string;
  initrd?: string;
  bootModule?: BootModuleRequest[];
  chip?: ExtraChip[];
  module?: string[];
  moduleDir?: string;
  memory: number;
  cpus: number;
  console: ConsoleChoice;
  trace?: TraceRequest;
  timeout?: number;
  expect?: string;
  stats?: boolean;
  profile?: string;
  functions?: string;
  reboot: boolean;
  clock: 'icount' | 'wall';
  name?: string;
  control: boolean;
  tier: TierChoice;
  compileThread: CompileThreadChoice;
  codeCache: boolean;
  exits: ExitsChoice;
}

const DEFAULT_IMAGE = 'demo';
const IMAGE_HELP =
  'kernel file (ELF, bzImage) or disk with a boot sector, or one of: demo, demo32, debian, debian-i386, debian-i386-nopae, memtest, grub-xen, grub-xen-i386, grub-xen-pvh';
const DEFAULT_MEMORY_BYTES = 512 * 2 ** 20;

/** Throws `PolyvisorError` PV3001 for anything that cannot be understood. */
export function parseCommandLine(args: readonly string[]): Request {
  let request: Request = { kind: 'help' };
  const program = buildProgram((asked) => {
    request = asked;
  });
  try {
    program.parse([...args], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return { kind: 'help' };
    if (error.code === 'commander.help') throw usageError('no command given', 'use `vm run [IMAGE]`, or `vm --help`');
    throw translate(error);
  }
  return request;
}

function buildProgram(ask: (request: Request) => void): Command {
  const program = new Command('vm')
    .description('An emulated x86-64 PC in which every hypervisor interface is a plug-in')
    .helpCommand('help [command]', 'show help for a command')
    .version(`vm ${ownVersion()}`, '-V, --version', 'print the version of vm')
    .exitOverride()
    .configureOutput({ writeErr: () => {} });
  const run = program
    .command('run')
    .description('run a guest; its console is this terminal (Ctrl-] leaves)')
    .argument('[image]', IMAGE_HELP, DEFAULT_IMAGE);
  addRunOptions(run).action((image: string, flags: ParsedFlags) =>
    ask({ kind: 'run', options: toRunOptions(image, flags) }),
  );
  addEntries(program, ask);
  addCompare(program, ask);
  addControl(program, (asked) => ask({ kind: 'control', request: asked }));
  addOps(program, IMAGE_HELP, ask);
  addPlugin(program, (asked) => ask({ kind: 'plugin', request: asked }));
  return program;
}

/** Of this package. */
function ownVersion(): string {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  return version;
}

const VM_HELP = 'name or pid of a running VM; may be left out if only one runs';
const DEFAULT_STOP_SECONDS = 30;

function addControl(program: Command, ask: (request: ControlRequest) => void): void {
  const command = (name: string, description: string) => program.command(name).description(description);
  command('ps', 'list the VMs that run')
    .option('--json', 'as JSON')
    .action(({ json = false }: { json?: boolean }) => ask({ command: 'ps', json }));
  const descriptions = {
    attach: 'use the console of a running VM (Ctrl-] leaves it running)',
    pause: 'stop a VM between two instructions; its time stands still',
    resume: 'let a paused VM go on',
  } as const;
  for (const name of ['attach', 'pause', 'resume'] as const) {
    command(name, descriptions[name])
      .argument('[vm]', VM_HELP)
      .action((vm?: string) => ask({ command: name, vm }));
  }
  command('stop', 'ask a guest to power off, and wait until it has')
    .argument('[vm]', VM_HELP)
    .option('--force', 'end it without asking')
    .addOption(
      new Option('--timeout <seconds>', 'how long to wait')
        .argParser(parseTimeout)
        .default(DEFAULT_STOP_SECONDS, `${DEFAULT_STOP_SECONDS}`),
    )
    .action((vm: string | undefined, { force = false, timeout }: { force?: boolean; timeout: number }) =>
      ask({ command: 'stop', vm, force, timeoutSeconds: timeout }),
    );
  command('stats', "print a running VM's counters")
    .argument('[vm]', VM_HELP)
    .option('--json', 'as JSON, a line each time')
    .option('--watch <seconds>', 'again and again', parseWatch)
    .action((vm: string | undefined, { json = false, watch }: { json?: boolean; watch?: number }) =>
      ask({ command: 'stats', vm, json, watchSeconds: watch }),
    );
}

function addEntries(program: Command, ask: (request: Request) => void): void {
  program
    .command('entries')
    .description('list every door of a kernel file: its ABI, its address, where it was found, or why there is none')
    .argument('<image>', IMAGE_HELP)
    .option('--plugin <name[=options]>', 'ask this plug-in as well (repeatable)', collect)
    .option('--json', 'as JSON')
    .action((image: string, { plugin = [], json = false }: { plugin?: string[]; json?: boolean }) =>
      ask({ kind: 'entries', options: { image, plugins: plugin, json } }),
    );
}

function addCompare(program: Command, ask: (request: Request) => void): void {
  program
    .command('compare')
    .description('which functions of a kernel ran in which boots, by files of `vm run --functions`')
    .argument('<files...>', 'two or more files')
    .option('--all', 'all functions, not only those that the kernel has for the time of booting')
    .option('--json', 'as JSON')
    .action((files: string[], { all = false, json = false }: { all?: boolean; json?: boolean }) => {
      if (files.length < 2) throw usageError('one file is nothing to compare', 'give two or more');
      ask({ kind: 'compare', options: { files, all, json } });
    });
}

function collect(text: string, previous: string[] = []): string[] {
  return [...previous, text];
}

function collectModule(text: string, previous: BootModuleRequest[] = []): BootModuleRequest[] {
  return [...previous, parseBootModule(text)];
}

function collectChip(text: string, previous: ExtraChip[] = []): ExtraChip[] {
  return [...previous, parseChip(text)];
}

function addRunOptions(run: Command): Command {
  run
    .option(
      '--plugin <name[=options]>',
      'hypervisor interface: a name, a package, a path, or none (repeatable)',
      collect,
    )
    .option('--entry <name>', 'door into the image; default: the best that is offered')
    .option('--append <text>', 'kernel command line')
    .option('--initrd <file>', 'initial ramdisk')
    .option('--boot-module <file[:text]>', 'a file and its text for a multiboot image (repeatable)', collectModule)
    .option('--chip <name>', 'a chip beside those of a PC: testdev (repeatable)', collectChip)
    .option('--module <module>', 'ops module for the kernel: NAME-ops of a plug-in, or a file (repeatable)', collect)
    .option('--module-dir <directory>', 'ops modules that files of --boot-module may name')
    .addOption(
      new Option('--memory <size>', 'guest memory').argParser(parseMemory).default(DEFAULT_MEMORY_BYTES, '512M'),
    )
    .addOption(new Option('--cpus <number>', 'vCPUs, 1 to 8').argParser(parseCpus).default(1, '1'))
    .addOption(
      new Option('--console <where>', 'none, stdio or file:PATH')
        .argParser(parseConsole)
        .default({ kind: 'stdio' } satisfies ConsoleChoice, 'stdio'),
    )
    .option('--trace <channels[:file]>', 'hypercalls,exits,events as JSON lines to FILE or stderr', parseTrace)
    .option('--timeout <seconds>', 'end the guest after this time (exit code 5)', parseTimeout)
    .option('--expect <text>', 'end with exit code 0 as soon as the console shows this', parseExpect)
    .option('--stats', 'print counters at the end')
    .option('--name <name>', 'what `vm ps` and the like call it; default: made of the image', parseName)
    .option('--no-control', 'open no control socket')
    .option('--profile <file>', 'print the hottest symbols at the end, write a flame graph to FILE', parseProfile)
    .option('--functions <file>', "list the kernel's functions that have run in FILE, for `vm compare`", parseFunctions)
    .option('--no-reboot', 'end when the guest reboots (exit code 7)')
    .addOption(
      new Option('--clock <kind>', 'wall, or icount: deterministic').argParser(parseClock).default('wall', 'wall'),
    )
    .addOption(
      new Option(
        '--tier <choice>',
        '0: interpret, 1: compile all code at once, both[:N]: compile what is reached N times',
      )
        .argParser(parseTier)
        .default({ kind: 'both', threshold: undefined } satisfies TierChoice, 'both'),
    )
    .addOption(
      new Option('--compile-thread <choice>', 'auto, on or off: compile code in a thread of its own')
        .argParser(parseCompileThread)
        .default('auto', 'auto'),
    )
    .option('--no-code-cache', 'neither take nor keep compiled code of other runs')
    .addOption(
      new Option(
        '--exits <choice>',
        'asked; privileged or all: system instructions leave generated code, for comparisons',
      )
        .argParser(parseExits)
        .default('asked', 'asked'),
    );
  return addDeviceOptions(run);
}

function toRunOptions(image: string, flags: ParsedFlags): RunOptions {
  return {
    image,
    plugins: flags.plugin?.filter((plugin) => plugin !== 'none'),
    entryName: flags.entry,
    append: flags.append,
    initrdPath: flags.initrd,
    bootModules: flags.bootModule ?? [],
    chips: flags.chip ?? [],
    modules: flags.module ?? [],
    moduleDirectory: flags.moduleDir,
    memoryBytes: flags.memory,
    vcpus: flags.cpus,
    console: flags.console,
    trace: flags.trace,
    timeoutSeconds: flags.timeout,
    expect: flags.expect,
    stats: flags.stats ?? false,
    profilePath: flags.profile,
    functionsPath: flags.functions,
    reboot: flags.reboot,
    clock: flags.clock,
    control: flags.control,
    name: flags.name,
    tier: flags.tier,
    compileThread: flags.compileThread,
    codeCache: flags.codeCache,
    exits: flags.exits,
    ...deviceRequests(flags),
  };
}

/** commander's message, without its prefix and suggestions on further lines. */
function translate(error: CommanderError): Error {
  const message = error.message.split('\n')[0].replace(/^error: /, '');
  return usageError(message, 'see `vm run --help`');
}
