import { encodings } from './encodings/index.ts';
import type { EncodingRow } from './encodings/row.ts';

/** One line of the instruction list in the documentation. */
export interface InstructionLine {
  readonly mnemonic: string;
  readonly operands: string;
  readonly pattern: string;
  readonly modes: 'all' | '64-bit' | 'not 64-bit';
  /** `user`, `system` (privileged, or not for a user-mode oracle); with LOCK or REP where they mean something. */
  readonly notes: string;
}

function lineOf(row: EncodingRow): InstructionLine {
  const { mode, lock, rep } = row.options;
  const notes = [row.system ? 'system' : '', lock ? 'LOCK' : '', rep ? 'REP' : ''];
  return {
    mnemonic: row.mnemonic,
    operands: row.operandCodes.map(({ text }) => text).join(', '),
    pattern: row.pattern,
    modes: mode === 'o64' ? '64-bit' : mode === 'i64' ? 'not 64-bit' : 'all',
    notes: notes.filter((note) => note !== '').join(', '),
  };
}

/** Every encoding that is implemented, by mnemonic and then by pattern. */
export function instructionLines(): InstructionLine[] {
  return encodings.map(lineOf).sort((a, b) => compare(a.mnemonic, b.mnemonic) || compare(a.pattern, b.pattern));
}
const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

/** The list as a Markdown document. */
export function instructionListMarkdown(): string {
  const lines = instructionLines();
  const mnemonics = new Set(lines.map(({ mnemonic }) => mnemonic)).size;
  return [
    '# Instructions',
    '',
    `${lines.length} encodings of ${mnemonics} mnemonics, written by \`scripts/list-instructions.ts\` from the encodings table.`,
    'Operand letters are those of SDM vol. 2D, A.2.1; the head of `packages/core/src/isa/encodings/row.ts` has them all.',
    'Whatever is not listed raises #UD. So do a few system instructions unless a plug-in takes them:',
    '`packages/core/src/machine/native/instructions.ts` names them.',
    '',
    '| Instruction | Operands | Encoding | Modes | Notes |',
    '|---|---|---|---|---|',
    ...lines.map(
      (line) => `| ${line.mnemonic} | ${line.operands} | \`${line.pattern}\` | ${line.modes} | ${line.notes} |`,
    ),
    '',
  ].join('\n');
}
