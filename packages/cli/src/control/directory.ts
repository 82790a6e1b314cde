import { chmodSync, lstatSync, mkdirSync, unlinkSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import type { Server } from 'node:net';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';
import { controlError, firstLine } from '../cli-error.ts';
import { isVmName } from './names.ts';

/** What stands beside a VM's socket, for when the VM itself does not answer. */
const recordSchema = v.object({
  name: v.string(),
  pid: v.pipe(v.number(), v.integer()),
  image: v.string(),
  startedAt: v.string(),
});
export type VmRecord = v.InferOutput<typeof recordSchema>;

/** A VM whose socket takes connections. */
export interface FoundVm {
  readonly name: string;
  readonly socketPath: string;
  /** `undefined`: it cannot be read. */
  readonly record: VmRecord | undefined;
}

const OTHERS = 0o077;
/** unix(7): sun_path has 108 bytes, with a NUL at its end. */
const LONGEST_SOCKET_PATH_BYTES = 107;

/**
 * The folder of this user's control sockets, made if need be: in XDG_RUNTIME_DIR (XDG Base Directory Specification),
 * else under the folder for temporary files. Refused (PV3010) if anyone else owns it or may enter it.
 */
export function controlDirectory(): string {
  const uid = process.getuid?.() ?? 0;
  const runtime = process.env.XDG_RUNTIME_DIR;
  const directory =
    runtime && path.isAbsolute(runtime) ? path.join(runtime, 'polyvisor') : path.join(tmpdir(), `polyvisor-${uid}`);
  try {
    mkdirSync(directory, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw noDirectory(directory, firstLine(error));
  }
  // Not through a link: whoever made it could point it elsewhere later.
  const found = lstatSync(directory);
  if (!found.isDirectory()) throw noDirectory(directory, 'it is not a folder');
  if (found.uid !== uid) throw noDirectory(directory, `it belongs to user ${found.uid}`);
  if ((found.mode & OTHERS) !== 0) {
    throw noDirectory(directory, `others may use it (mode ${(found.mode & 0o777).toString(8)})`);
  }
  return directory;
}

function noDirectory(directory: string, why: string) {
  const fix = 'remove it or set its mode to 700, set XDG_RUNTIME_DIR to a folder of your own, or use --no-control';
  return controlError('PV3010', `no control socket in ${directory}: ${why}`, fix);
}

const socketOf = (directory: string, name: string) => path.join(directory, `${name}.sock`);
const recordOf = (directory: string, name: string) => path.join(directory, `${name}.json`);

/** A name with its socket, until it is released or the process ends. */
export interface Claim {
  readonly name: string;
  release(): void;
}

/**
 * Lets `server` listen under `wanted`, or under the first free one of `base`, `base-2`, `base-3`, … What a dead VM has
 * left under such a name is removed. Throws PV3012 if a running VM has the wanted name.
 */
export async function claimName(
  directory: string,
  server: Server,
  names: { readonly wanted: string | undefined; readonly base: string },
  record: Omit<VmRecord, 'name'>,
): Promise<Claim> {
  return await locked(directory, async () => {
    const name = names.wanted ?? (await freeName(directory, names.base));
    if (!(await isFree(directory, name))) {
      throw controlError('PV3012', `a VM named ${name} is running`, 'choose another --name, or stop it');
    }
    const socketPath = socketOf(directory, name);
    if (Buffer.byteLength(socketPath) > LONGEST_SOCKET_PATH_BYTES) {
      throw controlError(
        'PV3010',
        `the path ${socketPath} is too long for a socket`,
        'set XDG_RUNTIME_DIR to a shorter one',
      );
    }
    await listen(server, socketPath);
    const release = () => {
      process.off('exit', release);
      for (const file of [socketPath, recordOf(directory, name)]) unlinkIfThere(file);
    };
    process.on('exit', release);
    try {
      await writeFile(recordOf(directory, name), `${JSON.stringify({ name, ...record })}\n`, { mode: 0o600 });
    } catch (error) {
      server.close();
      release();
      throw noDirectory(directory, firstLine(error));
    }
    return { name, release };
  });
}

async function freeName(directory: string, base: string): Promise<string> {
  for (let number = 1; ; number++) {
    const name = number === 1 ? base : `${base}-${number}`;
    if (await isFree(directory, name)) return name;
  }
}

/** Whether no VM listens there; what is left of one is removed. */
async function isFree(directory: string, name: string): Promise<boolean> {
  if (await isListening(socketOf(directory, name))) return false;
  await rm(socketOf(directory, name), { force: true });
  await rm(recordOf(directory, name), { force: true });
  return true;
}

function listen(server: Server, socketPath: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error) => reject(noDirectory(path.dirname(socketPath), firstLine(error)));
    server.once('error', failed);
    server.listen(socketPath, () => {
      server.off('error', failed);
      // The folder keeps others out already; the mode says so once more.
      chmodSync(socketPath, 0o600);
      resolve();
    });
  });
}

function unlinkIfThere(file: string): void {
  try {
    unlinkSync(file);
  } catch {
    // Someone has cleaned up before.
  }
}

/** Whether anyone accepts connections there. A process that is stopped still does. */
function isListening(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    const answer = (listening: boolean) => {
      socket.destroy();
      resolve(listening);
    };
    socket.once('connect', () => answer(true));
    // EAGAIN: it has as many waiting as it lets wait.
    socket.once('error', (error: NodeJS.ErrnoException) => answer(error.code === 'EAGAIN'));
  });
}

/** The VMs of this user that run, by name. What dead ones have left is removed. */
export async function findVms(directory: string): Promise<FoundVm[]> {
  return await locked(directory, async () => {
    const files = await readdir(directory);
    const names = files.flatMap((file) => /^(.+)\.(?:sock|json)$/.exec(file)?.[1] ?? []).filter(isVmName);
    const found: FoundVm[] = [];
    for (const name of [...new Set(names)].sort()) {
      if (await isFree(directory, name)) continue;
      found.push({ name, socketPath: socketOf(directory, name), record: await readRecord(recordOf(directory, name)) });
    }
    return found;
  });
}

async function readRecord(file: string): Promise<VmRecord | undefined> {
  try {
    return v.parse(recordSchema, JSON.parse(await readFile(file, 'utf8')));
  } catch {
    return undefined;
  }
}

const LOCK_TRIES = 500;
const LOCK_TRY_MS = 20;
/** Nobody holds it that long; whoever did is dead. */
const LOCK_STALE_MS = 5000;

/** One process at a time: a name is looked at and taken, or a dead VM's socket removed, without another in between. */
async function locked<T>(directory: string, use: () => Promise<T>): Promise<T> {
  const lock = path.join(directory, '.lock');
  await takeLock(directory, lock);
  try {
    return await use();
  } finally {
    await rmdir(lock).catch(() => {});
  }
}

async function takeLock(directory: string, lock: string): Promise<void> {
  for (let tries = 0; tries < LOCK_TRIES; tries++) {
    try {
      await mkdir(lock);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw noDirectory(directory, firstLine(error));
    }
    const { mtimeMs } = await stat(lock).catch(() => ({ mtimeMs: Date.now() }));
    if (Date.now() - mtimeMs > LOCK_STALE_MS) await rmdir(lock).catch(() => {});
    else await sleep(LOCK_TRY_MS);
  }
  throw noDirectory(directory, `its lock ${lock} is held by another process`);
}
