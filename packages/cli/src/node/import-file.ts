/** Imports a module by the URL of its file. */
export type FileImporter = (url: string) => Promise<unknown>;

/** URL of a source of this program -> URL of it compiled, if it is. */
export type CompiledFiles = (url: string) => string | undefined;

let importer: FileImporter = (url) => import(url);
let compiled: CompiledFiles = () => undefined;

/** From now on modules of TypeScript and of this program itself are found as the start script says. */
export function importFilesBy(otherImporter: FileImporter, compiledFiles: CompiledFiles): void {
  importer = otherImporter;
  compiled = compiledFiles;
}

/** URL of what an entry of this program has been compiled to; undefined where the sources run as they are. */
export function compiledFile(url: string): string | undefined {
  return compiled(url);
}

export function importFile(url: string): Promise<unknown> {
  return importer(url);
}
