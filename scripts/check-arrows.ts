/**
 * Holds the arrows of arrows.ts: imports between rooms and packages, no `node:` where a browser must
 * do, no hypervisor's name in core, no cycles between files, a README in every room.
 * Prints one line for each breach and exits 1, or says how many files it has seen.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { coreRooms, hypervisorNames, packages } from './arrows.ts';

interface SourceFile {
  /** Relative to the repository, with `/`. */
  readonly file: string;
  readonly packageName: string;
  /** A room of core, or `undefined` outside core and for core's own index. */
  readonly room: string | undefined;
  readonly isTest: boolean;
  readonly text: string;
  readonly imports: readonly string[];
}

export interface Report {
  readonly files: number;
  readonly breaches: readonly string[];
}

export function checkArrows(root: string): Report {
  const sources = readSources(root);
  const breaches = [
    ...sources.flatMap((source) => source.imports.flatMap((specifier) => importBreaches(source, specifier))),
    ...sources.flatMap(nameBreaches),
    ...cycleBreaches(sources),
    ...readmeBreaches(root, sources),
  ];
  return { files: sources.length, breaches };
}

function readSources(root: string): SourceFile[] {
  const packagesDir = path.join(root, 'packages');
  return readdirSync(packagesDir).flatMap((packageName) => {
    const src = path.join(packagesDir, packageName, 'src');
    if (!existsSync(src)) return [];
    const names = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
    return names.map((name) => readSource(root, packageName, path.join(src, name)));
  });
}

function readSource(root: string, packageName: string, fullPath: string): SourceFile {
  const file = path.relative(root, fullPath).split(path.sep).join('/');
  const text = readFileSync(fullPath, 'utf8');
  const [, , , first, ...rest] = file.split('/');
  return {
    file,
    packageName,
    room: packageName === 'core' && rest.length > 0 ? first : undefined,
    isTest: file.endsWith('.test.ts') || file.includes('/testing/'),
    text,
    imports: ts.preProcessFile(text, true, true).importedFiles.map((imported) => imported.fileName),
  };
}

function ruleOf(packageName: string) {
  return packages[packageName] ?? (packageName.startsWith('plugin-') ? packages['plugin-*'] : undefined);
}

function importBreaches(source: SourceFile, specifier: string): string[] {
  const say = (why: string) => [`${source.file}: imports ${specifier}: ${why}`];
  const rule = ruleOf(source.packageName);
  if (!rule) return say(`package ${source.packageName} has no row in scripts/arrows.ts`);
  if (specifier.startsWith('.')) return relativeBreaches(source, specifier, say);
  if (specifier.startsWith('node:')) {
    return rule.node || source.isTest ? [] : say(`${source.packageName} runs in a browser; go through a port`);
  }
  if (!specifier.startsWith('@polyvisor/')) return [];
  const allowed = [...rule.workspace, ...(source.isTest ? rule.inTests : [])];
  if (allowed.includes('*') || allowed.includes(specifier)) return [];
  return say(`${source.packageName} may import ${allowed.join(', ') || 'no workspace package'}`);
}

function relativeBreaches(source: SourceFile, specifier: string, say: (why: string) => string[]): string[] {
  const target = resolveRelative(source, specifier);
  if (!target.startsWith(`packages/${source.packageName}/`)) return say('reaches outside its package');
  if (source.isTest || source.room === undefined) return [];
  const allowed = coreRooms[source.room];
  if (!allowed) return say(`room ${source.room} has no row in scripts/arrows.ts`);
  const targetRoom = target.split('/').length > 4 ? target.split('/')[3] : 'index.ts';
  if (targetRoom === source.room || allowed.includes(targetRoom)) return [];
  return say(`${source.room} may import ${allowed.join(', ') || 'nothing'}`);
}

function resolveRelative(source: SourceFile, specifier: string): string {
  return path.posix.normalize(path.posix.join(path.posix.dirname(source.file), specifier));
}

/** Splits identifiers into words, so that `XSAVE` or `minimum` are not taken for names. */
function wordsOf(token: string): string[] {
  return token
    .replace(/([a-z0-9])([A-Z])/g, '$1 $2')
    .toLowerCase()
    .split(/[^a-z]+/);
}

function nameBreaches(source: SourceFile): string[] {
  if (source.packageName !== 'core' || source.isTest) return [];
  const found = new Set<string>();
  const visit = (node: ts.Node): void => {
    const named = ts.isIdentifier(node) || ts.isLiteralExpression(node) || ts.isTemplateLiteralToken(node);
    const words = named ? wordsOf(node.text) : [];
    for (const word of words) if (hypervisorNames.includes(word)) found.add(word);
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(source.file, source.text, ts.ScriptTarget.Latest));
  return [...found].map((word) => `${source.file}: names ${word}: core never names a hypervisor`);
}

function cycleBreaches(sources: readonly SourceFile[]): string[] {
  const edges = new Map(
    sources.map((source) => [
      source.file,
      source.imports.filter((name) => name.startsWith('.')).map((name) => resolveRelative(source, name)),
    ]),
  );
  const done = new Set<string>();
  const breaches: string[] = [];
  const visit = (file: string, trail: readonly string[]): void => {
    const start = trail.indexOf(file);
    if (start >= 0) breaches.push(`${[...trail.slice(start), file].join(' → ')}: an import cycle`);
    if (start >= 0 || done.has(file)) return;
    for (const next of edges.get(file) ?? []) visit(next, [...trail, file]);
    done.add(file);
  };
  for (const file of edges.keys()) visit(file, []);
  return breaches;
}

/** A package's README may stand in its `src`. */
function readmeBreaches(root: string, sources: readonly SourceFile[]): string[] {
  const packageRooms = sources.map(({ packageName }) => [`packages/${packageName}`, `packages/${packageName}/src`]);
  const coreRoomsSeen = sources.flatMap(({ room }) => (room ? [[`packages/core/src/${room}`]] : []));
  const rooms = new Map([...packageRooms, ...coreRoomsSeen].map((places) => [places[0], places]));
  const has = (place: string) => existsSync(path.join(root, place, 'README.md'));
  const without = [...rooms].filter(([, places]) => !places.some(has));
  return without.map(([room]) => `${room}: no README.md: say in a few lines what lives here and what it may import`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const report = checkArrows(path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..'));
  for (const breach of report.breaches) console.error(breach);
  console.log(`arrows: ${report.files} files, ${report.breaches.length} breaches`);
  process.exitCode = report.breaches.length > 0 ? 1 : 0;
}
