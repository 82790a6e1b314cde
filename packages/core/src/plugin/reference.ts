import { refusal } from './codes.ts';

/** `--plugin NAME=key:value,key2:value2`, taken apart. `NAME=key` is short for a key with nothing behind it. */
export interface PluginReference {
  /** A name, a package, or a path. */
  readonly reference: string;
  readonly options: Readonly<Record<string, string>>;
}

/** Where a reference may be found, in order of preference. */
export interface Candidate {
  readonly specifier: string;
  readonly kind: 'path' | 'package';
}

const namePattern = /^[a-z][a-z0-9-]*$/;
const packagePattern = /^(@[a-z0-9][a-z0-9._-]*\/)?[a-z0-9][a-z0-9._-]*$/;
const pathPattern = /^\.{0,2}[/\\]|^[A-Za-z]:[/\\]|^file:|\.[cm]?[jt]s$/;
const maxLength = 4096;

/** @throws PV1016 when the options cannot be read */
export function parsePluginReference(text: string): PluginReference {
  const equals = text.indexOf('=');
  const reference = equals < 0 ? text : text.slice(0, equals);
  const wrong = (what: string) => refusal('PV1016', `--plugin ${text.slice(0, 200)}: ${what}`);
  if (reference === '') throw wrong('no plug-in is named');
  const options = new Map<string, string>();
  const list = equals < 0 ? [] : text.slice(equals + 1).split(',');
  for (const option of list) {
    const colon = option.indexOf(':');
    if (colon < 0 ? !namePattern.test(option) : colon === 0)
      throw wrong(`option ${JSON.stringify(option.slice(0, 80))} is not key:value`);
    const key = colon < 0 ? option : option.slice(0, colon);
    if (options.has(key)) throw wrong(`option ${key} is given twice`);
    options.set(key, colon < 0 ? '' : option.slice(colon + 1));
  }
  return { reference, options: Object.fromEntries(options) };
}

/**
 * Modules a reference may mean: a path as it is; a package of a scope as it is; a name as
 * `@polyvisor/plugin-NAME`, `polyvisor-plugin-NAME`, then as a package of that very name.
 */
export function candidatesOf(reference: string): Candidate[] {
  if (reference.length > maxLength) return [];
  if (pathPattern.test(reference)) return [{ specifier: reference, kind: 'path' }];
  if (!packagePattern.test(reference)) return [];
  const names = namePattern.test(reference) ? [`@polyvisor/plugin-${reference}`, `polyvisor-plugin-${reference}`] : [];
  return [...names, reference].map((specifier) => ({ specifier, kind: 'package' }));
}
