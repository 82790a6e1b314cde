import type { EncodingRow } from '../../../packages/core/src/isa/encodings/row.ts';
import type { Width } from '../../../packages/core/src/isa/types.ts';
import { type CaseInput, type CaseMode, expand, type Flavour, MODES, makeInput } from '../case.ts';
import { CODE_BASE, CODE_START, FS_BASE, GS_BASE, PAGE_SIZE_BYTES } from '../layout.ts';
import { Random } from '../random.ts';
import { integerValue } from '../values.ts';
import { assemble, type Choice, widthRule } from './assemble.ts';
import { Draft, type Variant } from './draft.ts';
import { prefixed } from './prefixes.ts';
import { floatingControl, prepare, x87Control, x87Pending } from './prepare.ts';
import { chooseForm, chooseTarget, memoryBytes } from './targets.ts';

/** Cases made of each variant of an encoding. */
const CASES_PER_VARIANT: Record<CaseMode, number> = { long64: 24, flat32: 10 };
/** Floating-point arithmetic has more edges than anything else. */
const FLOATING_FACTOR = 3;

/** Text → seed, so that an encoding's cases do not change when others come or go. */
function seedOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

function widthsOf(row: EncodingRow, mode: CaseMode): readonly Width[] {
  const long64 = mode === 'long64';
  switch (widthRule(row)) {
    case 'v':
      return long64 ? [32, 16, 64] : [32, 16];
    case 'y':
      return long64 ? [32, 64] : [32];
    case 'd64':
      return long64 ? [64, 16] : [32, 16];
    case 'f64':
      return long64 ? [64] : [32, 16];
    default:
      return [32];
  }
}

export function variantsOf(row: EncodingRow): Variant[] {
  const variants: Variant[] = [];
  for (const mode of MODES) {
    if (row.options.mode === (mode === 'long64' ? 'i64' : 'o64')) continue;
    for (const width of widthsOf(row, mode)) variants.push(...formsOf(row, mode, width));
  }
  return variants;
}

function formsOf(row: EncodingRow, mode: CaseMode, width: Width): Variant[] {
  const plain = { row, mode, width, rep: 'none', lock: false } as const;
  if (row.options.rep) return (['none', 'rep', 'repne'] as const).map((rep) => ({ ...plain, form: 'none', rep }));
  if (!row.hasModrm || row.exactModrm !== undefined) return [{ ...plain, form: 'none' }];
  const forms: Variant[] = [];
  if (row.mod !== 'mem') forms.push({ ...plain, form: 'reg' });
  if (row.mod !== 'reg') forms.push({ ...plain, form: 'mem' });
  if (row.mod !== 'reg' && row.options.lock) forms.push({ ...plain, form: 'mem', lock: true });
  return forms;
}

export function isX87(row: EncodingRow): boolean {
  return row.map === 0 && row.opcode >= 0xd8 && row.opcode <= 0xdf;
}
export function isVector(row: EncodingRow): boolean {
  return row.operandCodes.some(({ letter }) => 'VWPQ'.includes(letter));
}
export function isMmx(row: EncodingRow): boolean {
  return row.mnemonic === 'EMMS' || row.operandCodes.some(({ letter }) => letter === 'P' || letter === 'Q');
}
const isFloating = (row: EncodingRow) =>
  isX87(row) || (isVector(row) && /(PS|PD|SS|SD|PI|DQ|2SI|SI)$/.test(row.mnemonic));

/** What the data of an encoding's cases should look like. */
function flavoursOf(variant: Variant): readonly Flavour[] {
  const { row } = variant;
  if (isX87(row)) {
    if (/^FI|^FBLD|ENV|RSTOR|SAVE/.test(row.mnemonic)) return ['integer', 'random'];
    return memoryBytes(variant) === 4 ? ['f32'] : memoryBytes(variant) === 8 ? ['f64'] : ['f80'];
  }
  if (!isVector(row)) return ['integer'];
  if (/^CVTT?(PS|SS)/.test(row.mnemonic)) return ['f32'];
  if (/^CVTT?(PD|SD)/.test(row.mnemonic)) return ['f64'];
  if (/^CVT/.test(row.mnemonic)) return ['integer'];
  if (/(PS|SS)$/.test(row.mnemonic)) return ['f32', 'f32', 'f32', 'random'];
  if (/(PD|SD)$/.test(row.mnemonic)) return ['f64', 'f64', 'f64', 'random'];
  return ['integer', 'random'];
}

/** All cases of one encoding; a seed other than 0 makes others than the recorded ones. */
export function generate(row: EncodingRow, seed = 0): CaseInput[] {
  return variantsOf(row).flatMap((variant) => {
    const { mode, width, form, rep, lock } = variant;
    const random = new Random(seed ^ seedOf([row.pattern, mode, width, form, rep, lock].join(' ')));
    const count = CASES_PER_VARIANT[mode] * (isFloating(row) ? FLOATING_FACTOR : row.options.mode === 'i64' ? 2 : 1);
    return Array.from({ length: count }, () => generateCase(variant, random));
  });
}

