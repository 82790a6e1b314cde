import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { mkdir, readdir, rename } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { fetchError, firstLine } from '../cli-error.ts';
import { cacheDirectory } from '../node/cache.ts';
import { withTemporaryDirectory } from '../node/temporary.ts';
import type { ProgressLine } from '../progress.ts';
import { amount } from '../progress.ts';

const execFileAsync = promisify(execFile);

/** A package as a stanza of apt's lists describes it. */
interface Stanza {
  readonly name: string;
  readonly version: string;
  readonly sizeBytes: number;
  /** Names of the packages it depends on, first alternatives only. */
  readonly depends: readonly string[];
}

/** A package as apt knows it. */
export interface AptPackage extends Stanza {
  /** Options of apt's commands by which they look into the lists that have it. */
  readonly listOptions: readonly string[];
}

/** Unpacked packages, one directory each: `NAME_VERSION`. */
function packagesDirectory(): string {
  return path.join(cacheDirectory(), 'packages');
}

/** Debian's names of the architectures that guests come from. */
const ARCHITECTURES = ['amd64', 'i386'];

/**
 * apt's own lists, or, where they do not have a package, lists of ours: updating those needs no root, and they hold the
 * architectures of guests whatever the host is configured for.
 */
function privateListOptions(): string[] {
  const state = path.join(cacheDirectory(), 'apt');
  const lists = [`Dir::State::Lists=${path.join(state, 'lists')}`, `Dir::Cache=${path.join(state, 'cache')}`];
  return [...lists, ...ARCHITECTURES.map((name) => `APT::Architectures::=${name}`)].flatMap((option) => ['-o', option]);
}

const SYSTEM_LISTS: readonly string[] = [];

async function show(name: string, listOptions: readonly string[]): Promise<AptPackage | undefined> {
  const { stdout } = await execFileAsync('apt-cache', [...listOptions, 'show', '--no-all-versions', name], {
    env: { ...process.env, LC_ALL: 'C' },
    maxBuffer: 2 ** 24,
  }).catch((error) => {
    if (error.code === 'ENOENT') throw aptMissing(name);
    return { stdout: '' };
  });
  return stdout === '' ? undefined : { ...parseStanza(name, stdout), listOptions };
}

/** The first stanza of `apt-cache show` (deb-control(5)). */
export function parseStanza(name: string, text: string): Stanza {
  const field = (key: string) => new RegExp(`^${key}: (.*)$`, 'm').exec(text.split('\n\n')[0])?.[1] ?? '';
  const depends = field('Depends').split(',');
  return {
    name,
    version: field('Version'),
    sizeBytes: Number(field('Size')) || 0,
    depends: depends.map((dependency) => dependency.trim().split(/[\s|(:]/)[0]).filter((word) => word !== ''),
  };
}

function aptMissing(name: string): Error {
  return fetchError(
    `${name} cannot be fetched: there is no apt on this machine`,
    'use Debian or Ubuntu, or give a kernel file',
  );
}

/** What apt knows about a package; fetches package lists into the cache if the system has none. */
export async function findPackage(name: string, progress: ProgressLine): Promise<AptPackage> {
  const known = (await show(name, SYSTEM_LISTS)) ?? (await show(name, privateListOptions()));
  if (known) return known;
  progress.update('fetching package lists with apt');
  // One archive of several may be out of order; the others can have the package.
  const failure = await (updated ??= updatePrivateLists()).catch((error: Error) => error);
  const found = await show(name, privateListOptions());
  if (found) return found;
  if (failure) throw failure;
  throw fetchError(`apt knows no package ${name}`, 'run `apt-get update` as root, or check /etc/apt/sources.list');
}

/** Once in a process, whoever asks first. */
let updated: Promise<void> | undefined;
async function updatePrivateLists(): Promise<void> {
  const state = path.join(cacheDirectory(), 'apt');
  await mkdir(path.join(state, 'lists', 'partial'), { recursive: true });
  await mkdir(path.join(state, 'cache', 'archives', 'partial'), { recursive: true });
  await apt(['update'], privateListOptions(), state, 'package lists');
}

/** Runs apt-get in `directory`; its first complaint becomes the error. */
async function apt(
  args: readonly string[],
  listOptions: readonly string[],
  directory: string,
  what: string,
): Promise<void> {
  // As root, apt would drop to a user who may not write into the cache.
  const options = ['-q', ...listOptions, '-o', 'APT::Sandbox::User=root'];
  const child = spawn('apt-get', [...options, ...args], {
    cwd: directory,
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, LC_ALL: 'C' },
  });
  let complaints = '';
  child.stderr.on('data', (chunk: Buffer) => {
    complaints += chunk.toString();
  });
  const status = await new Promise<number>((resolve) => {
    child.on('error', () => resolve(-1));
    child.on('close', (code) => resolve(code ?? -1));
  });
  if (status === 0) return;
  if (status === -1 && complaints === '') throw aptMissing(what);
  const complaint = /^E: (.*)$/m.exec(complaints)?.[1] ?? firstLine(complaints.trim());
  throw fetchError(
    `apt-get ${args[0]} failed for ${what} (${complaint})`,
    'check the network and apt sources, then try again',
  );
}

