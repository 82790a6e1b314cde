import {
  findKernelOps,
  type HandedOver,
  isOpsObject,
  type PluginRegistry,
  recogniseImage,
  refusedHandOver,
} from '@polyvisor/core';
import { type ElfImage, type GuestImage, PolyvisorError } from '@polyvisor/plugin-api';
import { say } from '../diagnostics.ts';
import { ExitCode } from '../exit-codes.ts';
import { fromCache } from '../node/decompress/cached.ts';
import { decompressorUpTo } from '../node/decompress/index.ts';
import type { RunnableMachine, RunOptions } from '../options.ts';
import type { FileModule } from '../prepare.ts';
import { KernelAtBoot, reportRefusal } from './kernel-at-boot.ts';
import { allowedModule, namedModule } from './named-modules.ts';
import { type OpsFile, opsFileOf, readOpsFile } from './ops-file.ts';
import type { VmOps } from './vm-ops.ts';

/** The ELF note of an image that hands over the ops modules of its boot list itself, with the kernel that they are for. */
const HANDS_OVER = { owner: 'Polyvisor', type: 1 } as const;
/** More than any kernel unpacks to; what comes from a guest must not fill the host's memory. */
const MOST_UNPACKED_BYTES = 256 << 20;

const handsOver = ({ elf }: GuestImage) =>
  elf?.notes.some(({ owner, type }) => owner === HANDS_OVER.owner && type === HANDS_OVER.type) ?? false;

/**
 * What of a list of boot modules is meant for the kernel's ops, by what it holds, and what the guest is given: all of it, if the
 * image hands such modules over by itself.
 */
export function splitBootList(
  list: readonly FileModule[],
  image: GuestImage,
): { ops: readonly FileModule[]; guests: readonly FileModule[] } {
  if (handsOver(image)) return { ops: [], guests: list };
  const ops = list.filter(({ bytes }) => isOpsObject(bytes) || namedModule(bytes) !== undefined);
  return { ops, guests: list.filter((module) => !ops.includes(module)) };
}

type ModuleOptions = Pick<RunOptions, 'modules' | 'moduleDirectory'>;

/** The ops modules that come while a kernel boots: those of `--module` and of the boot list, and what a boot loader in the guest hands over. */
export class BootModules {
  readonly #image: GuestImage;
  readonly #directory: string | undefined;
  /** Of `--module`, for a kernel that the guest hands over. */
  readonly #waiting: readonly OpsFile[];
  readonly #ofImage: KernelAtBoot | undefined;
  #machine: MachineParts | undefined;
  /** The kernel that the guest of this machine has handed over, and how many modules have come for it. */
  #handed: KernelAtBoot | undefined;
  #handedModules = 0;

  /**
   * Reads the modules and compares them with the kernel's file. Throws what can be refused before the guest starts.
   * `list`: modules of the boot list; it may name those of `moduleDirectory`.
   */
  static async open(options: ModuleOptions, list: readonly FileModule[], image: GuestImage): Promise<BootModules> {
    const { modules: references, moduleDirectory: directory } = options;
    const files: OpsFile[] = [];
    for (const { bytes, file } of list) files.push(await listed(bytes, file, directory));
    for (const reference of references) files.push(await readOpsFile(reference));
    if (files.length === 0 || handsOver(image)) return new BootModules(image, directory, files);
    const { elf } = image;
    if (!elf) {
      const what = `ops modules for ${image.name}, which holds no ELF image (${image.description})`;
      throw new PolyvisorError('PV5003', what, 'give a Linux kernel', ExitCode.IMAGE);
    }
    const kernel = new KernelAtBoot(elf, findKernelOps(elf));
    for (const file of files) kernel.add(file);
    return new BootModules(image, directory, [], kernel);
  }

  private constructor(
    image: GuestImage,
    directory: string | undefined,
    waiting: readonly OpsFile[],
    ofImage?: KernelAtBoot,
  ) {
    this.#image = image;
    this.#directory = directory;
    this.#waiting = waiting;
    this.#ofImage = ofImage;
  }

  /** Before the machine is made. */
  prepare(registry: PluginRegistry): void {
    this.#ofImage?.prepare(registry, '--module');
  }

  /** What the guest of another machine has handed over is gone. */
  started(machine: RunnableMachine, ops: VmOps, registry: PluginRegistry): void {
    this.#machine = { machine, ops, registry };
    this.#handed = undefined;
    this.#handedModules = 0;
    this.#ofImage?.started(machine, ops);
    ops.onHandOver((kind, bytes) => this.#handOver(kind, bytes));
  }

  async #handOver(kind: HandedOver, bytes: Uint8Array): Promise<void> {
    await (kind === 'kernel' ? this.#takeKernel(bytes) : this.#takeModule(bytes));
  }

  async #takeKernel(bytes: Uint8Array): Promise<void> {
    if (!this.#machine || this.#handed) throw refusedHandOver('a second kernel');
    if (isKernel(this.#image.elf))
      throw refusedHandOver(`a kernel, and the machine was started with ${this.#image.name}`);
    const name = 'the kernel that the guest hands over';
    const unpacker = fromCache(decompressorUpTo(MOST_UNPACKED_BYTES));
    const { elf, description } = await recogniseImage(bytes, name, unpacker);
    if (!elf) {
      throw new PolyvisorError(
        'PV5003',
        `${name} holds no ELF image (${description})`,
        'hand over a Linux kernel',
        ExitCode.CONTROL,
      );
    }
    const kernel = new KernelAtBoot(elf, findKernelOps(elf));
    const { machine, ops, registry } = this.#machine;
    kernel.prepare(registry, 'handed over by the guest');
    kernel.started(machine, ops);
    ops.kernelIs(elf);
    this.#handed = kernel;
    say(`the guest hands over a kernel: ${description}`);
    for (const file of this.#waiting) {
      try {
        kernel.add(file);
      } catch (error) {
        reportRefusal(error, [file]);
      }
    }
  }

  async #takeModule(bytes: Uint8Array): Promise<void> {
    const kernel = this.#handed;
    if (!kernel) throw refusedHandOver('a module before a kernel');
    if (kernel.isFound) throw refusedHandOver('a module for a kernel that runs already');
    this.#handedModules++;
    kernel.add(await listed(bytes, `module ${this.#handedModules} of the guest`, this.#directory));
  }
}

/** What a machine is made of, for what comes later. */
interface MachineParts {
  readonly machine: RunnableMachine;
  readonly ops: VmOps;
  readonly registry: PluginRegistry;
}

/** A module of a boot list, or the one that it names. Guest code, unless `directory` allows others. */
async function listed(bytes: Uint8Array, file: string, directory: string | undefined): Promise<OpsFile> {
  const name = namedModule(bytes);
  return name === undefined ? opsFileOf(bytes, file) : readOpsFile(await allowedModule(name, file, directory));
}

function isKernel(elf: ElfImage | undefined): boolean {
  try {
    return elf !== undefined && findKernelOps(elf) !== undefined;
  } catch (error) {
    if (error instanceof PolyvisorError) return false;
    throw error;
  }
}
