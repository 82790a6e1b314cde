import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';
import { controlError } from '../cli-error.ts';
import { say } from '../diagnostics.ts';
import { ExitCode } from '../exit-codes.ts';
import type { ControlRequest } from '../options.ts';
import { formatStats } from '../stats.ts';
import { formatTable } from '../table.ts';
import { attach } from './attach.ts';
import { ControlClient } from './client.ts';
import { controlDirectory, type FoundVm, findVms } from './directory.ts';
import { endedSchema, infoSchema, stateSchema, statsSchema, stoppedSchema, type VmInfo } from './protocol.ts';

/** A command to running VMs: answers the exit code. Throws `PolyvisorError` PV3010–PV3014. */
export async function control(request: ControlRequest): Promise<number> {
  if (request.command === 'ps') return await listVms(request.json);
  const vm = await findVm(request.vm);
  const client = await ControlClient.connect(vm.name, vm.socketPath);
  try {
    return await command(request, vm, client);
  } finally {
    client.close();
  }
}

type OneVmRequest = Exclude<ControlRequest, { command: 'ps' }>;

async function command(request: OneVmRequest, vm: FoundVm, client: ControlClient): Promise<number> {
  switch (request.command) {
    case 'attach':
      return await attach(vm.name, client);
    case 'pause':
    case 'resume': {
      const { state } = await client.call(`vm.${request.command}`, {}, stateSchema);
      say(`${vm.name}: ${state}`);
      return ExitCode.OK;
    }
    case 'stop':
      return await stop(vm.name, client, request);
    case 'stats':
      return await stats(client, request);
  }
}

/** By name or pid; `undefined`: the only one that runs. */
export async function findVm(wanted: string | undefined): Promise<FoundVm> {
  const vms = await findVms(controlDirectory());
  const names = vms.map(({ name }) => name).join(', ');
  const running = names === '' ? 'none is running' : `running: ${names}`;
  if (wanted === undefined) {
    if (vms.length === 1) return vms[0];
    const fix = vms.length === 0 ? 'start one with `vm run`' : 'name one';
    throw controlError('PV3011', `no VM named; ${running}`, fix);
  }
  const found = vms.find(({ name }) => name === wanted) ?? vms.find(({ record }) => `${record?.pid}` === wanted);
  if (found) return found;
  throw controlError('PV3011', `no VM ${wanted}; ${running}`, 'give the name or pid of one that runs; see `vm ps`');
}

type PsRow = Partial<Omit<VmInfo, 'state'>> & { readonly name: string; readonly state: VmInfo['state'] | 'no answer' };

async function listVms(json: boolean): Promise<number> {
  const vms = await findVms(controlDirectory());
  const rows = await Promise.all(vms.map(describeVm));
  process.stdout.write(json ? `${JSON.stringify(rows, null, 2)}\n` : psTable(rows));
  return ExitCode.OK;
}

const PS_TIMEOUT_MS = 2000;

/** As the VM says itself, else as its record says. */
async function describeVm({ name, socketPath, record }: FoundVm): Promise<PsRow> {
  try {
    const client = await ControlClient.connect(name, socketPath);
    try {
      return await client.call('vm.info', {}, infoSchema, PS_TIMEOUT_MS);
    } finally {
      client.close();
    }
  } catch {
    return { ...record, name, state: 'no answer' };
  }
}

function psTable(rows: readonly PsRow[]): string {
  const cells = rows.map(({ name, pid, state, entry, plugins, memoryBytes, startedAt, image }) => [
    ...[name, `${pid ?? '-'}`, state, entry ?? '-', plugins?.join(',') || '-'],
    ...[memoryBytes === undefined ? '-' : `${Math.round(memoryBytes / 2 ** 20)}M`, startedAt ?? '-', image ?? '-'],
  ]);
  return `${formatTable(['NAME', 'PID', 'STATE', 'ENTRY', 'PLUGINS', 'MEMORY', 'STARTED', 'IMAGE'], cells)}\n`;
}

async function stop(
  name: string,
  client: ControlClient,
  { force, timeoutSeconds }: { readonly force: boolean; readonly timeoutSeconds: number },
): Promise<number> {
  const ended = new Promise<string>((resolve) => {
    client.on('vm.ended', (params) => resolve(v.is(endedSchema, params) ? params.reason : 'ended'));
    void client.closed.then(() => resolve('ended'));
  });
  await client.call('vm.stop', { force }, stoppedSchema);
  const stopWaiting = new AbortController();
  const late = sleep(timeoutSeconds * 1000, undefined, { signal: stopWaiting.signal }).catch(() => undefined);
  const reason = await Promise.race([ended, late]);
  stopWaiting.abort();
  if (reason === undefined) {
    const what = `${name} was asked to power off and still runs after ${timeoutSeconds} s`;
    throw controlError('PV3014', what, 'wait longer with --timeout, or use --force');
  }
  say(`${name}: ${reason}`);
  return ExitCode.OK;
}

async function stats(
  client: ControlClient,
  { json, watchSeconds }: { readonly json: boolean; readonly watchSeconds: number | undefined },
): Promise<number> {
  const print = (params: unknown) => {
    const { machine, plugins, elapsedSeconds } = v.parse(statsSchema, params);
    const text = json
      ? JSON.stringify({ elapsedSeconds, machine, plugins })
      : formatStats(machine, plugins, elapsedSeconds);
    process.stdout.write(`${text}\n${watchSeconds === undefined || json ? '' : '\n'}`);
  };
  if (watchSeconds === undefined) {
    print(await client.call('vm.stats', {}, statsSchema));
    return ExitCode.OK;
  }
  client.on('stats', print);
  await client.call('stats.watch', { intervalMs: Math.round(watchSeconds * 1000) }, v.object({}));
  await client.closed;
  return ExitCode.OK;
}
