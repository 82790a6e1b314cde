import { readFile } from 'node:fs/promises';
import {
  isOpsObject,
  type LiveOps,
  type LoadOptions,
  type OpsChange,
  type OpsObject,
  type OpsSlot,
  objectFor,
  opsFor,
  readOpsObject,
} from '@polyvisor/core';
import type { OpsManifest } from '@polyvisor/plugin-api';
import { fileError } from '../cli-error.ts';
import { ExitCode } from '../exit-codes.ts';
import { nodeModuleImporter } from '../node/plugin-import.ts';
import { importOps } from './import-ops.ts';

/** An ops module that has been read, of either kind. */
export interface OpsFile {
  readonly manifest: OpsManifest;
  readonly slots: readonly string[];
  /** Those of them that it would have in a kernel with these slots. */
  slotsIn(kernel: readonly OpsSlot[]): readonly string[];
  /** Those that it is going to have in a kernel that runs. */
  slotsFor(live: LiveOps): readonly string[];
  /** Its code, if it is guest code. */
  readonly object: OpsObject | undefined;
  loadInto(live: LiveOps, options: LoadOptions): OpsChange | undefined;
}

/**
 * `reference`: `NAME-ops` of a plug-in, or a path to a file, TypeScript's or an object: what it is, is seen by what it holds.
 * Throws PV3002, PV5020, PV5027, and PV2001 or PV2002 for an object that cannot be read.
 */
export async function readOpsFile(reference: string): Promise<OpsFile> {
  const isName = !reference.includes('/') && !reference.includes('.');
  const bytes = isName ? undefined : await readModule(reference);
  if (bytes && (isOpsObject(bytes) || reference.endsWith('.o'))) return opsFileOf(bytes, reference);
  const module = await importOps(reference, nodeModuleImporter());
  const slots = Object.keys(module.ops);
  return {
    manifest: module,
    slots,
    slotsIn: (kernel) => Object.keys(opsFor(kernel, module)),
    slotsFor: (live) => live.slotsOf(module),
    object: undefined,
    loadInto: (live, options) => live.load(module, options),
  };
}

/** An ops module in guest code, of a file that has been read. Throws PV5020, PV5027, PV2001, PV2002. */
export function opsFileOf(bytes: Uint8Array, file: string): OpsFile {
  const object = readOpsObject(bytes, file);
  const { manifest, slots } = object;
  return {
    manifest,
    slots,
    slotsIn: (kernel) => objectFor(kernel, object).slots,
    slotsFor: ({ kernel }) => objectFor(kernel.ops.all, object).slots,
    object,
    loadInto: (live, options) => live.loadObject(object, options),
  };
}

async function readModule(file: string): Promise<Uint8Array> {
  return await readFile(file).catch((error) => {
    throw fileError(`cannot read the ops module ${file}`, error, ExitCode.USAGE);
  });
}
