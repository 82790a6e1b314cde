/** Everything that can be seen of a machine of one vCPU whose guest has ended. */
import { createHash } from 'node:crypto';
import type { machineInProcess } from './in-process.ts';

type Machine = Awaited<ReturnType<typeof machineInProcess>>['machine'];

/** To be compared: two that are the same have the same registers, memory and number of instructions. */
export function seen({ machine, reason }: { machine: Machine; reason: unknown }) {
  const [vcpu] = machine.vcpus;
  const memory = machine.memory.readBytes(0, machine.memory.sizeBytes);
  return {
    reason,
    rip: vcpu.rip,
    rflags: vcpu.rflags,
    gpr: [...vcpu.gpr],
    segments: [0, 1, 2, 3, 4, 5].map((index) => vcpu.segment(index)),
    kernelGsBase: vcpu.kernelGsBase,
    cr3: vcpu.cr3,
    memory: createHash('sha256').update(memory).digest('hex'),
    instructions: machine.stats().instructions,
  };
}
