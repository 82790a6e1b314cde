import { PolyvisorError } from '@polyvisor/plugin-api';
import type { InstallMode, OpState, OpsSlot, OpsTable } from './model.ts';

/** What is to become of one slot. */
export type PlannedOp<Own> =
  | { readonly slot: OpsSlot; readonly state: 'own'; readonly implementation: Own }
  | { readonly slot: OpsSlot; readonly state: Exclude<OpState, 'own'> };

/** All slots in the order in which the kernel has them; those that are forgotten keep what they have. */
export interface InstallPlan<Own> {
  readonly mode: InstallMode;
  readonly ops: readonly PlannedOp<Own>[];
}

const usage = (code: string, message: string, fix: string) => new PolyvisorError(code, message, fix);

/**
 * Fits a plug-in's table to the slots that a kernel has.
 * Throws PV5001 for names that the kernel does not have, PV5002 for forgotten slots in strict mode; each names them.
 */
export function planInstall<Own>(slots: readonly OpsSlot[], table: OpsTable<Own>, mode: InstallMode): InstallPlan<Own> {
  const known = new Set(slots.map((slot) => slot.name));
  const strangers = Object.keys(table.ops).filter((name) => !known.has(name));
  const whose = `the ops table of ${table.name} ${table.version}`;
  if (strangers.length > 0) {
    const fix = '`vm ops report KERNEL` lists the slots that there are';
    throw usage('PV5001', `${whose} names slots that the kernel does not have: ${strangers.join(', ')}`, fix);
  }
  const ops = slots.map((slot) => planned(slot, table));
  const inTable = ops.filter(({ slot: { heldIn } }) => heldIn === 'table');
  const forgotten = inTable.filter(({ state }) => state === 'forgotten').map(({ slot }) => slot.name);
  if (mode === 'strict' && forgotten.length > 0) {
    const fix = 'name each as own, native, nop or unwanted, or install the table as an overlay';
    throw usage(
      'PV5002',
      `${whose} forgets ${forgotten.length} of ${inTable.length} slots: ${forgotten.join(', ')}`,
      fix,
    );
  }
  return { mode, ops };
}

function planned<Own>(slot: OpsSlot, table: OpsTable<Own>): PlannedOp<Own> {
  if (!Object.hasOwn(table.ops, slot.name)) return { slot, state: 'forgotten' };
  const choice = table.ops[slot.name];
  if (typeof choice === 'string') return { slot, state: choice };
  return { slot, state: 'own', implementation: choice.implementation };
}

/**
 * What of a module's operations is for a kernel with these slots: all, or, if it says `whereThere`, those whose slots there are.
 * Where there are none of these, all: {@link planInstall} names them then.
 */
export function opsFor<Op>(
  slots: readonly OpsSlot[],
  {
    ops,
    whereThere = false,
  }: { readonly ops: Readonly<Record<string, Op>>; readonly whereThere?: boolean | undefined },
): Readonly<Record<string, Op>> {
  if (!whereThere) return ops;
  const there = Object.entries(ops).filter(([name]) => slots.some((slot) => slot.name === name));
  return there.length > 0 ? Object.fromEntries(there) : ops;
}
