import {
  checkModule,
  checkOpsObject,
  findKernelOps,
  isOpsObject,
  type KernelOps,
  LiveOps,
  Machine,
  OpsAtBoot,
  objectFor,
  type PluginRegistry,
  planInstall,
} from '@polyvisor/core';
import {
  API_VERSION,
  type ElfImage,
  type GuestImage,
  OPS_OBJECT_API_VERSIONS,
  PolyvisorError,
} from '@polyvisor/plugin-api';
import { say } from '../diagnostics.ts';
import { ExitCode } from '../exit-codes.ts';
import type { RunnableMachine, RunOptions } from '../options.ts';
import type { FileModule } from '../prepare.ts';
import { allowedModule, namedModule } from './named-modules.ts';
import { type OpsFile, opsFileOf, readOpsFile } from './ops-file.ts';
import { opsHost, type VmOps } from './vm-ops.ts';

/** What of a list of boot modules is meant for the kernel's ops, by what it holds, and what the guest is given. */
export function splitBootList(list: readonly FileModule[]): {
  ops: readonly FileModule[];
  guests: readonly FileModule[];
} {
  const ops = list.filter(({ bytes }) => isOpsObject(bytes) || namedModule(bytes) !== undefined);
  return { ops, guests: list.filter((module) => !ops.includes(module)) };
}

/** The ops modules of `vm run`, of `--module` and of the boot list: put into the kernel while it boots, at each boot. */
export class BootModules {
  readonly #elf: ElfImage;
  readonly #files: readonly OpsFile[];
  readonly #atBoot: OpsAtBoot;
  #machine: Machine | undefined;
  #ops: VmOps | undefined;
  /** Those that are in, or have been refused. */
  #done = 0;

  /**
   * Reads the modules and compares them with the kernel's file. Throws what can be refused before the guest starts.
   * `directory`: whose modules the list may name.
   */
  static async open(
    { modules: references, moduleDirectory: directory }: Pick<RunOptions, 'modules' | 'moduleDirectory'>,
    list: readonly FileModule[],
    image: GuestImage,
  ): Promise<BootModules | undefined> {
    if (references.length + list.length === 0) return undefined;
    const files: OpsFile[] = [];
    for (const { bytes, file } of list) {
      const name = namedModule(bytes);
      files.push(
        name === undefined ? opsFileOf(bytes, file) : await readOpsFile(await allowedModule(name, file, directory)),
      );
    }
    for (const reference of references) files.push(await readOpsFile(reference));
    const { elf } = image;
    if (!elf) {
      const what = `ops modules for ${image.name}, which holds no ELF image (${image.description})`;
      throw new PolyvisorError('PV5003', what, 'give a Linux kernel', ExitCode.IMAGE);
    }
    const kernel = findKernelOps(elf);
    for (const [at, file] of files.entries()) check(file, files.slice(0, at), kernel);
    return new BootModules(elf, files);
  }

  private constructor(elf: ElfImage, files: readonly OpsFile[]) {
    this.#elf = elf;
    this.#files = files;
    this.#atBoot = new OpsAtBoot(elf, API_VERSION, (settled) => this.#install(settled));
  }

  /** Before the machine is made. */
  prepare(registry: PluginRegistry): void {
    registry.load(this.#atBoot.plugin, { where: '--module' });
  }

  started(machine: RunnableMachine, ops: VmOps): void {
    if (!(machine instanceof Machine)) return;
    this.#machine = machine;
    this.#ops = ops;
    this.#done = 0;
    this.#atBoot.started(machine);
  }

  /** False: the guest is not where its kernel can be changed. A module that is refused is told of, and left out. */
  #install(settled: boolean): boolean {
    const machine = this.#machine;
    if (!machine || !this.#ops) return true;
    try {
      const live = this.#ops.attachAtBoot(() => LiveOps.attach(machine, this.#elf, opsHost, true));
      if (!live) return false;
      for (; this.#done < this.#files.length; this.#done++) {
        if (!this.#load(live, this.#files[this.#done], settled)) return false;
      }
    } catch (error) {
      report(error, this.#files.slice(this.#done));
    }
    return true;
  }

  #load(live: LiveOps, file: OpsFile, settled: boolean): boolean {
    const { name, version } = file.manifest;
    try {
      const change = file.loadInto(live, { settled });
      if (!change) return false;
      say(`ops module ${name} ${version} loaded at boot: ${change.sites} call sites written`);
    } catch (error) {
      report(error, [file]);
    }
    return true;
  }
}

function report(error: unknown, files: readonly OpsFile[]): void {
  if (!(error instanceof PolyvisorError)) throw error;
  const names = files.map(({ manifest }) => `${manifest.name} ${manifest.version}`).join(', ');
  say(`not loaded at boot: ${names}: ${error.oneLine}`);
}

function check(file: OpsFile, others: readonly OpsFile[], { slots, wordBytes }: KernelOps): void {
  const { manifest, object } = file;
  // Symbols are looked at when it is linked: a kernel file need not have all that the running kernel has.
  if (object)
    checkOpsObject(objectFor(slots, object), { slots, wordBytes, symbol: () => undefined, previous: () => 0n });
  const names = file.slotsIn(slots);
  checkModule(manifest, names, { wordBytes, loaded: others, ...(object && { apiVersions: OPS_OBJECT_API_VERSIONS }) });
  const ops = Object.fromEntries(names.map((slot) => [slot, 'native'] as const));
  planInstall(slots, { name: manifest.name, version: manifest.version, ops }, 'overlay');
}
