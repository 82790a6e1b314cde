import path from 'node:path';
import type { Command } from 'commander';
import { usageError } from '../cli-error.ts';
import { parseWatch } from '../option-values.ts';
import type { OpsReportOptions, OpsRequest } from '../options.ts';

type OpsAsked =
  | { readonly kind: 'opsReport'; readonly options: OpsReportOptions }
  | { readonly kind: 'ops'; readonly request: OpsRequest };

interface ReportFlags {
  readonly vm?: string | true;
  readonly json?: boolean;
  readonly sites?: boolean;
  readonly strict?: boolean;
  readonly table?: string;
  readonly counts?: boolean;
  readonly text?: boolean;
}

const VM_HELP = 'name or pid of a running VM';
const DEFAULT_WATCH_SECONDS = 1;
const DEFAULT_TOP_SITES = 10;

/** `vm ops …`. */
export function addOps(program: Command, imageHelp: string, ask: (request: OpsAsked) => void): void {
  const ops = program.command('ops').description("a guest kernel's paravirt operations");
  ops
    .command('report')
    .description('list the slots of a kernel, file or running, what is in them, and how many places call them')
    .argument('[kernel]', imageHelp)
    .option('--vm [vm]', 'of the kernel that runs in this VM, or in the only one')
    .option('--counts', 'of a VM: count calls from now on, and tell those since the last time')
    .option('--no-counts', 'of a VM: count calls no longer')
    .option('--text', "of a VM: the SHA-256 of the kernel's code")
    .option('--sites', 'of a file: list every call site')
    .option('--table <file>', 'of a file: a table of ops as JSON; say what it does with each slot')
    .option('--strict', 'refuse a table that forgets a slot')
    .option('--json', 'as JSON')
    .action((image: string | undefined, flags: ReportFlags) => ask(reportRequest(image, flags)));
  addChanges(ops, ask);
  addViews(ops, ask);
}

function reportRequest(image: string | undefined, flags: ReportFlags): OpsAsked {
  const { vm, json = false, sites = false, strict = false, table: tablePath, counts, text = false } = flags;
  if (vm !== undefined) {
    if (image !== undefined) throw usageError('both a kernel file and --vm', 'give one of them');
    return { kind: 'ops', request: { command: 'report', vm: vm === true ? undefined : vm, json, counts, text } };
  }
  if (image === undefined) throw usageError('no kernel given', 'give a kernel file, or --vm for one that runs');
  return { kind: 'opsReport', options: { image, json, sites, strict, tablePath } };
}

function addChanges(ops: Command, ask: (request: OpsAsked) => void): void {
  ops
    .command('load')
    .description('put the operations of a module into a running kernel, in place of another version of it')
    .argument('<vm>', VM_HELP)
    .argument('<module>', 'NAME-ops of a plug-in, or a file')
    .option('--strict', 'refuse a module that forgets a slot')
    .option('--force', 'even if it is older than the one that is there, or of another major version')
    .option('--json', 'as JSON')
    .action((vm: string, module: string, flags: { strict?: boolean; force?: boolean; json?: boolean }) => {
      const { strict = false, force = false, json = false } = flags;
      ask({ kind: 'ops', request: { command: 'load', vm, module: absolute(module), strict, force, json } });
    });
  ops
    .command('unload')
    .description("take a module's operations out of a running kernel")
    .argument('<vm>', VM_HELP)
    .argument('<name>', 'of the module')
    .option('--json', 'as JSON')
    .action((vm: string, name: string, { json = false }: { json?: boolean }) =>
      ask({ kind: 'ops', request: { command: 'unload', vm, name, json } }),
    );
}

/** The VM may work in another folder. */
function absolute(module: string): string {
  return module.includes('/') || module.includes('.') ? path.resolve(module) : module;
}

function addViews(ops: Command, ask: (request: OpsAsked) => void): void {
  ops
    .command('list')
    .description('list the modules in a running kernel')
    .argument('[vm]', VM_HELP)
    .option('--json', 'as JSON')
    .action((vm: string | undefined, { json = false }: { json?: boolean }) =>
      ask({ kind: 'ops', request: { command: 'list', vm, json } }),
    );
  ops
    .command('site')
    .description('disassemble a call site of a running kernel: as the kernel made it, and now')
    .argument('<vm>', VM_HELP)
    .argument('<site>', "a site's address, or a slot: its first site")
    .option('--json', 'as JSON')
    .action((vm: string, site: string, { json = false }: { json?: boolean }) =>
      ask({ kind: 'ops', request: { command: 'site', vm, site, json } }),
    );
  ops
    .command('watch')
    .description('show how often the slots are called, again and again, until the VM ends or Ctrl-C')
    .argument('[vm]', VM_HELP)
    .option('--interval <seconds>', 'between two lines', parseWatch, DEFAULT_WATCH_SECONDS)
    .option('--top <sites>', 'call sites to name', parseSites, DEFAULT_TOP_SITES)
    .option('--json', 'as JSON, a line each time')
    .action((vm: string | undefined, flags: { interval: number; top: number; json?: boolean }) =>
      ask({
        kind: 'ops',
        request: { command: 'watch', vm, json: flags.json ?? false, seconds: flags.interval, topSites: flags.top },
      }),
    );
}

function parseSites(text: string): number {
  const sites = Number(text);
  if (!/^\d{1,4}$/.test(text) || sites > 1000) throw usageError(`--top ${text}`, 'give a number up to 1000');
  return sites;
}
