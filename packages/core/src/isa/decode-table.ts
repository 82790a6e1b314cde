import type { EncodingRow } from './encodings/row.ts';
import { type DecodePlan, planRow } from './plan.ts';

/** What an opcode with a given prefix means: one plan, or one for each ModRM byte, or nothing. */
export type Slot = DecodePlan | readonly (DecodePlan | undefined)[] | undefined;

/** One opcode: eight slots indexed by mandatory prefix (none, 66, F3, F2) × 2 + REX.W. */
export interface OpcodeEntry {
  readonly hasModrm: boolean;
  readonly slots: readonly Slot[];
}
/** Indexed by map × 256 + opcode. */
export type DecodeTable = readonly (OpcodeEntry | undefined)[];

type Cells = (DecodePlan | undefined)[];
interface Draft {
  readonly hasModrm: boolean;
  /** One plan for a slot as long as it is the same whatever ModRM says. */
  readonly slots: (DecodePlan | Cells | undefined)[];
}

/** Build the decoder's table of one kind of mode. Two rows that claim the same bytes are an error that names both. */
export function buildTable(rows: readonly EncodingRow[], longMode: boolean): DecodeTable {
  const drafts: (Draft | undefined)[] = new Array(4 * 256).fill(undefined);
  const valid = rows.filter(({ options }) => options.mode !== (longMode ? 'i64' : 'o64'));
  for (const row of [...valid].sort((a, b) => specificity(a) - specificity(b))) {
    const plan = planRow(row);
    for (let i = 0; i < row.opcodeCount; i++) insert(drafts, (row.map << 8) | (row.opcode + i), plan);
  }
  return drafts;
}

/** Rows that say more about prefixes and ModRM win over those that say less. */
function specificity(row: EncodingRow): number {
  return (row.exactModrm !== undefined ? 4 : 0) + (row.prefix !== undefined ? 2 : 0) + (row.rexW !== undefined ? 1 : 0);
}

function insert(drafts: (Draft | undefined)[], index: number, plan: DecodePlan): void {
  const { row } = plan;
  const draft = (drafts[index] ??= { hasModrm: row.hasModrm, slots: new Array(8).fill(undefined) });
  if (draft.hasModrm !== row.hasModrm)
    throw new Error(`${row.name}: some rows of this opcode have a ModRM byte, others not`);
  for (let slot = 0; slot < 8; slot++) {
    if (row.prefix !== undefined && row.prefix !== slot >> 1) continue;
    if (row.rexW !== undefined && row.rexW !== (slot & 1)) continue;
    draft.slots[slot] = withPlan(draft.slots[slot], plan);
  }
}

/** What a slot holds once a plan has taken the ModRM bytes that it is for. */
function withPlan(before: Draft['slots'][number], plan: DecodePlan): DecodePlan | Cells {
  const { row } = plan;
  if (!Array.isArray(before)) {
    const takesAll = !row.hasModrm || (row.exactModrm === undefined && row.digit === undefined && row.mod === 'any');
    if (takesAll) return claimed(before, plan);
  }
  const cells = Array.isArray(before) ? before : new Array<DecodePlan | undefined>(256).fill(before);
  for (let modrm = 0; modrm < 256; modrm++) {
    if (matchesModrm(row, modrm)) cells[modrm] = claimed(cells[modrm], plan);
  }
  return cells;
}

function claimed(other: DecodePlan | undefined, plan: DecodePlan): DecodePlan {
  if (other && specificity(other.row) === specificity(plan.row)) {
    throw new Error(
      `${plan.row.name} (${plan.row.pattern}) and ${other.row.name} (${other.row.pattern}) claim the same bytes`,
    );
  }
  return plan;
}

function matchesModrm(row: EncodingRow, modrm: number): boolean {
  if (!row.hasModrm) return true;
  if (row.exactModrm !== undefined) return row.exactModrm === modrm;
  if (row.digit !== undefined && row.digit !== ((modrm >> 3) & 7)) return false;
  return row.mod === 'any' || (row.mod === 'reg') === modrm >= 0xc0;
}
