import { findKernelOps, type KernelOps, type KernelSlot, type OpState, planInstall } from '@polyvisor/core';
import { type GuestImage, PolyvisorError } from '@polyvisor/plugin-api';
import { ExitCode } from '../exit-codes.ts';
import type { OpsReportOptions } from '../options.ts';
import { loadImage } from '../prepare.ts';
import { ProgressLine } from '../progress.ts';
import { formatTable } from '../table.ts';
import { readOpsTable } from './table-file.ts';

/** `vm ops report`: answers the exit code. Throws `PolyvisorError` for what is no kernel with paravirt operations. */
export async function opsReport(options: OpsReportOptions): Promise<number> {
  const table = options.tablePath === undefined ? undefined : await readOpsTable(options.tablePath);
  const { image } = await loadImage(options.image, new ProgressLine());
  const ops = findOps(image);
  const plan = table && planInstall(ops.all, table, options.strict ? 'strict' : 'overlay');
  const states = plan && new Map(plan.ops.map(({ slot, state }) => [slot.name, state]));
  const text = options.json
    ? `${JSON.stringify(jsonReport(image, ops, states, options.sites), null, 2)}\n`
    : textReport(image, ops, states, options.sites);
  process.stdout.write(text);
  return ExitCode.OK;
}

function findOps(image: GuestImage): KernelOps {
  if (!image.elf) {
    const what = `${image.name} holds no ELF image (${image.description})`;
    throw new PolyvisorError('PV5003', what, 'give a Linux kernel', ExitCode.IMAGE);
  }
  return findKernelOps(image.elf);
}

const hex = (address: bigint) => `0x${address.toString(16)}`;
const FOUND_BY = { symbol: 'symbol pv_ops', sites: 'the operands of the calls through it' } as const;

function summary({ slots, siteCount, unreadable, address, foundBy, wordBytes }: KernelOps) {
  const listed = slots.flatMap(({ sites }) => sites.map(({ listedIn }) => listedIn));
  const sections = new Map<string, number>();
  for (const section of listed) sections.set(section, (sections.get(section) ?? 0) + 1);
  return {
    address: hex(address),
    foundBy: FOUND_BY[foundBy],
    wordBytes,
    slots: slots.length,
    slotsCalled: slots.filter(({ sites }) => sites.length > 0).length,
    sites: siteCount,
    sitesBySection: Object.fromEntries(sections),
    unreadable,
  };
}

function implementationName({ implementation }: KernelSlot): string {
  const { symbols, address } = implementation;
  if (address === 0n) return '-';
  return symbols.length > 0 ? symbols.join(' ') : hex(address);
}

/** What a table of ops makes of each slot, by its name. */
type States = ReadonlyMap<string, OpState>;

function textReport(image: GuestImage, ops: KernelOps, states: States | undefined, sites: boolean): string {
  const total = summary(ops);
  const sections = Object.entries(total.sitesBySection).map(([section, count]) => `${count} in ${section}`);
  const unread = total.unreadable > 0 ? `; ${total.unreadable} entries not understood` : '';
  const headings = ['NAME', 'GROUP', 'CALL', 'SITES', 'KIND', ...(states ? ['STATE'] : []), 'IMPLEMENTATION'];
  const row = (slot: KernelSlot) => [
    ...[slot.name, slot.group, slot.convention, `${slot.sites.length}`, slot.implementation.kind],
    ...(states ? [states.get(slot.name) ?? '-'] : []),
    implementationName(slot),
  ];
  const rows = ops.slots.map((slot) => [`${slot.index}`, ...row(slot)]);
  const calls = ops.staticCalls.map(row);
  return [
    `${image.name}: ${image.description}`,
    `paravirt table at ${total.address}, found by ${total.foundBy}: ${total.slots} slots, ${total.slotsCalled} of them called`,
    `${total.sites} call sites: ${sections.join(', ') || 'none'}${unread}`,
    ...(states ? [stateSummary(ops.slots.map(({ name }) => states.get(name)))] : []),
    '',
    formatTable(['SLOT', ...headings], rows),
    ...(calls.length > 0 ? ['', 'static calls beside the table:', formatTable(headings, calls)] : []),
    ...(sites ? ['', siteTable(ops)] : []),
    '',
  ].join('\n');
}

function stateSummary(states: readonly (OpState | undefined)[]): string {
  const count = (state: OpState) => `${states.filter((each) => each === state).length} ${state}`;
  return (['own', 'native', 'nop', 'unwanted', 'forgotten'] as const).map(count).join(', ');
}

function siteTable({ all, symbols }: KernelOps): string {
  const rows = all.flatMap((slot) =>
    slot.sites.map((site) => [
      ...[hex(site.address), slot.name, `${site.sizeBytes}`, `${site.alternatives.length}`],
      symbols.lookup(site.address) ?? '-',
    ]),
  );
  return formatTable(['SITE', 'NAME', 'BYTES', 'ALTERNATIVES', 'IN'], rows);
}

/** The same for programs; addresses as hexadecimal strings. */
function jsonReport(image: GuestImage, ops: KernelOps, states: States | undefined, withSites: boolean) {
  const row = ({ sites, implementation, pointerAddress, ...slot }: KernelSlot) => ({
    ...slot,
    ...(pointerAddress !== undefined && { pointerAddress: hex(pointerAddress) }),
    implementation: { ...implementation, address: hex(implementation.address) },
    ...(states && { state: states.get(slot.name) }),
    siteCount: sites.length,
    ...(withSites && {
      sites: sites.map(({ address, sizeBytes, listedIn, alternatives }) => ({
        ...{ address: hex(address), in: ops.symbols.lookup(address), sizeBytes, listedIn },
        alternatives: alternatives.map(({ replacementAddress, ...alternative }) => ({
          ...alternative,
          replacementAddress: hex(replacementAddress),
        })),
      })),
    }),
  });
  return {
    image: { name: image.name, description: image.description },
    ...summary(ops),
    table: ops.slots.map(row),
    staticCalls: ops.staticCalls.map(row),
  };
}
