import { readFileSync, statSync } from 'node:fs';

/** Files named in plug-in options, from the working folder. */
export const nodeFiles = {
  readFile(path: string, maxBytes: number): Uint8Array {
    const status = statSync(path);
    if (!status.isFile()) throw new Error('it is no regular file');
    const { size } = status;
    if (size > maxBytes) throw new Error(`it has ${size} bytes, more than ${maxBytes}`);
    return readFileSync(path);
  },
};
