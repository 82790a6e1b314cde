/** The operator's files, for options that name one. */
export interface FileReader {
  /** All of a file of at most `maxBytes`. @throws Error that says why not */
  readFile(path: string, maxBytes: number): Uint8Array;
}
