import * as v from 'valibot';
import { ControlClient } from '../control/client.ts';
import { findVm } from '../control/commands.ts';
import { ExitCode } from '../exit-codes.ts';
import type { OpsRequest } from '../options.ts';
import { formatTable } from '../table.ts';
import { disassemble } from './disassemble.ts';
import {
  type ChangeReport,
  changeSchema,
  type LiveReport,
  liveReportSchema,
  modulesSchema,
  type SiteReport,
  siteSchema,
  type WatchReport,
  watchSchema,
} from './vm-ops-schema.ts';

/** A VM may wait for a moment at which its kernel can be changed. */
const ANSWER_TIMEOUT_MS = 30_000;

/** A command about the ops of a running VM: answers the exit code. Throws `PolyvisorError`. */
export async function opsCommand(request: OpsRequest): Promise<number> {
  const vm = await findVm(request.vm);
  const client = await ControlClient.connect(vm.name, vm.socketPath);
  try {
    if (request.command === 'watch') return await watch(request, client);
    const { answer, text } = await ask(request, client);
    process.stdout.write(request.json ? `${JSON.stringify(answer, null, 2)}\n` : text());
    return ExitCode.OK;
  } finally {
    client.close();
  }
}

interface Answer {
  readonly answer: unknown;
  text(): string;
}

async function ask(request: Exclude<OpsRequest, { command: 'watch' }>, client: ControlClient): Promise<Answer> {
  const call = <Schema extends v.GenericSchema>(name: string, params: Record<string, unknown>, schema: Schema) =>
    client.call(`ops.${name}`, params, schema, ANSWER_TIMEOUT_MS);
  switch (request.command) {
    case 'report': {
      const { counts, text } = request;
      const answer = await call('report', { ...(counts !== undefined && { counts }), text }, liveReportSchema);
      return { answer, text: () => reportText(answer) };
    }
    case 'list': {
      const answer = await call('list', {}, modulesSchema);
      return { answer, text: () => listText(answer) };
    }
    case 'load':
    case 'unload': {
      const { command } = request;
      const params =
        command === 'load'
          ? { module: request.module, strict: request.strict, force: request.force }
          : { name: request.name };
      const answer = await call(command, params, changeSchema);
      return { answer, text: () => changeText(command, answer) };
    }
    case 'site': {
      const answer = await call('site', { site: request.site }, siteSchema);
      return { answer, text: () => siteText(answer) };
    }
  }
}

function reportText(report: LiveReport): string {
  const {
    slots,
    staticCalls,
    modules,
    table,
    slide,
    sites,
    leftOut,
    strays,
    counting,
    moduleSites,
    moduleSitesUnknown,
  } = report;
  const row = (slot: LiveReport['slots'][number]) => [
    ...[slot.name, slot.group, slot.convention, `${slot.sites}`],
    ...(counting ? [`${slot.calls ?? 0}`, slot.spentUs === undefined ? '-' : (slot.spentUs / 1000).toFixed(2)] : []),
    ...[slot.state, slot.module ?? '-', slot.targetName ?? slot.target],
  ];
  const counts = counting ? ['CALLS', 'HOST MS'] : [];
  const headings = ['NAME', 'GROUP', 'CALL', 'SITES', ...counts, 'STATE', 'MODULE', 'TARGET'];
  const calls = staticCalls.map(row);
  const text = report.textSha256 === undefined ? [] : [`code from _stext to _etext: SHA-256 ${report.textSha256}`];
  return [
    `paravirt table at ${table} (the kernel has moved by ${slide}): ${slots.length} slots, ${sites} call sites`,
    ...(leftOut > 0
      ? [`${leftOut} call sites are left alone: the kernel gives their code away once it has booted`]
      : []),
    ...(moduleSites > 0 ? [`${moduleSites} of them are in kernel modules`] : []),
    ...(moduleSitesUnknown > 0
      ? [`${moduleSitesUnknown} in kernel modules are left alone: their slots are not known`]
      : []),
    ...(strays > 0 ? [`${strays} call sites have been written to by somebody else`] : []),
    ...modules.map(({ name, version, slots: own }) => `ops module ${name} ${version}: ${own.length} slots`),
    ...text,
    '',
    formatTable(
      ['SLOT', ...headings],
      slots.map((slot) => [`${slot.index}`, ...row(slot)]),
    ),
    ...(calls.length > 0 ? ['', 'static calls beside the table:', formatTable(headings, calls)] : []),
    '',
  ].join('\n');
}

