import type { ExitAnswer, ExitOf } from '@polyvisor/plugin-api';
import { Vector } from '../native/answer.ts';
import type { NativeMachine } from '../native/context.ts';
import { FORCED_CPUID_BYTES, isForcedCpuid } from '../native/forced-cpuid.ts';
import { cpuidInstruction } from '../native/instructions.ts';
import type { MachineVcpu } from '../vcpu.ts';

/**
 * Exceptions of a guest that has come in through the door `sniff`, where no plug-in takes them. Until it has an interrupt
 * descriptor table it cannot take any: a CPUID behind the prefix that asks for its emulation is carried out, everything else
 * ends the guest with a report of its early fault.
 * @param native what CPUID answers
 * @param crash ends the guest, and says why
 */
export function earlyFaults(
  native: NativeMachine,
  crash: (message: string) => void,
): (vcpu: MachineVcpu, exit: ExitOf<'exception'>) => ExitAnswer {
  return (vcpu, { vector, cr2 }) => {
    if (vcpu.tables.idtr.limit !== 0) return 'pass';
    if (vector === Vector.UD && forcedCpuid(vcpu, native)) return 'handled';
    if (cr2 !== undefined) vcpu.cr2 = cr2;
    crash(`early fault: exception ${vector} before the guest has an interrupt descriptor table`);
    return 'handled';
  };
}

/** At #UD: CPUID behind its prefix. False: that is not what stands there. */
function forcedCpuid(vcpu: MachineVcpu, native: NativeMachine): boolean {
  const code = vcpu.read(vcpu.rip, FORCED_CPUID_BYTES);
  if (!code.ok || !isForcedCpuid(code.bytes)) return false;
  cpuidInstruction({ vcpu, machine: native, lengthBytes: FORCED_CPUID_BYTES, privileged: false });
  vcpu.stepOver(FORCED_CPUID_BYTES);
  return true;
}
