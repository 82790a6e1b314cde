import {
  type DirectCode,
  type DirectKind,
  type Entry,
  PLATFORM_CHIPS,
  type PlatformChip,
  type PlatformDefinition,
  PolyvisorError,
} from '@polyvisor/plugin-api';
import { Builder } from '../ir/builder.ts';
import { decode } from '../isa/decoder.ts';
import { BuilderCode } from '../isa/direct-code.ts';
import { CORE } from '../loader/boot/doors.ts';
import type { MachineOptions } from './options.ts';

/** An instruction of each kind, to try code on. */
const EXAMPLES: Readonly<Record<Exclude<DirectKind, 'pageFault'>, readonly number[]>> = {
  syscall: [0x0f, 0x05],
  sysenter: [0x0f, 0x34],
  iret: [0x48, 0xcf],
  hypercall: [0x0f, 0x01, 0xc1],
  softwareInterrupt: [0xcd, 0x80],
  in: [0xec],
};

/** State blocks beside the one that the engine works on (memory/layout.ts) are there for more. */
const MOST_VCPUS = 8;

/** What the plug-ins are shown before memory is allocated. A native door brings the chips of a PC. */
export class DefinedPlatform implements PlatformDefinition {
  readonly entry: Entry;
  readonly chips: Set<PlatformChip>;
  readonly memoryBytes: number;
  overheadBytes = 0;
  roomForOps: boolean;
  vcpus: number;
  mostVcpus: number;
  readonly commandLine: string;
  readonly #directCode = new Map<DirectKind, (code: DirectCode) => void>();

  readonly #took: (what: string) => void;

  /** @param took told what a plug-in has made part of the machine */
  constructor(entry: Entry, { chips, memoryBytes, commandLine, vcpus }: MachineOptions, took: (what: string) => void) {
    this.#took = took;
    const isNative = entry.plugin === CORE;
    this.entry = entry;
    this.chips = new Set([...(isNative ? PLATFORM_CHIPS : []), ...(chips ?? [])]);
    this.memoryBytes = memoryBytes;
    this.roomForOps = isNative;
    this.commandLine = commandLine;
    this.vcpus = vcpus ?? 1;
    this.mostVcpus = isNative ? MOST_VCPUS : 1;
  }

  /** @throws PolyvisorError PV2024 unless there are vCPUs, and no more than the door takes */
  checkVcpus(): void {
    const { vcpus, mostVcpus, entry } = this;
    const most = Math.min(mostVcpus, MOST_VCPUS);
    if (Number.isInteger(vcpus) && vcpus >= 1 && vcpus <= most) return;
    const takes = most === 1 ? 'one vCPU alone' : `1 to ${most} vCPUs`;
    throw new PolyvisorError(
      'PV2024',
      `door ${entry.name} (${entry.abi}) takes ${takes}, not ${vcpus}`,
      'give another --cpus',
      2,
    );
  }

  get directCode(): ReadonlyMap<DirectKind, (code: DirectCode) => void> {
    return this.#directCode;
  }

  direct(kind: DirectKind, build: (code: DirectCode) => void): void {
    if (this.#directCode.has(kind)) {
      const message = `there is code for the exit ${kind} already`;
      throw new PolyvisorError('PV2023', message, 'load one of the plug-ins that build it');
    }
    // What throws, throws here and not when the guest runs.
    build(new BuilderCode(new Builder(), kind === 'pageFault' ? undefined : shapeOf(EXAMPLES[kind])));
    this.#took('its code before exits');
    this.#directCode.set(kind, build);
  }
}

function shapeOf(bytes: readonly number[]) {
  const result = decode((i) => bytes[i] ?? -1, 'long64');
  if (!result.ok) throw new Error('an example does not decode');
  return result.instruction.shape;
}
