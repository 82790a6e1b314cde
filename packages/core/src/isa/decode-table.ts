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

interface Draft {
  readonly hasModrm: boolean;
  /** [slot][modrm] */
  readonly cells: (DecodePlan | undefined)[][];
}

/** Build the decoder's table of one kind of mode. Two rows that claim the same bytes are an error that names both. */
export function buildTable(rows: readonly EncodingRow[], longMode: boolean): DecodeTable {
  const drafts: (Draft | undefined)[] = new Array(4 * 256).fill(undefined);
  const valid = rows.filter(({ options }) => options.mode !== (longMode ? 'i64' : 'o64'));
  for (const row of [...valid].sort((a, b) => specificity(a) - specificity(b))) {
    const plan = planRow(row);
    for (let i = 0; i < row.opcodeCount; i++) insert(drafts, (row.map << 8) | (row.opcode + i), plan);
  }
  return drafts.map((draft) => draft && { hasModrm: draft.hasModrm, slots: draft.cells.map(compress) });
}

/** Rows that say more about prefixes and ModRM win over those that say less. */
function specificity(row: EncodingRow): number {
  return (row.exactModrm !== undefined ? 4 : 0) + (row.prefix !== undefined ? 2 : 0) + (row.rexW !== undefined ? 1 : 0);
}

function insert(drafts: (Draft | undefined)[], index: number, plan: DecodePlan): void {
  const { row } = plan;
  const draft = (drafts[index] ??= { hasModrm: row.hasModrm, cells: Array.from({ length: 8 }, () => []) });
  if (draft.hasModrm !== row.hasModrm)
    throw new Error(`${row.name}: some rows of this opcode have a ModRM byte, others not`);
  for (let slot = 0; slot < 8; slot++) {
    if (row.prefix !== undefined && row.prefix !== slot >> 1) continue;
    if (row.rexW !== undefined && row.rexW !== (slot & 1)) continue;
    for (let modrm = 0; modrm < 256; modrm++) {
      if (matchesModrm(row, modrm)) claim(draft.cells[slot], modrm, plan);
    }
  }
}

function claim(cells: (DecodePlan | undefined)[], modrm: number, plan: DecodePlan): void {
  const other = cells[modrm];
  if (other && specificity(other.row) === specificity(plan.row)) {
    throw new Error(
      `${plan.row.name} (${plan.row.pattern}) and ${other.row.name} (${other.row.pattern}) claim the same bytes`,
    );
  }
  cells[modrm] = plan;
}

function matchesModrm(row: EncodingRow, modrm: number): boolean {
  if (!row.hasModrm) return true;
  if (row.exactModrm !== undefined) return row.exactModrm === modrm;
  if (row.digit !== undefined && row.digit !== ((modrm >> 3) & 7)) return false;
  return row.mod === 'any' || (row.mod === 'reg') === modrm >= 0xc0;
}

function compress(cells: readonly (DecodePlan | undefined)[]): Slot {
  const filled = Array.from({ length: 256 }, (_, modrm) => cells[modrm]);
  return filled.every((plan) => plan === filled[0]) ? filled[0] : filled;
}
