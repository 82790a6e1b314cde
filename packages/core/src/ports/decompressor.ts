/** Compressions a kernel payload or a whole image file may have (Linux: CONFIG_KERNEL_*). */
export type CompressionKind = 'gzip' | 'xz' | 'lzma' | 'bzip2' | 'lz4' | 'zstd';

export interface DecompressOptions {
  /** Size after unpacking, when the container knows it. A hint from the image: not to be trusted. */
  readonly expectedSizeBytes?: number;
  /** Bytes unpacked so far, for a progress line. */
  readonly onProgress?: (doneBytes: number) => void;
}

/**
 * Unpacks one compressed stream that fills `bytes`. A damaged stream rejects with a `PolyvisorError`.
 * The result is bounded by the implementation: a small file cannot fill the memory.
 */
export interface Decompressor {
  decompress(kind: CompressionKind, bytes: Uint8Array, options?: DecompressOptions): Promise<Uint8Array>;
}
