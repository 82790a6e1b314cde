import type { KeptModule, KeptRegions } from './region/kept-regions.ts';

/** Keeps code that has been compiled for when it is wanted again, in this run or in another one. It decides speed alone. */
export interface CodeKeeper {
  /** All regions that are kept. */
  readonly regions: KeptRegions;
  /** A module of these bytes, which may have been compiled before. */
  compile(bytes: Uint8Array): WebAssembly.Module;
  /** That of regions that are kept; undefined: what is kept has turned out to be damaged. */
  moduleOf(regions: KeptModule): WebAssembly.Module | undefined;
  /**
   * A module of the bytes that `generate` answers, which depend on nothing but this name and the program. They need not be generated where
   * they have been before.
   */
  named(name: string, generate: () => Uint8Array): WebAssembly.Module;
  /** Add a module of regions, here or elsewhere compiled. */
  keep(regions: KeptModule, module: WebAssembly.Module): void;
  /** A module is in use: from its functions can be seen later on what there is to keep. */
  instantiated(module: WebAssembly.Module, functions: WebAssembly.Exports): void;
}

/** Keeps nothing. */
export const compileOnly: Pick<CodeKeeper, 'compile' | 'named' | 'instantiated'> = {
  compile: (bytes) => new WebAssembly.Module(bytes as BufferSource),
  named: (_name, generate) => new WebAssembly.Module(generate() as BufferSource),
  instantiated() {},
};
