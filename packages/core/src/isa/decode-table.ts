import type { EncodingRow } from './encodings/row.ts';
import { type DecodePlan, planRow } from './plan.ts';

/** What an opcode with a given prefix means: one plan, or one for each ModRM byte, or nothing. */
export type Slot = DecodePlan | readonly (DecodePlan | undefined)[] | undefined;

/** One opcode: eight slots indexed by mandatory prefix (none, 66, F3, F2) × 2 + REX.W. */
export interface OpcodeEntry {
  readonly hasModrm: boolean;
  readonly slots: readonly Slot[];
}

type Cells = (DecodePlan | undefined)[];
interface Draft {
  readonly hasModrm: boolean;
  /** One plan for a slot as long as it is the same whatever ModRM says. */
  readonly slots: (DecodePlan | Cells | undefined)[];
}

/**
 * The decoder's table of one kind of mode. What an opcode means is put together when it is first met: a guest uses few of them,
 * and the whole takes longer than the rest of a start.
 */
export class DecodeTable {
  /** Rows and entries are indexed by map × 256 + opcode; `null`: nothing has that opcode. */
  #rows: (EncodingRow[] | undefined)[] | undefined;
  readonly #entries: (OpcodeEntry | null | undefined)[] = new Array(4 * 256).fill(undefined);
  readonly #plans = new Map<EncodingRow, DecodePlan>();

  readonly #all: readonly EncodingRow[];
  readonly #longMode: boolean;

  constructor(rows: readonly EncodingRow[], longMode: boolean) {
    this.#all = rows;
    this.#longMode = longMode;
  }

  /** Many guests never leave the modes of one table. */
  #sorted(): (EncodingRow[] | undefined)[] {
    const sorted: (EncodingRow[] | undefined)[] = new Array(4 * 256).fill(undefined);
    for (const row of this.#all) {
      if (row.options.mode === (this.#longMode ? 'i64' : 'o64')) continue;
      for (let i = 0; i < row.opcodeCount; i++) (sorted[(row.map << 8) | (row.opcode + i)] ??= []).push(row);
    }
    return sorted;
  }

  /** Throws when two rows claim the same bytes; the error names both. */
  entry(index: number): OpcodeEntry | null {
    const known = this.#entries[index];
    if (known !== undefined) return known;
    this.#rows ??= this.#sorted();
    return (this.#entries[index] = this.#entryOf(this.#rows[index]));
  }

  #entryOf(rows: readonly EncodingRow[] | undefined): OpcodeEntry | null {
    if (!rows) return null;
    const draft: Draft = { hasModrm: rows[0].hasModrm, slots: new Array(8).fill(undefined) };
    for (const row of [...rows].sort((a, b) => specificity(a) - specificity(b))) insert(draft, this.#planOf(row));
    return draft;
  }

  /** One plan for all opcodes of a row: they share what has been decoded. */
  #planOf(row: EncodingRow): DecodePlan {
    let plan = this.#plans.get(row);
    if (!plan) this.#plans.set(row, (plan = planRow(row)));
    return plan;
  }
}

/** Of the four of mandatory prefixes, the first that F2 or F3 belongs to. */
const FIRST_REPEAT = 2;

/** Rows that say more about prefixes and ModRM win over those that say less. */
function specificity(row: EncodingRow): number {
  return (row.exactModrm !== undefined ? 4 : 0) + (row.prefix !== undefined ? 2 : 0) + (row.rexW !== undefined ? 1 : 0);
}

function insert(draft: Draft, plan: DecodePlan): void {
  const { row } = plan;
  if (draft.hasModrm !== row.hasModrm)
    throw new Error(`${row.name}: some rows of this opcode have a ModRM byte, others not`);
  for (let slot = 0; slot < 8; slot++) {
    if (row.prefix !== undefined && row.prefix !== slot >> 1) continue;
    if (row.noRepeat && slot >> 1 >= FIRST_REPEAT) continue;
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
  const claim = (modrm: number) => {
    cells[modrm] = claimed(cells[modrm], plan);
  };
  if (row.hasModrm && row.exactModrm !== undefined) claim(row.exactModrm);
  else forModrm(row, claim);
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

/** Each ModRM byte that a row is for: mod, reg and r/m from the highest bits to the lowest (SDM vol. 2A, 2.1.3). */
function forModrm({ digit, mod }: EncodingRow, use: (modrm: number) => void): void {
  const firstMod = mod === 'reg' ? 3 : 0;
  const lastMod = mod === 'mem' ? 2 : 3;
  for (let kind = firstMod; kind <= lastMod; kind++) {
    for (let reg = digit ?? 0; reg <= (digit ?? 7); reg++) {
      for (let rm = 0; rm < 8; rm++) use((kind << 6) | (reg << 3) | rm);
    }
  }
}
