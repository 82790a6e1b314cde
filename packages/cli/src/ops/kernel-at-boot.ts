import {
  checkModule,
  checkOpsObject,
  type KernelOps,
  LiveOps,
  Machine,
  OpsAtBoot,
  objectFor,
  type PluginRegistry,
  planInstall,
} from '@polyvisor/core';
import { API_VERSION, type ElfImage, OPS_OBJECT_API_VERSIONS, PolyvisorError } from '@polyvisor/plugin-api';
import { say } from '../diagnostics.ts';
import type { RunnableMachine } from '../options.ts';
import type { OpsFile } from './ops-file.ts';
import { opsHost, type VmOps } from './vm-ops.ts';

/** A kernel that is going to boot, and the modules that are put into it when it has patched its calls, at each boot. */
export class KernelAtBoot {
  readonly #elf: ElfImage;
  readonly #kernel: KernelOps;
  readonly #files: OpsFile[] = [];
  readonly #atBoot: OpsAtBoot;
  #machine: Machine | undefined;
  #ops: VmOps | undefined;
  /** Those that are in, or have been refused. */
  #done = 0;

  /** `kernel`: what the kernel's file says of its operations. */
  constructor(elf: ElfImage, kernel: KernelOps) {
    this.#elf = elf;
    this.#kernel = kernel;
    this.#atBoot = new OpsAtBoot(elf, API_VERSION, (settled) => this.#install(settled), kernel);
  }

  /** One more module, behind those that there are. Throws what can be seen from the kernel's file: PV5001, PV5021 to PV5024. */
  add(file: OpsFile): void {
    check(file, this.#files, this.#kernel);
    this.#files.push(file);
  }

  /** Whether it runs already, and has come too far for further modules. */
  get isFound(): boolean {
    return this.#atBoot.isFound;
  }

  /** Before the kernel's first instruction: the plug-in that notices it. */
  prepare(registry: PluginRegistry, where: string): void {
    registry.load(this.#atBoot.plugin, { where });
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
      reportRefusal(error, this.#files.slice(this.#done));
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
      reportRefusal(error, [file]);
    }
    return true;
  }
}

/** Says that modules are left out, and why. What is no refusal is thrown again. */
export function reportRefusal(error: unknown, files: readonly OpsFile[]): void {
  if (!(error instanceof PolyvisorError)) throw error;
  const names = files.map(({ manifest }) => `${manifest.name} ${manifest.version}`).join(', ');
  say(`not loaded at boot: ${names}: ${error.oneLine}`);
}

function check(file: OpsFile, others: readonly OpsFile[], { all: slots, wordBytes }: KernelOps): void {
  const { manifest, object } = file;
  // Symbols are looked at when it is linked: a kernel file need not have all that the running kernel has.
  if (object)
    checkOpsObject(objectFor(slots, object), { slots, wordBytes, symbol: () => undefined, previous: () => 0n });
  const names = file.slotsIn(slots);
  checkModule(manifest, names, { wordBytes, loaded: others, ...(object && { apiVersions: OPS_OBJECT_API_VERSIONS }) });
  const ops = Object.fromEntries(names.map((slot) => [slot, 'native'] as const));
  planInstall(slots, { name: manifest.name, version: manifest.version, ops }, 'overlay');
}
