import type { EntropyBackend } from '@polyvisor/plugin-api';
import { ARG, RESULT } from '../cpu/state.ts';
import { Engine, type EngineOptions } from '../engine/engine.ts';
import type { EngineMemory } from '../engine/memory.ts';
import { writeControlRegister } from './native/registers.ts';
import type { MachineVcpu } from './vcpu.ts';

/** What a helper answers: an exception's vector, or that there is none. */
const NO_EXCEPTION = -1;

/** What the engine calls out for. */
interface EngineSurroundings {
  /** The vCPU that it runs. */
  vcpu(): MachineVcpu;
  /** Where random numbers come from, if anywhere. */
  readonly entropy: EntropyBackend | undefined;
  /** An access beyond RAM, before it is made. */
  tellOfMmio(gpa: number, sizeBytes: number, write: boolean): void;
}

/** The engine of a machine: device memory and the helpers that need more than a vCPU's state. */
export function makeEngine(
  memory: EngineMemory,
  { vcpu, entropy, tellOfMmio }: EngineSurroundings,
  options: EngineOptions | undefined,
): Engine {
  const random = new BigUint64Array(1);
  const randomBytes = new Uint8Array(random.buffer);
  return new Engine(
    memory,
    {
      mmioRead: (gpa, into) => {
        tellOfMmio(gpa, into.length, false);
        vcpu().platform.readMmio(gpa, into);
      },
      mmioWrite: (gpa, bytes) => {
        tellOfMmio(gpa, bytes.length, true);
        vcpu().platform.writeMmio(gpa, bytes);
      },
      secondLevel: (page, access) => vcpu().translateAgain(page, access),
      helpers: {
        rdtsc: (state, base) => {
          vcpu().platform.tsc.store(state, base + RESULT[0].offset);
          return NO_EXCEPTION;
        },
        // 0 stays where there is no source.
        random: (state, base) => {
          entropy?.fill(randomBytes);
          state.setBigUint64(base + RESULT[0].offset, random[0], true);
          return NO_EXCEPTION;
        },
        invlpg: (state, base) => {
          const at = base + ARG[0].offset;
          vcpu().flushPage(state.getInt32(at, true), state.getInt32(at + 4, true));
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
