import type { Machine } from '@polyvisor/plugin-api';
import { endsInCall, LONGEST_CALL_BYTES } from './call-site.ts';
import type { MachineVcpu } from './vcpu.ts';

const REGISTERS = [
  'rax',
  'rcx',
  'rdx',
  'rbx',
  'rsp',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
];
const hex = (value: bigint) => value.toString(16).padStart(16, '0');
const CODE_BYTES = 12;
const STACK_BYTES = 64;

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
  lines.push(...stackLines(machine, vcpu));
  return lines.join('\n');
}

/** The top of the stack; return addresses that have a symbol are named. */
function stackLines(machine: Machine, vcpu: MachineVcpu): string[] {
  const stack = vcpu.read(vcpu.gpr[4], STACK_BYTES, { as: 'supervisor' });
  if (!stack.ok) return ['  stack unreadable'];
  const words = [...new BigUint64Array(stack.bytes.buffer)];
  const row = (from: number) =>
    words
      .slice(from, from + 4)
      .map(hex)
      .join(' ');
  const named = words.filter((word) => followsCall(vcpu, word)).flatMap((word) => machine.symbol(word) ?? []);
  return [`  stack ${row(0)}`, `        ${row(4)}`, ...(named.length > 0 ? [`  called from ${named.join(', ')}`] : [])];
}

/** Whether the bytes before an address look like a near call. */
function followsCall(vcpu: MachineVcpu, address: bigint): boolean {
  const before = vcpu.read(address - BigInt(LONGEST_CALL_BYTES), LONGEST_CALL_BYTES, { as: 'supervisor' });
  return before.ok && endsInCall(before.bytes);
}
