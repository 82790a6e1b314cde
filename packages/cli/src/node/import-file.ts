/** What the start script offers to the program: how this program's own modules are found, and a user's in TypeScript. */
export interface Loader {
  /** Imports a module by the URL of its file. */
  importFile(url: string): Promise<unknown>;
  /** URL of a source of this program -> URL of what a thread is started from; undefined where the sources run as they are. */
  threadFile(url: string): string | undefined;
  /** Tells that the code of what the program has done by now is worth keeping for the next time. */
  readonly keepCode?: (() => void) | undefined;
}

let loader: Loader = { importFile: (url) => import(url), threadFile: () => undefined };

/** From now on modules are found as the start script says. */
export function importFilesBy(other: Loader): void {
  loader = other;
}

export function threadFile(url: string): string | undefined {
  return loader.threadFile(url);
}

export function importFile(url: string): Promise<unknown> {
  return loader.importFile(url);
}
