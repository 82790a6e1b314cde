// The sources are TypeScript. Read one by one through a hook of Node's module loader they take seconds to start, so they are
// compiled by esbuild into one file beside this folder, once for each state of the sources (docs/decisions/0030).
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const packagesFolder = fileURLToPath(new URL('../..', import.meta.url));
const buildsFolder = fileURLToPath(new URL('../.build', import.meta.url));
const unusedBuildsAreKeptMs = 7 * 24 * 3600 * 1000;

/** What others may import, by its name in a build. */
const sources = {
  main: 'cli/src/main.ts',
  'region-worker': 'cli/src/node/region-worker.ts',
  core: 'core/src/index.ts',
  'plugin-api': 'plugin-api/src/index.ts',
  'plugin-hwassist': 'plugin-hwassist/src/index.ts',
  'plugin-lguest-like': 'plugin-lguest-like/src/index.ts',
  'plugin-vmi': 'plugin-vmi/src/index.ts',
  'plugin-xen': 'plugin-xen/src/index.ts',
};

/** URL of the source of each entry -> its name. */
export const entries = Object.fromEntries(
  Object.entries(sources).map(([name, source]) => [pathToFileURL(path.join(packagesFolder, source)).href, name]),
);

/** An entry that runs in a thread of its own, and the file that starts it: with the code that `vm run` has left. */
export const thread = 'region-worker';
const threadText = `import { loadProgram } from ${JSON.stringify(new URL('./program.mjs', import.meta.url).href)};
import { fileURLToPath } from 'node:url';
await loadProgram(fileURLToPath(new URL('.', import.meta.url)), 'run').entries['${thread}']();
`;

/** Found by files of their own at run time: native modules and a module in WebAssembly. */
const notCompiled = ['node-liblzma', 'node-liblzma/*', 'iced-x86', 'koffi'];

/**
 * Folder of a build of the sources as they are now; builds when there is none. Undefined where that cannot be, since the
 * folder cannot be written or the sources do not compile, and where POLYVISOR_SOURCES asks for the sources as they are.
 */
export async function compiledFolder() {
  if (process.env.POLYVISOR_SOURCES) return undefined;
  try {
    const folder = path.join(buildsFolder, stateOfSources());
    if (existsSync(folder)) utimesSync(folder, new Date(), new Date());
    else await build(folder);
    return folder;
  } catch {
    return undefined;
  }
}

/** Digest of names, sizes and times of change of the sources, which any edit changes. */
function stateOfSources() {
  const hash = createHash('sha256').update(packagesFolder);
  for (const name of readdirSync(packagesFolder).sort()) hashFolder(hash, path.join(packagesFolder, name));
  hashFile(hash, fileURLToPath(new URL('../../../pnpm-lock.yaml', import.meta.url)));
  return hash.digest('hex').slice(0, 16);
}

function hashFolder(hash, folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const at = `${folder}/${entry.name}`;
    if (entry.isDirectory() && entry.name !== 'node_modules' && !entry.name.startsWith('.')) hashFolder(hash, at);
    else if (/\.(ts|mjs|json)$/.test(entry.name) && !entry.name.endsWith('.test.ts')) hashFile(hash, at);
  }
}

function hashFile(hash, file) {
  const { size, ctimeMs } = statSync(file);
  hash.update(`${file} ${size} ${ctimeMs}\n`);
}

async function build(folder) {
  const esbuild = await import('esbuild');
  const unfinished = `${folder}.${process.pid}`;
  mkdirSync(unfinished, { recursive: true });
  const imports = Object.entries(sources).map(
    ([name, source]) => `${JSON.stringify(name)}: () => import('./${source}')`,
  );
  const { outputFiles } = await esbuild.build({
    absWorkingDir: packagesFolder,
    stdin: { contents: `export const entries = { ${imports.join(', ')} };`, resolveDir: packagesFolder, loader: 'js' },
    outfile: path.join(unfinished, 'program.cjs'),
    bundle: true,
    // A script, as V8's cache of compiled code is for scripts (program.mjs).
    format: 'cjs',
    platform: 'node',
    target: 'node20',
    sourcemap: true,
    external: notCompiled,
    // Part of the file, since a text put together from parts is copied once more (2.5 MB).
    banner: { js: '(function (module, exports, require, import_) {"use strict";' },
    footer: { js: '})' },
    plugins: [filesStayWhereTheyAre],
    logLevel: 'silent',
    write: false,
  });
  for (const { path: file, text } of outputFiles) {
    // What is imported when it is needed is not part of the program; a script leaves that to whoever runs it.
    writeFileSync(file, file.endsWith('.cjs') ? text.replaceAll(/\bimport\(/g, 'import_(') : text);
  }
  writeFileSync(path.join(unfinished, `${thread}.mjs`), threadText);
  if (existsSync(folder)) rmSync(unfinished, { recursive: true });
  else renameSync(unfinished, folder);
  dropUnusedBuilds();
}

/** `import.meta.url` is that of the source, from which paths to prebuilt guests and packages are counted. */
const filesStayWhereTheyAre = {
  name: 'files-stay-where-they-are',
  setup(build) {
    build.onLoad({ filter: /[\\/]packages[\\/].*\.ts$/ }, ({ path: file }) => {
      const text = readFileSync(file, 'utf8');
      if (!text.includes('import.meta.url')) return undefined;
      const url = JSON.stringify(pathToFileURL(file).href);
      return { contents: text.replaceAll('import.meta.url', url), loader: 'ts' };
    });
  },
};

function dropUnusedBuilds() {
  for (const name of readdirSync(buildsFolder)) {
    const folder = path.join(buildsFolder, name);
    if (statSync(folder).mtimeMs < Date.now() - unusedBuildsAreKeptMs) rmSync(folder, { recursive: true, force: true });
  }
}
