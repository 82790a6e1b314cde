// The parts used here of packages that ship no types.
declare module 'lz4js' {
  /** Decodes one block into `target` at `targetOffset`; answers the offset after the last byte written. */
  export function decompressBlock(
    source: Uint8Array,
    target: Uint8Array,
    sourceOffset: number,
    sourceLength: number,
    targetOffset: number,
  ): number;
  export function decompress(source: Uint8Array, maximumSize?: number): Uint8Array;
  /** The most that a frame can unpack to, by its blocks. */
  export function decompressBound(source: Uint8Array): number;
}

declare module 'seek-bzip' {
  const bzip: { decode(source: Uint8Array, output: { writeByte(byte: number): void }): unknown };
  export default bzip;
}

declare module 'node-liblzma/wasm/liblzma.js' {
  export default function createModule(options: { wasmBinary: Uint8Array }): Promise<unknown>;
}
