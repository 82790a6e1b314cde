import { setFlagsFromString } from 'node:v8';

/** WebAssembly modules with the machine code that V8 has made of them. */
export interface NativeModules {
  /** Whether V8 has made good code of a function of a module, rather than quick code or none. */
  isGood(wasmFunction: unknown): boolean;
  /** Have V8 make it, now and in this thread, of a function that may not have run yet. */
  makeGood(wasmFunction: unknown): void;
  /** The good code of a module, of which there must be some, for this version of V8, its flags and this processor. */
  serialize(module: WebAssembly.Module): Uint8Array;
  /** A module of these bytes with good code made before; undefined: V8 does not take it. */
  deserialize(native: Uint8Array, bytes: Uint8Array): WebAssembly.Module | undefined;
}

/** V8 has these functions for its own tests, and says nothing of what they are in versions that have not been tried. */
const NODES_WITH_THESE_FUNCTIONS: readonly number[] = [20, 22, 24];

/**
 * Undefined where V8 is not known to have this. It sets a flag of V8; good code is made for all flags, so call it before
 * anything is serialized or deserialized.
 */
export function openNativeModules(): NativeModules | undefined {
  if (!NODES_WITH_THESE_FUNCTIONS.includes(Number(process.versions.node.split('.')[0]))) return undefined;
  setFlagsFromString('--allow-natives-syntax');
  const isGood = new Function('wasmFunction', 'return %IsTurboFanFunction(wasmFunction)');
  const makeGood = new Function('wasmFunction', '%WasmTierUpFunction(wasmFunction)');
  const serialize = new Function('module', 'return %SerializeWasmModule(module)');
  const deserialize = new Function('native', 'bytes', 'return %DeserializeWasmModule(native, bytes)');
  return {
    isGood: (wasmFunction) => isGood(wasmFunction),
    makeGood: (wasmFunction) => makeGood(wasmFunction),
    serialize: (module) => new Uint8Array(serialize(module)),
    // Both must begin their buffers, which those that have been read do not.
    deserialize: (native, bytes) => deserialize(new Uint8Array(native).buffer, new Uint8Array(bytes)),
  };
}
