/** Loads the modules of plug-ins; the adapter knows the file system and the package manager's folders. */
export interface ModuleImporter {
  /**
   * The module's namespace, or `undefined` when there is no such module. Throws what the module itself throws.
   * @param specifier a path or URL of a file, or the name of a package
   */
  importModule(specifier: string, kind: 'path' | 'package'): Promise<unknown>;
}