/**
 * The directory with the members of `wanted` (tar patterns such as `./boot/vmlinuz-*`) of a
 * package, downloaded and unpacked on first use. Other members make another directory.
 */
export async function unpackedPackage(
  wanted: AptPackage,
  members: readonly string[],
  progress: ProgressLine,
): Promise<string> {
  const selection = createHash('sha256').update(members.join('\n')).digest('hex').slice(0, 8);
  const directory = path.join(packagesDirectory(), `${fileName(wanted.name)}_${fileName(wanted.version)}_${selection}`);
  if (existsSync(directory)) return directory;
  await withTemporaryDirectory(packagesDirectory(), async (temporary) => {
    const ticker = setInterval(() => {
      progress.update(`downloading ${wanted.name} ${amount(sizeOfFiles(temporary), wanted.sizeBytes)}`);
    }, 100);
    await apt(['download', `${wanted.name}=${wanted.version}`], wanted.listOptions, temporary, wanted.name).finally(
      () => clearInterval(ticker),
    );
    const deb = (await readdir(temporary)).find((file) => file.endsWith('.deb'));
    if (!deb) throw fetchError(`apt-get download left no file for ${wanted.name}`, 'try again');
    progress.update(`unpacking ${wanted.name}`);
    const content = path.join(temporary, 'content');
    await mkdir(content);
    await extract(path.join(temporary, deb), content, members);
    // Another process may have been quicker; then its directory is as good.
    await rename(content, directory).catch((error) => {
      if (!existsSync(directory)) throw error;
    });
  });
  return directory;
}

/** A package's name or version in a file's name, as apt writes it. */
const fileName = (text: string) => text.replaceAll(':', '%3a');

function sizeOfFiles(directory: string): number {
  let total = 0;
  for (const entry of readdirSync(directory))
    total += statSync(path.join(directory, entry), { throwIfNoEntry: false })?.size ?? 0;
  return total;
}

/** Unpacks the members of a .deb's data archive that match; needs no root. */
async function extract(deb: string, directory: string, members: readonly string[]): Promise<void> {
  const script =
    'deb=$1; dir=$2; shift 2; dpkg-deb --fsys-tarfile "$deb" | tar -x --no-same-owner --wildcards -C "$dir" -f - -- "$@"';
  await execFileAsync('bash', ['-o', 'pipefail', '-c', script, 'bash', deb, directory, ...members]).catch((error) => {
    throw fetchError(`${path.basename(deb)} cannot be unpacked (${firstLine(error.stderr ?? error)})`, 'try again');
  });
}

/** The newest unpacked version of a package that is wanted, if any: enough to work offline. */
export function cachedPackage(isWanted: (name: string) => boolean): string | undefined {
  const directory = packagesDirectory();
  if (!existsSync(directory)) return undefined;
  const matching = readdirSync(directory).filter((entry) => isWanted(entry.split('_')[0].replaceAll('%3a', ':')));
  const paths = matching.map((entry) => path.join(directory, entry));
  return paths.sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)[0];
}
