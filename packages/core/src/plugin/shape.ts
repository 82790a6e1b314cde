import type { Plugin, PluginHost } from '@polyvisor/plugin-api';
import semver from 'semver';
import { messageOf, refusal } from './codes.ts';

/** What the host keeps of a plug-in: read once, so that a later change of the object changes nothing. */
export interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly api: string;
  readonly requires: ReadonlyMap<string, string>;
  readonly conflicts: ReadonlyMap<string, string>;
  readonly options: ReadonlyMap<string, string>;
  apply(host: PluginHost): void;
}

const namePattern = /^[a-z][a-z0-9-]{0,63}$/;
const optionPattern = /^[A-Za-z][A-Za-z0-9_-]{0,63}$/;
const maxEntries = 256;

/** Reads a plug-in of unknown shape. @throws PV1003 that says what is wrong, and where. */
export function readPlugin(raw: unknown, where: string): Manifest {
  const wrong = (what: string) => refusal('PV1003', `${where} is not a plug-in: ${what}`, { where });
  try {
    return readFields(raw, wrong);
  } catch (error) {
    // A getter or a proxy that throws is a wrong shape as well.
    if (error instanceof Error && (error as { code?: string }).code === 'PV1003') throw error;
    throw wrong(`it cannot be read (${messageOf(error)})`);
  }
}

type Wrong = (what: string) => Error;

function readFields(raw: unknown, wrong: Wrong): Manifest {
  if (typeof raw !== 'object' || raw === null) throw wrong(`the default export is ${kindOf(raw)}, not an object`);
  const { name, version, api, requires, conflicts, options, apply } = raw as Record<keyof Plugin, unknown>;
  if (typeof name !== 'string' || !namePattern.test(name)) {
    throw wrong('name has to be a word of lower-case letters, digits and hyphens');
  }
  if (typeof version !== 'string' || semver.valid(version) === null) throw wrong('version has to be semver, as 1.0.0');
  if (typeof api !== 'string' || semver.validRange(api) === null) throw wrong('api has to be a semver range, as ^1.0');
  if (typeof apply !== 'function') throw wrong('apply has to be a function');
  const isName = (key: string) => namePattern.test(key);
  const isRange = (value: string) => semver.validRange(value) !== null;
  return {
    name,
    version,
    api,
    requires: readMap(requires, 'requires', isName, isRange, wrong),
    conflicts: readMap(conflicts, 'conflicts', isName, isRange, wrong),
    options: readMap(
      options,
      'options',
      (key) => optionPattern.test(key),
      () => true,
      wrong,
    ),
    apply: (host) => apply.call(raw, host),
  };
}

function readMap(
  value: unknown,
  field: string,
  isKey: (key: string) => boolean,
  isValue: (value: string) => boolean,
  wrong: Wrong,
): ReadonlyMap<string, string> {
  const map = new Map<string, string>();
  if (value === undefined) return map;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(`${field} has to be an object`);
  const entries = Object.entries(value);
  if (entries.length > maxEntries) throw wrong(`${field} has more than ${maxEntries} entries`);
  for (const [key, text] of entries) {
    if (!isKey(key)) throw wrong(`${field} has a key that is no name: ${JSON.stringify(key.slice(0, 80))}`);
    if (typeof text !== 'string' || !isValue(text)) throw wrong(`${field}.${key} has a value that cannot be read`);
    map.set(key, text);
  }
  return map;
}

function kindOf(value: unknown): string {
  if (value === undefined) return 'missing';
  return value === null ? 'null' : `a ${typeof value}`;
}
