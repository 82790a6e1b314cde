import type { KernelMember, OpContext } from '@polyvisor/plugin-api';
import { typesOf } from './kernel-types.ts';
import type { RunningKernel } from './running-kernel.ts';
import { memberOf } from './struct-layout.ts';

/** Answers {@link OpContext.member} for a kernel; what has been asked once is known. */
export function kernelMembers({ elf, wordBytes }: Pick<RunningKernel, 'elf' | 'wordBytes'>): OpContext['member'] {
  const known = new Map<string, KernelMember | undefined>();
  return (struct, name) => {
    const key = `${struct}.${name}`;
    if (!known.has(key)) {
      const btf = typesOf(elf);
      known.set(key, btf && memberOf(btf, struct, name, wordBytes));
    }
    return known.get(key);
  };
}
