import type { Claim } from '@polyvisor/plugin-api';
import { refusal } from './codes.ts';

const u32Max = 0xffffffff;

/** Greatest number of each ranged kind. */
const rangeMax = { cpuid: u32Max, msr: u32Max, port: 0xffff, hypercall: Number.MAX_SAFE_INTEGER } as const;

/** A claim in a form in which any two can be compared. */
interface Owned {
  /** Claims of different spaces never meet: `msr`, `hypercall of ABI`, ... */
  readonly space: string;
  readonly first: number;
  readonly last: number;
  /** In words. */
  readonly text: string;
  readonly plugin: string;
}

/** Who owns what. One plug-in's claims are taken together: {@link stage}, then `commit`. */
export class ClaimRegistry {
  #owned: readonly Owned[] = [];
  /** Register numbers of `entryRegister` claims, in order of first use. */
  readonly #registers: string[] = [];

  /** Checks against all that is owned and staged. @throws PV1009 (both owners named), PV1010 */
  stage(plugin: string, claims: readonly Claim[], next: Claim): void {
    const wanted = this.#read(plugin, next);
    const staged = claims.map((claim) => this.#read(plugin, claim));
    for (const other of [...this.#owned, ...staged]) {
      if (other.space === wanted.space && wanted.first <= other.last && other.first <= wanted.last) {
        throw doubleClaim(wanted, other);
      }
    }
  }

  commit(plugin: string, claims: readonly Claim[]): void {
    this.#owned = [...this.#owned, ...claims.map((claim) => this.#read(plugin, claim))];
  }

  remove(plugin: string): void {
    this.#owned = this.#owned.filter((owned) => owned.plugin !== plugin);
  }

  /** All claims, in words: `MSR 0x40000000`, with their owners. */
  list(): readonly { readonly plugin: string; readonly claim: string }[] {
    return this.#owned.map(({ plugin, text }) => ({ plugin, claim: text }));
  }

  #read(plugin: string, claim: Claim): Owned {
    const wrong = (what: string) => refusal('PV1010', `plug-in ${plugin} claims ${what}`, { plugin });
    const raw: Partial<Record<string, unknown>> = typeof claim === 'object' && claim !== null ? { ...claim } : {};
    switch (raw.kind) {
      case 'cpuid':
      case 'msr':
      case 'port':
        return { plugin, ...readRange(raw.kind, raw.kind, raw, wrong) };
      case 'hypercall': {
        if (typeof raw.abi !== 'string' || raw.abi === '') throw wrong('hypercalls without the name of an ABI');
        return { plugin, ...readRange('hypercall', `hypercall of ${raw.abi}`, raw, wrong) };
      }
      case 'ident': {
        if (!isNumber(raw.ident, u32Max)) throw wrong('an ident that is not a 32-bit number');
        return { plugin, space: 'ident', first: raw.ident, last: raw.ident, text: `ident ${hex(raw.ident)}` };
      }
      case 'entryRegister':
        return { plugin, ...this.#readRegister(raw.register, wrong) };
      default:
        throw wrong(`a thing of no known kind (${JSON.stringify(String(raw.kind)).slice(0, 80)})`);
    }
  }

  #readRegister(register: unknown, wrong: (what: string) => Error): Omit<Owned, 'plugin'> {
    const match =
      typeof register === 'string' ? /^[er]?([a-d]x|[sd]i|[sb]p)$|^(r(?:[89]|1[0-5]))d?$/.exec(register) : null;
    if (!match) throw wrong('an entry register that is none of the general registers');
    // ESI and RSI are one register: the same claim.
    const canonical = match[1] ?? match[2];
    const known = this.#registers.indexOf(canonical);
    const index = known >= 0 ? known : this.#registers.push(canonical) - 1;
    return { space: 'entryRegister', first: index, last: index, text: `entry register ${register}` };
  }
}

function readRange(
  kind: keyof typeof rangeMax,
  space: string,
  raw: Partial<Record<string, unknown>>,
  wrong: (what: string) => Error,
): Omit<Owned, 'plugin'> {
  const { first, last } = raw;
  if (!isNumber(first, rangeMax[kind]) || !isNumber(last, rangeMax[kind]) || first > last) {
    throw wrong(`a ${space} range that is none: first ${String(first)}, last ${String(last)}`);
  }
  return { space, first, last, text: `${space} ${hex(first)}${first === last ? '' : `–${hex(last)}`}` };
}

function isNumber(value: unknown, max: number): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= max;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

function doubleClaim(wanted: Owned, other: Owned): Error {
  const message =
    wanted.plugin === other.plugin
      ? `plug-in ${wanted.plugin} claims ${wanted.text} twice`
      : `plug-ins ${wanted.plugin} and ${other.plugin} both claim ${wanted.space}: ${wanted.text} and ${other.text}`;
  return refusal('PV1009', message, { plugin: wanted.plugin, other: other.plugin });
}
