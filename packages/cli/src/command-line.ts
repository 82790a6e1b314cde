import { Command, CommanderError, Option } from 'commander';
import { usageError } from './cli-error.ts';
import { addDeviceOptions, type DeviceFlags, deviceRequests } from './device-options.ts';
import {
  parseClock,
  parseConsole,
  parseExpect,
  parseMemory,
  parseProfile,
  parseTier,
  parseTimeout,
  parseTrace,
} from './option-values.ts';
import type { ConsoleChoice, RunOptions, TierChoice, TraceRequest } from './options.ts';

/** What the command line asks for; `help`: it has been answered already. */
export type Request = { readonly kind: 'run'; readonly options: RunOptions } | { readonly kind: 'help' };

interface ParsedFlags extends DeviceFlags {
  plugin?: string[];
  entry?: string;
  append?: string;
  initrd?: string;
  memory: number;
  console: ConsoleChoice;
  trace?: TraceRequest;
  timeout?: number;
  expect?: string;
  stats?: boolean;
  profile?: string;
  reboot: boolean;
  clock: 'icount' | 'wall';
  tier: TierChoice;
}

export const DEFAULT_IMAGE = 'demo';
const DEFAULT_MEMORY_BYTES = 512 * 2 ** 20;

/** Throws `PolyvisorError` PV3001 for anything that cannot be understood. */
export function parseCommandLine(args: readonly string[]): Request {
  let request: Request = { kind: 'help' };
  const program = buildProgram((options) => {
    request = { kind: 'run', options };
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

function buildProgram(onRun: (options: RunOptions) => void): Command {
  const program = new Command('vm')
    .description('An emulated x86-64 PC in which every hypervisor interface is a plug-in')
    .helpCommand('help [command]', 'show help for a command')
    .exitOverride()
    .configureOutput({ writeErr: () => {} });
  const run = program
    .command('run')
    .description('run a guest; its console is this terminal (Ctrl-] leaves)')
    .argument('[image]', 'kernel file (ELF, bzImage), or one of: demo, debian, grub-xen', DEFAULT_IMAGE);
  addRunOptions(run).action((image: string, flags: ParsedFlags) => onRun(toRunOptions(image, flags)));
  return program;
}

function addRunOptions(run: Command): Command {
  const collect = (text: string, previous: string[] = []) => [...previous, text];
  run
    .option(
      '--plugin <name[=options]>',
      'hypervisor interface: a name, a package, a path, or none (repeatable)',
      collect,
    )
    .option('--entry <name>', 'door into the image; default: the best that is offered')
    .option('--append <text>', 'kernel command line')
    .option('--initrd <file>', 'initial ramdisk')
    .addOption(
      new Option('--memory <size>', 'guest memory').argParser(parseMemory).default(DEFAULT_MEMORY_BYTES, '512M'),
    )
    .addOption(
      new Option('--console <where>', 'none, stdio or file:PATH')
        .argParser(parseConsole)
        .default({ kind: 'stdio' } satisfies ConsoleChoice, 'stdio'),
    )
    .option('--trace <channels[:file]>', 'hypercalls,exits,events as JSON lines to FILE or stderr', parseTrace)
    .option('--timeout <seconds>', 'end the guest after this time (exit code 5)', parseTimeout)
    .option('--expect <text>', 'end with exit code 0 as soon as the console shows this', parseExpect)
    .option('--stats', 'print counters at the end')
    .option('--profile <file>', 'print the hottest symbols at the end, write a flame graph to FILE', parseProfile)
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
    memoryBytes: flags.memory,
    console: flags.console,
    trace: flags.trace,
    timeoutSeconds: flags.timeout,
    expect: flags.expect,
    stats: flags.stats ?? false,
    profilePath: flags.profile,
    reboot: flags.reboot,
    clock: flags.clock,
    tier: flags.tier,
    ...deviceRequests(flags),
  };
}

/** commander's message, without its prefix and suggestions on further lines. */
function translate(error: CommanderError): Error {
  const message = error.message.split('\n')[0].replace(/^error: /, '');
  return usageError(message, 'see `vm run --help`');
}
