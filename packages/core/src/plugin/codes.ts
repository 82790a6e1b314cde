import { PolyvisorError } from '@polyvisor/plugin-api';

interface CodeRow {
  /** What it means. */
  readonly meaning: string;
  /** What to do; `{name}` is filled in from the refusal's details. */
  readonly fix: string;
}

/** The plug-in host's codes: PV10xx. A code is never reused for another meaning. */
export const pluginCodes = {
  PV1001: {
    meaning: 'no plug-in of this name',
    fix: 'check the spelling, give a path (./plugin.ts), or install the package that holds it',
  },
  PV1002: { meaning: "the plug-in's module failed while it was loaded", fix: 'correct {where}' },
  PV1003: {
    meaning: 'this is not a plug-in',
    fix: 'export default { name, version, api, apply(host) } from {where}',
  },
  PV1004: {
    meaning: 'the plug-in is made for another version of the API',
    fix: 'use a version of {plugin} made for plug-in API {api}',
  },
  PV1005: { meaning: 'a plug-in that is required has not been loaded', fix: 'load it first: --plugin {other}' },
  PV1006: {
    meaning: 'a plug-in that is required is there in another version',
    fix: 'use {other} in a version that satisfies {range}',
  },
  PV1007: { meaning: 'two plug-ins that cannot be loaded together', fix: 'leave out {plugin} or {other}' },
  PV1008: { meaning: 'an option that the plug-in does not know', fix: '{known}' },
  PV1009: { meaning: 'two owners for one thing', fix: 'leave out {plugin} or {other}' },
  PV1010: { meaning: 'a claim that cannot be read', fix: 'correct the claim in {plugin}' },
  PV1011: { meaning: 'two plug-ins of one name', fix: 'load {plugin} once' },
  PV1012: { meaning: 'the plug-in failed while it was applied', fix: 'report it to the authors of {plugin}' },
  PV1013: { meaning: 'a hook that can no longer be tapped', fix: '{late}' },
  PV1014: { meaning: 'a plug-in failed in a hook', fix: 'report it to the authors of {plugin}' },
  PV1015: {
    meaning: 'a hook gave an answer that the machine does not know',
    fix: 'report it to the authors of {plugin}',
  },
  PV1016: { meaning: 'plug-in options that cannot be read', fix: 'write --plugin NAME=key:value,key2:value2' },
  PV1017: { meaning: 'a tap that is not a function', fix: 'call tap(name, function) in {plugin}' },
  PV1018: { meaning: 'a file named in an option that cannot be read', fix: 'check the path given to {plugin}' },
  PV1019: { meaning: 'a plug-in that is in use cannot be removed', fix: '{first}' },
  PV1020: { meaning: 'no plug-in of this name is loaded', fix: 'loaded: {loaded}' },
  PV1021: {
    meaning: 'a plug-in that has been refused or removed goes on',
    fix: 'report it to the authors of {plugin}',
  },
  PV1022: { meaning: 'a plug-in cannot be removed while a hook is called', fix: 'do it between two instructions' },
} as const satisfies Record<string, CodeRow>;

export type PluginCode = keyof typeof pluginCodes;

/** A coded refusal. `details` fill the braces of the code's fix. */
export function refusal(
  code: PluginCode,
  message: string,
  details: Readonly<Record<string, string>> = {},
): PolyvisorError {
  return new PolyvisorError(code, message, fixOf(code, details));
}

function fixOf(code: PluginCode, details: Readonly<Record<string, string>>): string {
  return pluginCodes[code].fix.replace(/\{(\w+)\}/g, (_whole, name: string) => details[name] ?? name);
}

/** `vm` exits with it when a plug-in fails: EX_SOFTWARE of sysexits.h, an internal error and not the user's. */
const softwareFailureExitCode = 70;

export interface FailurePlace {
  readonly plugin: string;
  /** Hook as in the authoring guide: `exit.hlt`. */
  readonly hook: string;
  /** The name given to `tap`. */
  readonly tap: string;
  /** Where the guest was, if it ran. */
  readonly rip?: bigint;
}

/** A plug-in threw in a hook, or answered nonsense. The cause is what it threw. */
export class PluginFailure extends PolyvisorError {
  readonly place: FailurePlace;

  constructor(code: 'PV1014' | 'PV1015', place: FailurePlace, what: string, cause?: unknown) {
    super(
      code,
      `plug-in ${place.plugin} ${describePlace(place)}: ${what}`,
      fixOf(code, { plugin: place.plugin }),
      softwareFailureExitCode,
    );
    this.place = place;
    this.cause = cause;
  }
}

function describePlace({ plugin, hook, tap, rip }: FailurePlace): string {
  const label = tap === plugin ? '' : ` (tap ${tap})`;
  const where = rip === undefined ? '' : ` at guest RIP 0x${BigInt.asUintN(64, rip).toString(16)}`;
  return `in hook ${hook}${label}${where}`;
}

/** A refusal with a code of its own; by shape, because a plug-in may bring its own copy of the API package. */
export function isCoded(error: unknown): error is PolyvisorError {
  const candidate = error as Partial<PolyvisorError> | null | undefined;
  return error instanceof Error && typeof candidate?.code === 'string' && typeof candidate.fix === 'string';
}

/** One line for whatever was thrown; never throws itself. */
export function messageOf(thrown: unknown): string {
  try {
    return (thrown instanceof Error ? thrown.message : String(thrown)).split('\n')[0];
  } catch {
    return 'something that cannot be shown';
  }
}
