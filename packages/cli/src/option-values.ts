import { usageError } from './cli-error.ts';
import { isVmName } from './control/names.ts';
import type {
  BootModuleRequest,
  CompileThreadChoice,
  ConsoleChoice,
  ExitsChoice,
  ExtraChip,
  TierChoice,
  TraceChannel,
  TraceRequest,
} from './options.ts';
import { EXTRA_CHIPS, TRACE_CHANNELS } from './options.ts';

const UNIT_BYTES: Readonly<Record<string, number>> = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };
const LEAST_MEMORY_BYTES = 2 ** 20;
/** CPU state, tables and guest memory share one wasm memory of 4 GiB. */
const MOST_MEMORY_BYTES = 3.5 * 2 ** 30;

/** `512M`, `2G`, `65536K`. */
export function parseMemory(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([KMG])(?:i?B)?$/i.exec(text);
  if (!match) throw usageError(`--memory ${text} is not a size`, 'give a number and a unit, such as 512M or 1G');
  const bytes = Math.floor(Number(match[1]) * UNIT_BYTES[match[2].toUpperCase()]);
  if (bytes < LEAST_MEMORY_BYTES || bytes > MOST_MEMORY_BYTES) {
    throw usageError(`--memory ${text} is out of range`, 'give between 1M and 3.5G');
  }
  return Math.floor(bytes / 4096) * 4096;
}

const MOST_CPUS = 8;

/** `1` to `8`. */
export function parseCpus(text: string): number {
  const count = /^\d+$/.test(text) ? Number(text) : 0;
  if (count >= 1 && count <= MOST_CPUS) return count;
  throw usageError(`--cpus ${text} is no number of vCPUs`, `give between 1 and ${MOST_CPUS}`);
}

/** `none`, `stdio` or `file:PATH`. */
export function parseConsole(text: string): ConsoleChoice {
  if (text === 'none' || text === 'stdio') return { kind: text };
  if (text.startsWith('file:') && text.length > 5) return { kind: 'file', path: text.slice(5) };
  throw usageError(`--console ${text} is unknown`, 'use none, stdio or file:PATH');
}

/** `hypercalls,exits,events`, with `:FILE` to write somewhere else than stderr. */
export function parseTrace(text: string): TraceRequest {
  const colon = text.indexOf(':');
  const channels = (colon < 0 ? text : text.slice(0, colon)).split(',');
  const unknown = channels.find((channel) => !(TRACE_CHANNELS as readonly string[]).includes(channel));
  if (unknown !== undefined) {
    throw usageError(
      `--trace knows no channel "${unknown}"`,
      `use ${TRACE_CHANNELS.join(',')}, with :FILE.jsonl if wanted`,
    );
  }
  if (colon === text.length - 1)
    throw usageError(`--trace ${text} names no file`, 'write --trace hypercalls:FILE.jsonl');
  return { channels: channels as TraceChannel[], file: colon < 0 ? undefined : text.slice(colon + 1) };
}

/** `FILE`, or `FILE:TEXT`; without a text it is the file's name, as boot loaders do it. */
export function parseBootModule(text: string): BootModuleRequest {
  const colon = text.indexOf(':');
  const file = colon < 0 ? text : text.slice(0, colon);
  if (file === '')
    throw usageError(`--boot-module ${text} names no file`, 'write --boot-module FILE or --boot-module FILE:TEXT');
  return { file, text: colon < 0 ? file : text.slice(colon + 1) };
}

export function parseChip(text: string): ExtraChip {
  const chip = Object.hasOwn(EXTRA_CHIPS, text) ? EXTRA_CHIPS[text as keyof typeof EXTRA_CHIPS] : undefined;
  if (chip) return chip;
  throw usageError(`--chip ${text} is unknown`, `use ${Object.keys(EXTRA_CHIPS).join(', ')}`);
}

/** A positive number of seconds that a timer can wait. */
export function parseTimeout(text: string): number {
  const seconds = Number(text);
  if (text.trim() !== '' && seconds > 0 && seconds <= 2 ** 31 / 1000) return seconds;
  throw usageError(`--timeout ${text} is not a number of seconds`, 'give a number above 0, such as 30');
}

export function parseClock(text: string): 'icount' | 'wall' {
  if (text === 'icount' || text === 'wall') return text;
  throw usageError(`--clock ${text} is unknown`, 'use icount or wall');
}

export function parseExits(text: string): ExitsChoice {
  if (text === 'asked' || text === 'privileged' || text === 'all') return text;
  throw usageError(`--exits ${text} is unknown`, 'use asked, privileged or all');
}

export function parseCompileThread(text: string): CompileThreadChoice {
  if (text === 'auto' || text === 'on' || text === 'off') return text;
  throw usageError(`--compile-thread ${text} is unknown`, 'use auto, on or off');
}

export function parseProfile(text: string): string {
  if (text !== '') return text;
  throw usageError('--profile names no file', 'write --profile FILE.json for speedscope, or FILE for collapsed stacks');
}

export function parseFunctions(text: string): string {
  if (text !== '') return text;
  throw usageError('--functions names no file', 'write --functions FILE, for `vm compare`');
}

/** `0`, `1`, `both` or `both:N`. */
export function parseTier(text: string): TierChoice {
  if (text === '0') return { kind: 'interpret' };
  if (text === '1') return { kind: 'compile' };
  const match = /^both(?::([1-9]\d{0,8}))?$/.exec(text);
  if (match) return { kind: 'both', threshold: match[1] === undefined ? undefined : Number(match[1]) };
  throw usageError(`--tier ${text} is unknown`, 'use 0, 1, both, or both:N with N from 1');
}

export function parseExpect(text: string): string {
  if (text !== '') return text;
  throw usageError('--expect has an empty text', 'give the text to wait for');
}

/** What a VM may be called: it becomes part of file names. */
export function parseName(text: string): string {
  if (isVmName(text)) return text;
  throw usageError(`--name ${text} cannot be a VM's`, 'use letters, digits, dots, dashes and underscores, at most 40');
}

/** Seconds between two looks. */
export function parseWatch(text: string): number {
  const seconds = Number(text);
  if (text.trim() !== '' && seconds >= 0.1 && seconds <= 3600) return seconds;
  throw usageError(`--watch ${text} is not a number of seconds`, 'give a number from 0.1 to 3600');
}
