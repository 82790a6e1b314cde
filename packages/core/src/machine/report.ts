import type { Machine } from '@polyvisor/plugin-api';
import type { MachineVcpu } from './vcpu.ts';

const REGISTERS = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'];
const hex = (value: bigint) => value.toString(16).padStart(16, '0');
const CODE_BYTES = 12;

/** A crash in a few lines: reason, RIP with symbol, code bytes, registers. */
export function crashReport(machine: Machine, vcpu: MachineVcpu, message: string): string {
  const { rip } = vcpu;
  const symbol = machine.symbol(rip);
  const code = vcpu.read(rip, CODE_BYTES, { as: 'supervisor' });
  const bytes = code.ok ? [...code.bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ') : 'unreadable';
  const lines = [
    `guest crashed: ${message}`,
    `  rip ${hex(rip)}${symbol ? ` (${symbol})` : ''}, cpl ${vcpu.cpl}, rflags ${vcpu.rflags.toString(16)}, cr2 ${hex(vcpu.cr2)}, cr3 ${hex(vcpu.cr3)}`,
    `  code ${bytes}`,
  ];
  for (let i = 0; i < 16; i += 4) {
    const row = [0, 1, 2, 3].map((j) => `${REGISTERS[i + j].padStart(3)} ${hex(vcpu.gpr[i + j])}`);
    lines.push(`  ${row.join('  ')}`);
  }
  return lines.join('\n');
}
