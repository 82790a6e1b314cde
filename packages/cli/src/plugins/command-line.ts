import type { Command } from 'commander';
import type { PluginRequest } from '../options.ts';

const VM_HELP = 'name or pid of a running VM';

/** `vm plugin …`. */
export function addPlugin(program: Command, ask: (request: PluginRequest) => void): void {
  const plugin = program.command('plugin').description('the plug-ins of a running VM');
  plugin
    .command('list')
    .description('list them: version, where from, claims, and what of each is in use')
    .argument('[vm]', `${VM_HELP}; may be left out if only one runs`)
    .option('--json', 'as JSON')
    .action((vm: string | undefined, { json = false }: { json?: boolean }) => ask({ command: 'list', vm, json }));
  plugin
    .command('load')
    .description('load one while the guest runs')
    .argument('<vm>', VM_HELP)
    .argument('<name[=options]>', 'a name, a package or a path, as for `vm run --plugin`')
    .option('--json', 'as JSON')
    .action((vm: string, name: string, { json = false }: { json?: boolean }) =>
      ask({ command: 'load', vm, plugin: name, json }),
    );
  plugin
    .command('unload')
    .description('remove one of which the guest uses nothing')
    .argument('<vm>', VM_HELP)
    .argument('<name>', 'of the plug-in')
    .option('--json', 'as JSON')
    .action((vm: string, name: string, { json = false }: { json?: boolean }) =>
      ask({ command: 'unload', vm, name, json }),
    );
}
