import { type PluginHost, PolyvisorError } from '@polyvisor/plugin-api';
import { readRom, type VmiRom } from './header.ts';
import { native, trap, xen } from './images.ts';

/** The ROMs that come with the plug-in. */
const BUILT_IN: ReadonlyMap<string, string> = new Map([
  ['native', native],
  ['trap', trap],
  ['xen', xen],
]);
const DEFAULT = 'trap';
/** Its VMCALLs are Xen's hypercalls. */
const CALLS_XEN = 'xen';

export interface ChosenRom {
  readonly rom: VmiRom;
  /** VMCALL in it is a call to this plug-in, with its number on the stack. */
  readonly traps: boolean;
}

/** The ROM that option `rom` names: a built-in one, or a file. @throws PolyvisorError PV1018, PV6001–PV6007 */
export function chooseRom(host: PluginHost): ChosenRom {
  const name = host.options.rom ?? DEFAULT;
  const image = BUILT_IN.get(name);
  if (image !== undefined) return { rom: readRom(name, fromBase64(image)), traps: name !== CALLS_XEN };
  if (name === '')
    throw new PolyvisorError('PV6001', 'option rom names no ROM', 'use rom:native, rom:trap, rom:xen or rom:FILE');
  return { rom: readRom(name, host.readFile(name)), traps: true };
}

function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
