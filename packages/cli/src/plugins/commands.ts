import path from 'node:path';
import { candidatesOf, parsePluginReference } from '@polyvisor/core';
import { ControlClient } from '../control/client.ts';
import { findVm } from '../control/commands.ts';
import { ExitCode } from '../exit-codes.ts';
import type { PluginRequest } from '../options.ts';
import { formatTable } from '../table.ts';
import { type PluginReport, pluginSchema, pluginsSchema } from './vm-plugins-schema.ts';

/** A plug-in in TypeScript is compiled by the VM when it is loaded. */
const ANSWER_TIMEOUT_MS = 30_000;

/** A command about the plug-ins of a running VM: answers the exit code. Throws `PolyvisorError`. */
export async function pluginCommand(request: PluginRequest): Promise<number> {
  const vm = await findVm(request.vm);
  const client = await ControlClient.connect(vm.name, vm.socketPath);
  try {
    const { answer, text } = await ask(request, client);
    process.stdout.write(`${request.json ? JSON.stringify(answer, null, 2) : text}\n`);
    return ExitCode.OK;
  } finally {
    client.close();
  }
}

async function ask(request: PluginRequest, client: ControlClient): Promise<{ answer: unknown; text: string }> {
  switch (request.command) {
    case 'list': {
      const answer = await client.call('plugin.list', {}, pluginsSchema, ANSWER_TIMEOUT_MS);
      return { answer, text: listText(answer) };
    }
    case 'load': {
      const params = { plugin: absolute(request.plugin) };
      const answer = await client.call('plugin.load', params, pluginSchema, ANSWER_TIMEOUT_MS);
      return { answer, text: `${answer.name} ${answer.version} loaded from ${answer.where}` };
    }
    case 'unload': {
      const answer = await client.call('plugin.unload', { name: request.name }, pluginSchema, ANSWER_TIMEOUT_MS);
      return { answer, text: `${answer.name} ${answer.version} unloaded` };
    }
  }
}

/** The VM may work in another folder. */
function absolute(text: string): string {
  const { reference } = parsePluginReference(text);
  const isPath = candidatesOf(reference).some(({ kind }) => kind === 'path');
  if (!isPath || reference.startsWith('file:')) return text;
  return path.resolve(reference) + text.slice(reference.length);
}

function listText(plugins: readonly PluginReport[]): string {
  if (plugins.length === 0) return 'no plug-ins';
  const rows = plugins.map(({ name, version, where, inUse }) => [
    name,
    version,
    where,
    inUse.length > 0 ? 'yes' : 'no',
  ]);
  const more = plugins.flatMap(({ name, claims, inUse }) => [
    ...(claims.length > 0 ? [`${name} claims ${claims.join(', ')}`] : []),
    ...(inUse.length > 0 ? [`${name} is in use: ${inUse.join(', ')}`] : []),
  ]);
  return [formatTable(['NAME', 'VERSION', 'FROM', 'IN USE'], rows), ...more].join('\n');
}
