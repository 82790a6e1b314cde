import { PolyvisorError } from '@polyvisor/plugin-api';

/** The codes of ops modules, each with what to do. A code is never reused for another meaning. */
const moduleCodes = {
  /** The file is no ops module, or its manifest cannot be read. */
  PV5020: 'see docs/ops-modules.md for what a module has to hold',
  /** Made for another version of the API. */
  PV5021: 'build it against the API that is here, or use a version of the module made for it',
  /** Made for another guest. */
  PV5022: 'use a module made for this guest',
  /** An object of the wrong word size. */
  PV5023: 'compile it for the word size of the guest: gcc with -m64 or -m32',
  /** Two modules claim one slot. */
  PV5024: 'unload one of them, or leave one out',
  /** Symbols that the guest does not have. */
  PV5025: 'check the names against /proc/kallsyms of the guest, or declare them weak and test for null',
  /** A relocation that does not reach, or of a type that is not known. */
  PV5026: 'compile it with the options of pvops.flags; what it uses has to lie within 2 GiB',
  /** An object that cannot be linked: sections that are not supported, too large. */
  PV5027: 'see docs/ops-modules.md for how to compile one',
  /** A downgrade or a step to another major version. */
  PV5028: 'load it with --force, if it is meant',
  /** What a guest has registered cannot be read. */
  PV5029: "see docs/ops-modules.md, A guest's own table",
  /** What a guest hands over, or that it does so now, is not allowed. PV5030 is of the command line: boot lists that name modules. */
  PV5031: 'see docs/ops-modules.md, A boot loader in the guest',
} as const;

export type ModuleCode = keyof typeof moduleCodes;

/** A coded refusal of an ops module. */
export function moduleError(code: ModuleCode, message: string): PolyvisorError {
  return new PolyvisorError(code, message, moduleCodes[code]);
}

const MOST_SLOTS_NAMED = 6;

/** `count-cr3 1.0.0 (mmu.write_cr3)`: what errors call a module. */
export function moduleTitle(name: string, version: string, slots: readonly string[]): string {
  const more = slots.length > MOST_SLOTS_NAMED ? ', …' : '';
  return `${name} ${version} (${slots.slice(0, MOST_SLOTS_NAMED).join(', ') || 'no slots'}${more})`;
}
