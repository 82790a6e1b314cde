import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';

/** What the package's typed wrapper does not offer: the i64 limit of this build is split into two arguments. */
interface RawModule {
  _lzma_auto_decoder(stream: number, memoryLimitLow: number, memoryLimitHigh: number, flags: number): number;
}

const MEMORY_LIMIT_BYTES = 256 * 1024 * 1024;
const OUTPUT_CHUNK_BYTES = 1024 * 1024;

/** Unpacks .xz and .lzma (liblzma's base.h, lzma_auto_decoder and lzma_code), some 10 MB a second. */
export async function* unpackWithLiblzmaWasm(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  const { liblzma, module } = await loadLiblzma();
  const stream = new liblzma.WasmLzmaStream(module);
  const raw = module as unknown as RawModule;
  const status = raw._lzma_auto_decoder(stream.ptr, MEMORY_LIMIT_BYTES, 0, 0);
  if (status !== liblzma.LZMA_OK) throw new Error(`liblzma status ${status}`);
  const input = liblzma.copyToWasm(module, bytes);
  const output = module._malloc(OUTPUT_CHUNK_BYTES);
  try {
    stream.setInput(input, bytes.length);
    for (let ended = false; !ended; ) {
      stream.setOutput(output, OUTPUT_CHUNK_BYTES);
      const result = liblzma.code(stream, liblzma.LZMA_FINISH);
      ended = result === liblzma.LZMA_STREAM_END;
      if (!ended && result !== liblzma.LZMA_OK) throw new Error(describe(result));
      yield liblzma.copyFromWasm(module, output, OUTPUT_CHUNK_BYTES - stream.availOut);
    }
  } finally {
    liblzma.end(stream);
    stream.free();
    module._free(input);
    module._free(output);
  }
}

/** lzma_ret (liblzma's base.h). */
function describe(result: number): string {
  const reasons: Record<number, string> = {
    6: 'it needs too much memory',
    7: 'the format is unknown',
    8: 'an option is not supported',
    9: 'it is corrupt',
    10: 'it ends too early',
  };
  return reasons[result] ?? `liblzma status ${result}`;
}

async function loadLiblzma() {
  const liblzma = await import('node-liblzma/wasm');
  const { default: createModule } = await import('node-liblzma/wasm/liblzma.js');
  const require = createRequire(import.meta.url);
  // The package's own loader fetches the binary by URL, which Node cannot do with a file.
  const wasmBinary = await readFile(path.join(path.dirname(require.resolve('node-liblzma/wasm')), 'liblzma.wasm'));
  const module = await liblzma.initModule(() => createModule({ wasmBinary }) as ReturnType<typeof liblzma.initModule>);
  return { liblzma, module };
}
