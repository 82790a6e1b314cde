import { ARG, RESULT } from '../cpu/state.ts';
import { Engine, type EngineOptions } from '../engine/engine.ts';
import type { EngineMemory } from '../engine/memory.ts';
import { writeControlRegister } from './native/registers.ts';
import type { ProcessorPlatform } from './platform/processor.ts';
import type { MachineVcpu } from './vcpu.ts';

/** What a helper answers: an exception's vector, or that there is none. */
const NO_EXCEPTION = -1;

/** What the engine of a vCPU calls out for. */
interface EngineSurroundings {
  readonly platform: ProcessorPlatform;
  /** The vCPU itself, which is made of its engine. */
  vcpu(): MachineVcpu;
  /** An access beyond RAM, before it is made. */
  tellOfMmio(gpa: number, sizeBytes: number, write: boolean): void;
}

/** The engine of one vCPU: device memory and the helpers that need more than its state. */
export function makeEngine(
  memory: EngineMemory,
  { platform, vcpu, tellOfMmio }: EngineSurroundings,
  options: EngineOptions | undefined,
): Engine {
  return new Engine(
    memory,
    {
      mmioRead: (gpa, into) => {
        tellOfMmio(gpa, into.length, false);
        platform.readMmio(gpa, into);
      },
      mmioWrite: (gpa, bytes) => {
        tellOfMmio(gpa, bytes.length, true);
        platform.writeMmio(gpa, bytes);
      },
      helpers: {
        rdtsc: (state, base) => {
          platform.tsc.store(state, base + RESULT[0].offset);
          return NO_EXCEPTION;
        },
        invlpg: (state, base) => {
          vcpu().flushTlb(state.getBigUint64(base + ARG[0].offset, true));
          return NO_EXCEPTION;
        },
        writeCr3: (state, base) => {
          const written = writeControlRegister(vcpu(), 3, state.getBigUint64(base + ARG[0].offset, true));
          return typeof written === 'string' ? NO_EXCEPTION : written.vector;
        },
      },
    },
    options,
  );
}
