import { readFile } from 'node:fs/promises';
import type { OpsTable } from '@polyvisor/core';
import { PolyvisorError } from '@polyvisor/plugin-api';
import * as v from 'valibot';
import { fileError } from '../cli-error.ts';
import { ExitCode } from '../exit-codes.ts';

const tableSchema = v.strictObject({
  name: v.pipe(v.string(), v.minLength(1), v.maxLength(64)),
  version: v.pipe(v.string(), v.regex(/^\d+\.\d+\.\d+/, 'version has to be semver, as 1.0.0')),
  ops: v.record(v.string(), v.picklist(['own', 'native', 'nop', 'unwanted'])),
});

/** A table of ops as JSON: what is to become of each slot, without the implementations. Throws PV3002 or PV5004. */
export async function readOpsTable(file: string): Promise<OpsTable<undefined>> {
  const text = await readFile(file, 'utf8').catch((error) => {
    throw fileError(`cannot read the ops table ${file}`, error, ExitCode.USAGE);
  });
  const checked = v.safeParse(tableSchema, parse(text));
  if (!checked.success) {
    const [issue] = checked.issues;
    const path = v.getDotPath(issue);
    const what = `${file} is no ops table: ${path ? `${path}: ` : ''}${issue.message}`;
    throw new PolyvisorError(
      'PV5004',
      what,
      'write { "name", "version", "ops": { SLOT: "own"|"native"|"nop"|"unwanted" } }',
    );
  }
  const { name, version, ops } = checked.output;
  const choices = Object.entries(ops).map(([slot, kind]) => [
    slot,
    kind === 'own' ? ({ kind, implementation: undefined } as const) : kind,
  ]);
  return { name, version, ops: Object.fromEntries(choices) };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
