import { type PluginHost, PolyvisorError } from '@polyvisor/plugin-api';
import { readRom, type VmiRom } from './header.ts';
import { native, trap } from './images.ts';

/** The ROMs that come with the plug-in. */
const BUILT_IN: ReadonlyMap<string, string> = new Map([
  ['native', native],
  ['trap', trap],
]);
const DEFAULT = 'trap';
/** Names that are kept for ROMs to come: never a file's. */
const NOT_IMPLEMENTED: ReadonlySet<string> = new Set(['xen']);

/** The ROM that option `rom` names: a built-in one, or a file. @throws PolyvisorError PV1018, PV6001–PV6007 */
export function chooseRom(host: PluginHost): VmiRom {
  const name = host.options.rom ?? DEFAULT;
  const image = BUILT_IN.get(name);
  if (image !== undefined) return readRom(name, fromBase64(image));
  if (NOT_IMPLEMENTED.has(name)) {
    throw new PolyvisorError(
      'PV6001',
      `ROM ${name} is NOT IMPLEMENTED yet`,
      `use ${[...BUILT_IN.keys()].join(', ')} or a file`,
    );
  }
  if (name === '')
    throw new PolyvisorError('PV6001', 'option rom names no ROM', 'use rom:native, rom:trap or rom:FILE');
  return readRom(name, host.readFile(name));
}

function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
