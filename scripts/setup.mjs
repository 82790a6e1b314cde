// Brings node_modules up to what pnpm-lock.yaml says, with nothing but Node and npm at hand.
// Imported by the other scripts; run by itself it installs and leaves.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

const stampFile = path.join(root, 'node_modules', '.polyvisor-lock');
const minimumNode = [20, 19];

/** What an installed tree was made from; another digest means that it is stale. */
function lockDigest() {
  const hash = createHash('sha256');
  for (const file of ['package.json', 'pnpm-lock.yaml']) hash.update(readFileSync(path.join(root, file)));
  return hash.digest('hex');
}

function isInstalled() {
  return existsSync(stampFile) && readFileSync(stampFile, 'utf8') === lockDigest();
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > minimumNode[0] || (major === minimumNode[0] && minor >= minimumNode[1])) return;
  console.error(`Node ${process.versions.node} is too old: install Node ${minimumNode.join('.')} or newer`);
  process.exit(1);
}

/** Installs what is missing; answers at once when nothing is. Output goes to stderr. */
export function ensureInstalled() {
  checkNode();
  if (isInstalled()) return;
  const { packageManager } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
  console.error(`installing what is missing (${packageManager}) ...`);
  const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
  const pnpm = [
    'pnpm',
    'install',
    '--frozen-lockfile',
    '--reporter=append-only',
    '--config.confirm-modules-purge=false',
  ];
  const result = spawnSync(npm, ['exec', '--yes', `--package=${packageManager}`, '--', ...pnpm], {
    cwd: root,
    stdio: ['ignore', 2, 2],
    shell: process.platform === 'win32',
  });
  if (result.status !== 0) {
    console.error(
      `${packageManager} install failed: check the network and \`npm config get registry\`, then try again`,
    );
    process.exit(1);
  }
  writeFileSync(stampFile, lockDigest());
}

if (process.argv[1] === fileURLToPath(import.meta.url)) ensureInstalled();
