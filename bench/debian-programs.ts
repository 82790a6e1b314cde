/** Programs of Debian that loads run, with the libraries and headers they need, collected from its packages. */
import { existsSync, statSync } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, realpath } from 'node:fs/promises';
import path from 'node:path';
import { type AptPackage, findPackage, unpackedPackage } from '../packages/cli/src/catalogue/apt.ts';
import type { ProgressLine } from '../packages/cli/src/progress.ts';

interface Program {
  readonly packageName: string;
  readonly name: string;
  /** Its libraries by the names that the dynamic linker looks for (DT_NEEDED), and theirs. */
  readonly libraries: readonly string[];
}

const loaderName = 'ld-linux-x86-64.so.2';
const readline = ['libreadline.so.8', 'libtinfo.so.6'];
const libc = ['libc.so.6', 'libm.so.6', loaderName];

/** By the load that needs it. */
const programs: Readonly<Record<string, Program>> = {
  lua: { packageName: 'lua5.4', name: 'lua5.4', libraries: [...readline, ...libc] },
  sqlite: {
    packageName: 'sqlite3',
    name: 'sqlite3',
    libraries: ['libsqlite3.so.0', 'libz.so.1', ...readline, ...libc],
  },
  xz: { packageName: 'xz-utils', name: 'xz', libraries: ['liblzma.so.5', ...libc] },
  tcc: { packageName: 'tcc', name: 'tcc', libraries: ['libdl.so.2', 'libpthread.so.0', ...libc] },
};

/** An unpacked package and its files, as paths relative to it. */
interface Unpacked {
  readonly directory: string;
  readonly files: readonly string[];
}

const lookedUp = new Map<string, AptPackage>();

/** What apt knows about a package, asked once: it takes apt a second or two. */
async function lookUp(name: string, progress: ProgressLine): Promise<AptPackage> {
  const found = lookedUp.get(name) ?? (await findPackage(name, progress));
  lookedUp.set(name, found);
  return found;
}

async function unpack(name: string, members: readonly string[], progress: ProgressLine): Promise<Unpacked> {
  const directory = await unpackedPackage(await lookUp(name, progress), members, progress);
  return { directory, files: await readdir(directory, { recursive: true }) };
}

/** Where a file of this name lies; a link only if what it names is in the package too. */
async function fileNamed({ directory, files }: Unpacked, name: string): Promise<string | undefined> {
  for (const file of files.filter((candidate) => path.basename(candidate) === name)) {
    const target = await realpath(path.join(directory, file)).catch(() => '');
    if (target.startsWith(await realpath(directory)) && statSync(target).isFile()) return target;
  }
  return undefined;
}

async function place(from: Unpacked, name: string, directory: string): Promise<void> {
  const file = await fileNamed(from, name);
  if (!file) throw new Error(`${from.directory} holds no ${name}: remove it and try again`);
  await mkdir(directory, { recursive: true });
  await copyFile(file, path.join(directory, name));
}

/** Libraries come from the packages that the program's package depends on, and those in turn. */
async function placeLibraries(program: Program, directory: string, progress: ProgressLine): Promise<void> {
  const missing = new Set(program.libraries.filter((name) => !existsSync(path.join(directory, name))));
  const seen = new Set([program.packageName]);
  for (const packageName of seen) {
    if (missing.size === 0) return;
    const { depends } = await lookUp(packageName, progress);
    for (const name of depends) if (/^(lib|zlib)/.test(name)) seen.add(name);
    if (packageName === program.packageName) continue;
    const unpacked = await unpack(packageName, ['*.so*'], progress);
    for (const name of missing) {
      if (!(await fileNamed(unpacked, name))) continue;
      await place(unpacked, name, directory);
      missing.delete(name);
    }
  }
  if (missing.size > 0)
    throw new Error(`no package that ${program.packageName} needs holds ${[...missing].join(', ')}`);
}

const includePattern = /^[ \t]*#[ \t]*include[ \t]*[<"]([^>"]+)[>"]/gm;

/** The headers that `source` includes, and those that they include, from packages into `directory`. */
async function placeHeaders(source: string, from: readonly Unpacked[], directory: string): Promise<void> {
  const wanted = new Set([...(await readFile(source, 'utf8')).matchAll(includePattern)].map(([, name]) => name));
  for (const name of wanted) {
    // Debian keeps what depends on the processor in a folder of its own.
    const places = [`usr/include/${name}`, `usr/include/x86_64-linux-gnu/${name}`];
    const candidates = from.flatMap((unpacked) => places.map((place) => path.join(unpacked.directory, place)));
    const file = candidates.find(existsSync);
    // The compiler's own, or behind a condition that does not hold here.
    if (!file) continue;
    const target = path.join(directory, name);
    await mkdir(path.dirname(target), { recursive: true });
    await copyFile(file, target);
    for (const [, included] of (await readFile(file, 'utf8')).matchAll(includePattern)) {
      wanted.add(included);
      wanted.add(path.posix.join(path.posix.dirname(name), included));
    }
  }
}

async function placeCompiler(source: string, directory: string, progress: ProgressLine): Promise<void> {
  const compiler = await unpack('tcc', ['*/bin/tcc', '*/tcc/libtcc1.a', '*/tcc/include/*'], progress);
  await place(compiler, 'libtcc1.a', path.join(directory, 'tcc'));
  for (const file of compiler.files.filter((name) => /\/tcc\/include\/\w+\.h$/.test(name)))
    await place(compiler, path.basename(file), path.join(directory, 'tcc', 'include'));
  const development = await unpack('libc6-dev', ['*/include/*.h', '*/crt1.o', '*/crti.o', '*/crtn.o'], progress);
  for (const name of ['crt1.o', 'crti.o', 'crtn.o']) await place(development, name, path.join(directory, 'lib'));
  const kernelHeaders = await unpack('linux-libc-dev', ['*/include/*.h'], progress);
  await placeHeaders(source, [development, kernelHeaders], path.join(directory, 'include'));
}

/** Puts into `directory` what the loads of these names need: bin/, lib/, and for the compiler tcc/ and include/. */
export async function placeDebianPrograms(
  loadNames: readonly string[],
  compiledSource: string,
  directory: string,
  progress: ProgressLine,
): Promise<void> {
  for (const [loadName, program] of Object.entries(programs)) {
    if (!loadNames.includes(loadName)) continue;
    if (loadName === 'tcc') await placeCompiler(compiledSource, directory, progress);
    const unpacked = await unpack(program.packageName, [`*/bin/${program.name}`], progress);
    await place(unpacked, program.name, path.join(directory, 'bin'));
    await placeLibraries(program, path.join(directory, 'lib'), progress);
  }
}
