import { type OpsManifest, PolyvisorError } from '@polyvisor/plugin-api';
import { latin1 } from '../loader/image/byte-reader.ts';
import { type ElfObject, isElfObject, parseElfObject } from '../loader/image/elf-object.ts';
import { MANIFEST_SECTION, type ObjectEntry, readEntries } from './link/entries.ts';
import { layOut, type ModuleLayout } from './link/layout.ts';
import { type Bases, type LinkAnswers, type Linkable, type LinkedObject, link } from './link/link.ts';
import { parseManifestText, readManifest } from './manifest.ts';
import type { OpsSlot } from './model.ts';
import { moduleError, moduleTitle } from './module-error.ts';

/** An ops module that is an ELF object, read and laid out: ready to be linked for any guest of its word size. */
export interface OpsObject {
  readonly manifest: OpsManifest;
  readonly wordBytes: 4 | 8;
  readonly slots: readonly string[];
  readonly file: Uint8Array;
  readonly object: ElfObject;
  readonly layout: ModuleLayout;
  readonly entries: readonly ObjectEntry[];
}

/**
 * Whether a file is an ops module by what it holds: an ELF object with a section `.pvops.manifest`. Whatever else it is,
 * damaged or not, is none.
 */
export function isOpsObject(bytes: Uint8Array): boolean {
  if (!isElfObject(bytes)) return false;
  try {
    return parseElfObject(bytes).sections.some(({ name }) => name === MANIFEST_SECTION);
  } catch (error) {
    if (error instanceof PolyvisorError) return false;
    throw error;
  }
}

/**
 * Reads an ops module. `where` is its file's name, for errors. Throws `PolyvisorError` PV2001 and PV2002 for what is no ELF
 * object, PV5020 for one without a manifest or with a bad one, PV5027 for one that cannot be laid out.
 */
export function readOpsObject(bytes: Uint8Array, where: string): OpsObject {
  const object = namingFile(where, () => parseElfObject(bytes));
  const section = object.sections.find(({ name }) => name === MANIFEST_SECTION);
  if (!section) throw moduleError('PV5020', `${where} is no ops module: it has no section ${MANIFEST_SECTION}`);
  const manifest = readManifest(parseManifestText(latin1(section.bytes), where), where);
  const entries = readEntries(object);
  if (typeof entries === 'string') throw moduleError('PV5020', `${where} is no ops module: ${entries}`);
  const slots = entries.map(({ slot }) => slot);
  const layout = layOut(object, entries.length);
  if (typeof layout === 'string') {
    throw moduleError('PV5027', `ops module ${moduleTitle(manifest.name, manifest.version, slots)}: ${layout}`);
  }
  return { manifest, wordBytes: object.class === 64 ? 8 : 4, slots, file: bytes, object, layout, entries };
}

function namingFile<T>(where: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof PolyvisorError)) throw error;
    throw new PolyvisorError(error.code, `ops module ${where}: ${error.message}`, error.fix);
  }
}

/** What of a module is for a kernel with these slots: all but optional operations for slots that are not among them. */
export function objectFor(slots: readonly OpsSlot[], module: OpsObject): OpsObject {
  const isThere = (name: string) => slots.some((slot) => slot.name === name);
  const entries = module.entries.filter(({ slot, isOptional }) => !isOptional || isThere(slot));
  return entries.length === 0 ? module : { ...module, entries, slots: entries.map(({ slot }) => slot) };
}

/** What a module is linked against. */
export interface LinkGuest extends LinkAnswers {
  readonly wordBytes: 4 | 8;
  readonly slots: readonly OpsSlot[];
}

const titleOf = ({ manifest, slots }: OpsObject) => moduleTitle(manifest.name, manifest.version, slots);

/**
 * What can be refused before there is memory for it. Throws `PolyvisorError` PV5023 for another word size, PV5001 for slots
 * that the guest does not have.
 */
export function checkOpsObject(module: OpsObject, guest: LinkGuest): void {
  if (module.wordBytes !== guest.wordBytes) {
    const what = `is ${module.wordBytes * 8}-bit code, the guest's kernel is ${guest.wordBytes * 8}-bit`;
    throw moduleError('PV5023', `ops module ${titleOf(module)} ${what}`);
  }
  const strangers = module.slots.filter((name) => !guest.slots.some((slot) => slot.name === name));
  if (strangers.length === 0) return;
  const fix = '`vm ops report` lists the slots that there are';
  throw new PolyvisorError(
    'PV5001',
    `ops module ${titleOf(module)} names slots that the kernel does not have: ${strangers.join(', ')}`,
    fix,
  );
}

/** The bytes for a place. Throws as {@link link} does. */
export function linkOpsObject(module: OpsObject, guest: LinkGuest, bases: Bases): LinkedObject {
  const linkable: Linkable = {
    title: titleOf(module),
    object: module.object,
    layout: module.layout,
    entries: module.entries,
    // Where it is not known, keeping them is right for all callers.
    keepsRegisters: (slot) => guest.slots.find(({ name }) => name === slot)?.convention !== 'c',
  };
  return link(linkable, bases, guest);
}