const PREFIXED_CASES: Record<CaseMode, number> = { long64: 8, flat32: 4 };

/** Cases of one encoding under prefixes that do not belong to it; what they decode to may be another encoding, or nothing. */
export function generatePrefixed(row: EncodingRow, seed = 0): CaseInput[] {
  const random = new Random(seed ^ seedOf(`${row.pattern} prefixes`));
  const inputs = generate(row, seed);
  return MODES.flatMap((mode) => {
    const some = inputs.filter((input) => input.mode === mode);
    if (some.length === 0) return [];
    return Array.from({ length: PREFIXED_CASES[mode] }, () => prefixed(row, random.pick(some), random) ?? []).flat();
  });
}

function generateCase(variant: Variant, random: Random): CaseInput {
  const { row, mode, form } = variant;
  const draft = new Draft(variant, random);
  draft.flavour = random.pick(flavoursOf(variant));
  draft.immediate = integerValue(random);
  prepare(draft);
  if (isX87(row)) x87Control(draft);
  else if (isVector(row)) floatingControl(draft);
  if (isMmx(row)) x87Pending(draft);
  const seed = random.next();
  const usesSegment = form === 'mem' || Boolean(row.options.address || row.options.rep);
  const segmentBase = usesSegment ? choosePrefixes(draft) : 0;
  if (form !== 'mem') moveImplicitPointers(draft, segmentBase);
  const addressWidth = usesSegment && random.oneIn(8) ? 32 : mode === 'long64' ? 64 : 32;
  const codeAddress = random.oneIn(12) ? CODE_BASE + PAGE_SIZE_BYTES - 1 - random.below(9) : CODE_START;
  const registers = draft.registerCount;
  const reg = draft.reg ?? random.below(row.operandCodes.some(({ letter }) => 'PSQ'.includes(letter)) ? 8 : registers);
  let rm: Choice['rm'] = draft.rm ?? random.below(registers);
  let target: number | undefined;
  if (form === 'mem' || row.operandCodes.some(({ letter }) => letter === 'O')) {
    target = draft.target ?? chooseTarget(random, memoryBytes(variant), mode === 'long64');
    if (form === 'mem') rm = chooseForm(draft, target, segmentBase, addressWidth);
    else draft.immediate = BigInt(target);
  }
  const forceRex = mode === 'long64' && random.oneIn(6);
  const choice = {
    mode,
    width: variant.width,
    reg: fixOpcodeRegister(row, reg),
    rm,
    immediate: draft.immediate,
    addressWidth,
    prefixes: draft.prefixes,
    forceRex,
    codeAddress,
  } as const;
  const code = assemble(row, choice);
  const parts = { mode, codeAddress, seed, flavour: draft.flavour, overrides: draft.overrides, patches: draft.patches };
  draft.finish?.(target, expand(makeInput(code, parts)).image.gpr);
  return makeInput(code, parts);
}

/** XCHG rAX, rAX is another encoding: NOP. */
function fixOpcodeRegister(row: EncodingRow, reg: number): number {
  return row.map === 0 && row.opcodeCount === 8 && row.opcode >= 0x90 && row.opcode <= 0x97 && reg === 0 ? 1 : reg;
}

/** LOCK, REP and segment prefixes; answers the base of the segment that a memory operand will use. */
function choosePrefixes(draft: Draft): number {
  const { random, prefixes, variant } = draft;
  if (variant.lock) prefixes.push(0xf0);
  if (variant.rep !== 'none') prefixes.push(variant.rep === 'rep' ? 0xf3 : 0xf2);
  if (variant.row.options.rep) return stringSegment(draft);
  switch (random.below(16)) {
    case 0:
      prefixes.push(0x64);
      return FS_BASE;
    case 1:
      prefixes.push(0x65);
      return GS_BASE;
    case 2:
      prefixes.push(random.pick([0x26, 0x36, 0x3e]));
      return 0;
    default:
      return 0;
  }
}

/** XLAT and MASKMOV: their pointers count from the segment's base. */
function moveImplicitPointers({ overrides, variant }: Draft, segmentBase: number): void {
  if (variant.row.options.rep) return;
  for (const register of [3, 7]) {
    const pointer = overrides.get(register);
    if (pointer !== undefined) overrides.set(register, BigInt.asUintN(64, pointer - BigInt(segmentBase)));
  }
}

/** String operations: an override moves the source only. */
function stringSegment(draft: Draft): number {
  const { random, prefixes, overrides } = draft;
  if (!random.oneIn(8)) return 0;
  prefixes.push(0x64);
  const source = overrides.get(6);
  if (source !== undefined) overrides.set(6, BigInt.asUintN(64, source - BigInt(FS_BASE)));
  return FS_BASE;
}
