import { API_VERSION, type OpsManifest, type TypescriptOps } from '@polyvisor/plugin-api';
import semver from 'semver';
import * as v from 'valibot';
import { moduleError, moduleTitle } from './module-error.ts';

const GUESTS = ['linux', 'linux32', 'linux64'] as const;
const isVersion = (text: string) => semver.valid(text) !== null;
const isRange = (text: string) => semver.validRange(text) !== null;

const manifestFields = {
  name: v.pipe(
    v.string(),
    v.regex(/^[a-z][a-z0-9-]{0,63}$/, 'has to be a word of lower-case letters, digits, hyphens'),
  ),
  version: v.pipe(v.string(), v.maxLength(64), v.check(isVersion, 'has to be semver, as 1.0.0')),
  api: v.pipe(v.string(), v.maxLength(64), v.check(isRange, 'has to be a semver range, as ^1.2')),
  guest: v.picklist(GUESTS, `has to be one of ${GUESTS.join(', ')}`),
};
const manifestSchema = v.strictObject(manifestFields);

const isFunction = (value: unknown) => typeof value === 'function';
const functionSchema = v.custom<() => void>(isFunction, 'has to be a function');
const opSchema = v.union(
  [
    functionSchema,
    v.object({ code: functionSchema, trap: v.optional(functionSchema), dataBytes: v.optional(v.number()) }),
    v.picklist(['native', 'nop', 'unwanted']),
  ],
  'has to be a function, { code, trap } of functions, or one of native, nop, unwanted',
);
const typescriptSchema = v.object({
  ...manifestFields,
  whereThere: v.optional(v.boolean('has to be true or false')),
  ops: v.pipe(
    v.record(v.string(), opSchema),
    v.check((ops) => Object.keys(ops).length > 0, 'names no slot'),
  ),
});

function checked<S extends v.GenericSchema>(schema: S, raw: unknown, where: string): v.InferOutput<S> {
  const result = v.safeParse(schema, raw);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const path = v.getDotPath(issue);
  throw moduleError('PV5020', `${where} is no ops module: ${path ? `${path} ` : ''}${issue.message}`);
}

/** A manifest of unknown shape. @throws PolyvisorError PV5020 that says what is wrong, and where. */
export function readManifest(raw: unknown, where: string): OpsManifest {
  return checked(manifestSchema, raw, where);
}

/** The default export of a module's file. @throws PolyvisorError PV5020 that says what is wrong, and where. */
export function readTypescriptOps(raw: unknown, where: string): TypescriptOps {
  checked(typescriptSchema, raw, where);
  // As it is and not a copy: its functions may use `this`.
  return raw as TypescriptOps;
}

const MANIFEST_BYTES = 4096;

/** Lines of `key=value`, as in the section of an object: what is not known stays in, for {@link readManifest} to refuse. */
export function parseManifestText(text: string, where: string): Record<string, string> {
  if (text.length > MANIFEST_BYTES) throw moduleError('PV5020', `${where} has a manifest of ${text.length} bytes`);
  const fields: [string, string][] = [];
  for (const line of text.replaceAll('\0', '\n').split('\n')) {
    if (line.trim() === '') continue;
    const at = line.indexOf('=');
    const key = line.slice(0, at).trim();
    if (at < 0 || fields.some(([known]) => known === key)) {
      throw moduleError('PV5020', `${where} has a manifest with the line ${JSON.stringify(line.slice(0, 80))}`);
    }
    fields.push([key, line.slice(at + 1).trim()]);
  }
  return Object.fromEntries(fields);
}

/** What a module is checked against before it is loaded. */
export interface ModuleSurroundings {
  readonly wordBytes: 4 | 8;
  /** Modules that are there, with the slots that they have. */
  readonly loaded: readonly { readonly manifest: OpsManifest; readonly slots: readonly string[] }[];
  /** Downgrades and steps to another major version are meant. */
  readonly force?: boolean;
  /** Versions of the API that there are for it, newest last. */
  readonly apiVersions?: readonly string[];
}

/** Pre-releases count as versions, as they do for plug-ins. */
const rangeOptions = { includePrerelease: true };

/**
 * Everything about a module that can be refused without looking into it. Throws `PolyvisorError` PV5021 (API), PV5022
 * (guest), PV5028 (version after the one that is loaded), PV5024 (a slot that another module has).
 */
export function checkModule(manifest: OpsManifest, slots: readonly string[], surroundings: ModuleSurroundings): void {
  const { wordBytes, loaded, force = false, apiVersions = [API_VERSION] } = surroundings;
  const title = `ops module ${moduleTitle(manifest.name, manifest.version, slots)}`;
  if (!apiVersions.some((version) => semver.satisfies(version, manifest.api, rangeOptions))) {
    throw moduleError('PV5021', `${title} needs API ${manifest.api}, this is ${apiVersions.join(' and ')}`);
  }
  const bits = wordBytes * 8;
  if (manifest.guest !== 'linux' && manifest.guest !== `linux${bits}`) {
    throw moduleError('PV5022', `${title} is for ${manifest.guest}, the guest is linux${bits}`);
  }
  for (const other of loaded) {
    if (other.manifest.name === manifest.name) checkStep(title, other.manifest.version, manifest.version, force);
    else refuseClaims(title, slots, other.manifest, other.slots);
  }
}

function checkStep(title: string, from: string, to: string, force: boolean): void {
  if (force) return;
  if (semver.lt(to, from)) throw moduleError('PV5028', `${title} is older than ${from}, which is loaded`);
  if (semver.major(to) === semver.major(from)) return;
  throw moduleError('PV5028', `${title} is of another major version than ${from}, which is loaded`);
}

function refuseClaims(title: string, slots: readonly string[], other: OpsManifest, taken: readonly string[]): void {
  const both = slots.filter((slot) => taken.includes(slot));
  if (both.length === 0) return;
  throw moduleError(
    'PV5024',
    `${title} and ${other.name} ${other.version}, which is loaded, both claim ${both.join(', ')}`,
  );
}
