/** Xen's two ways to CPUID, the forced-emulation prefix and the faulting instruction, must say the same. */
import { Gpr } from '@polyvisor/plugin-api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { boot, KERNEL_PADDR, VIRT_BASE } from '../testing/guest.ts';
import { walk } from '../testing/walk.ts';

const CODE = VIRT_BASE + KERNEL_PADDR + 0x100n;
/** UD2A, "xen", CPUID (public/arch-x86/xen.h, XEN_EMULATE_PREFIX). */
const FORCED = Uint8Array.of(0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2);
const OUTPUTS = [Gpr.RAX, Gpr.RBX, Gpr.RCX, Gpr.RDX] as const;

const register = fc.nat(0xffff_ffff);
const processor = fc.record({ eax: register, ebx: register, ecx: register, edx: register });
const leaf = fc.oneof(
  fc.integer({ min: 0, max: 0x20 }),
  fc.integer({ min: 0x4000_0000, max: 0x4000_0006 }),
  fc.integer({ min: 0x8000_0000, max: 0x8000_0008 }),
  register,
);

function ask(leafNumber: number, subleaf: number, answer: { eax: number; ebx: number; ecx: number; edx: number }) {
  const { cpu, host, memory } = boot({ cpuid: { [leafNumber]: answer } });
  const code = walk(memory, cpu.cr3, CODE, 'write', true);
  memory.writeBytes(Number(code), FORCED);
  const results = (['forced', 'native'] as const).map((way) => {
    for (const output of OUTPUTS) cpu.gpr[output] = 0xdead_beef_0000_0000n;
    cpu.rip = CODE;
    cpu.gpr[Gpr.RAX] |= BigInt(leafNumber);
    cpu.gpr[Gpr.RCX] |= BigInt(subleaf);
    if (way === 'forced') expect(host.exit(cpu, { kind: 'exception', vector: 6 })).toBe('handled');
    else expect(host.exit(cpu, { kind: 'cpuid', instructionLength: 2 })).toBe('handled');
    return OUTPUTS.map((output) => cpu.gpr[output]);
  });
  return { results, rip: cpu.rip };
}

describe('CPUID of a PV guest', () => {
  it('is the same forced and native, for any leaf and processor, with upper halves cleared', () => {
    fc.assert(
      fc.property(leaf, fc.nat(3), processor, (leafNumber, subleaf, answer) => {
        const [forced, native] = ask(leafNumber, subleaf, answer).results;
        expect(forced).toEqual(native);
        for (const value of forced) expect(value >> 32n).toBe(0n);
      }),
      { seed: 18, numRuns: 60 },
    );
  });

  it('shows a hypervisor and hides what needs ring 0, whatever the processor has', () => {
    const all = 0xffff_ffff;
    const [[, , ecx, edx]] = ask(1, 0, { eax: all, ebx: all, ecx: all, edx: all }).results;
    expect((ecx >> 31n) & 1n).toBe(1n);
    const VMX = 5n;
    const X2APIC = 21n;
    for (const hidden of [VMX, X2APIC]) expect((ecx >> hidden) & 1n).toBe(0n);
    const PSE = 3n;
    const PGE = 13n;
    for (const hidden of [PSE, PGE]) expect((edx >> hidden) & 1n).toBe(0n);
  });
});
