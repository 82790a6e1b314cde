import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { fetchError } from '../cli-error.ts';
import type { ProgressLine } from '../progress.ts';
import { findPackage, unpackedPackage } from './apt.ts';

/** Debian's Xen for amd64, as packed: the path of a gzip-compressed image. @throws PolyvisorError PV3003 if it cannot be had */
export async function debianXen(progress: ProgressLine): Promise<string> {
  const { depends } = await findPackage('xen-system-amd64', progress);
  const name = depends.find((candidate) => /^xen-hypervisor-[\d.]+-amd64$/.test(candidate));
  const folder =
    name && path.join(await unpackedPackage(await findPackage(name, progress), ['*/boot/xen-*.gz'], progress), 'boot');
  const file = folder && (await readdir(folder)).find((candidate) => candidate.endsWith('.gz'));
  if (!file) throw fetchError('a hypervisor of package xen-system-amd64', 'run apt-get update and try again');
  return path.join(folder, file);
}