function listText(modules: LiveReport['modules']): string {
  if (modules.length === 0) return 'no ops modules\n';
  const rows = modules.map(({ name, version, kind, guest, slots, failed }) => [
    ...[name, version, kind, guest, `${slots.length}`, `${failed.length}`, slots.join(' ')],
  ]);
  const needless = modules.flatMap(({ name, needless: left }) =>
    left.length > 0 ? [`${name}: left out, as nothing that they avoid leaves guest code: ${left.join(' ')}`] : [],
  );
  const failures = modules.flatMap(({ failed }) => failed);
  const variables = modules.flatMap((module) =>
    Object.entries(module.variables).map(([variable, value]) => `${module.name}: ${variable} = ${value}`),
  );
  return `${[formatTable(['NAME', 'VERSION', 'KIND', 'GUEST', 'SLOTS', 'FAILED', 'NAMES'], rows), ...needless, ...variables, ...failures].join('\n')}\n`;
}

function changeText(command: 'load' | 'unload', change: ChangeReport): string {
  const { name, version, sites, pauseMs, prepareMs, textSha256, textIsAsBefore } = change;
  const pauses = `guest paused for ${pauseMs} ms, before that for ${prepareMs} ms at most`;
  const lines = [`${name} ${version} ${command}ed: ${sites} call sites written, ${pauses}`];
  if (textSha256 !== undefined) {
    const same = textIsAsBefore ? 'as it was before the first module' : 'NOT as it was before the first module';
    lines.push(`code from _stext to _etext ${same}: SHA-256 ${textSha256}`);
  }
  return `${lines.join('\n')}\n`;
}

function siteText({ address, in: where, slot, bits, before, now, target }: SiteReport): string {
  const code = (bytes: string) => disassemble(bytes, bits, BigInt(address)).map((line) => `    ${line}`);
  return [
    `${slot} at ${address} (${where}), leads to ${target}`,
    ...['  before:', ...code(before)],
    ...['  now:', ...code(now), ''],
  ].join('\n');
}

async function watch(request: Extract<OpsRequest, { command: 'watch' }>, client: ControlClient): Promise<number> {
  const { seconds, topSites, json } = request;
  client.on('ops.calls', (params) => {
    const calls = v.parse(watchSchema, params);
    process.stdout.write(json ? `${JSON.stringify(calls)}\n` : watchText(calls, seconds));
  });
  const intervalMs = Math.round(seconds * 1000);
  await client.call('ops.watch', { intervalMs, topSites }, v.object({}), ANSWER_TIMEOUT_MS);
  await client.closed;
  return ExitCode.OK;
}

function watchText({ slots, sites, spentUs }: WatchReport, seconds: number): string {
  const perSecond = (calls: number) => `${Math.round(calls / seconds)}`;
  const spent = (slot: string) =>
    spentUs[slot] === undefined ? '-' : `${(spentUs[slot] / 1000 / seconds).toFixed(2)}`;
  const slotRows = Object.entries(slots).map(([slot, calls]) => [perSecond(calls), spent(slot), slot]);
  const siteRows = sites.map(({ calls, slot, in: where }) => [perSecond(calls), slot, where]);
  return `${formatTable(['CALLS/S', 'HOST MS/S', 'SLOT'], slotRows)}\n${formatTable(['CALLS/S', 'SLOT', 'SITE'], siteRows)}\n\n`;
}
