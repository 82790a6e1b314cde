import { API_VERSION } from '@polyvisor/plugin-api';
import semver from 'semver';
import { refusal } from './codes.ts';
import type { Manifest } from './shape.ts';

type Loaded = ReadonlyMap<string, Manifest>;

/** Pre-releases count as versions: a plug-in under development satisfies the range it will satisfy. */
const rangeOptions = { includePrerelease: true };

/** Everything about a plug-in that can be refused before it runs, in this order. */
export function checkManifest(
  manifest: Manifest,
  loaded: Loaded,
  options: Readonly<Record<string, string>>,
  apiVersion = API_VERSION,
): void {
  checkApi(manifest, apiVersion);
  checkName(manifest, loaded);
  checkRequires(manifest, loaded);
  checkConflicts(manifest, loaded);
  checkOptions(manifest, options);
}

function checkApi({ name, version, api }: Manifest, apiVersion: string): void {
  if (semver.satisfies(apiVersion, api, rangeOptions)) return;
  const message = `plug-in ${name} ${version} needs plug-in API ${api}, this is ${apiVersion}`;
  throw refusal('PV1004', message, { plugin: name, api: apiVersion });
}

function checkName({ name, version }: Manifest, loaded: Loaded): void {
  const other = loaded.get(name);
  if (!other) return;
  throw refusal('PV1011', `plug-in ${name} ${version}: ${name} ${other.version} is loaded already`, { plugin: name });
}

function checkRequires({ name, requires }: Manifest, loaded: Loaded): void {
  for (const [other, range] of requires) {
    const found = loaded.get(other);
    if (!found) throw refusal('PV1005', `plug-in ${name} requires ${other} ${range}, which is not loaded`, { other });
    if (semver.satisfies(found.version, range, rangeOptions)) continue;
    const message = `plug-in ${name} requires ${other} ${range}, but ${other} is ${found.version}`;
    throw refusal('PV1006', message, { other, range });
  }
}

function checkConflicts(manifest: Manifest, loaded: Loaded): void {
  for (const other of loaded.values()) {
    refuseConflict(manifest, other);
    refuseConflict(other, manifest);
  }
}

function refuseConflict(from: Manifest, against: Manifest): void {
  const range = from.conflicts.get(against.name);
  if (range === undefined || !semver.satisfies(against.version, range, rangeOptions)) return;
  const message = `plug-in ${from.name} cannot be loaded beside ${against.name} ${against.version} (conflicts: ${range})`;
  throw refusal('PV1007', message, { plugin: from.name, other: against.name });
}

function checkOptions({ name, options }: Manifest, given: Readonly<Record<string, string>>): void {
  const unknown = Object.keys(given).find((key) => !options.has(key));
  if (unknown === undefined) return;
  const known = [...options].map(([key, help]) => `${key} (${help})`).join(', ');
  const fix = known ? `it knows ${known}` : `${name} has no options`;
  throw refusal('PV1008', `plug-in ${name} has no option ${unknown}`, { known: fix });
}
