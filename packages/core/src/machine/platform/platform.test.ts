import type { PluginHost, Machine as PluginMachine } from '@polyvisor/plugin-api';
import { describe, expect, it } from 'vitest';
import { PluginRegistry } from '../../plugin/index.ts';
import { NATIVE_CODE, POWER_OFF, runNative } from '../testing/native-guest.ts';
import { testGuest } from '../testing/test-guest.ts';

const [RAX, RBX, RBP, RSI] = [0, 3, 5, 6];
/** The 8259 pair with IRQ0 at vector 0x20 and nothing else, then the 8254 once after 16 cycles. */
const TIMER_INTERRUPT = 'b011e620 b020e621 b004e621 b001e621 b0fee621 b030e643 b010e640 30c0e640';
/** `mov ecx, 100000; loop .`: longer than the timer takes. */
const WAIT = 'b9a0860100 e2fe';

describe('each end of a native guest', () => {
  it.each([
    ['S5', POWER_OFF, 'poweroff'],
    ['the reset control register: mov dx, 0xcf9; mov al, 6; out dx, al', '66baf90c b006 ee', 'reboot'],
    ['the keyboard controller: mov al, 0xfe; out 0x64, al', 'b0fe e664', 'reboot'],
    ['system control port A: mov al, 1; out 0x92, al', 'b001 e692', 'reboot'],
  ])('%s', async (_name, code, kind) => {
    const { end } = await runNative(`${code} ebfe`);
    expect(end.reason).toEqual({ kind });
  });

  it('a triple fault', async () => {
    const { end } = await runNative('0f0b');
    expect(end.reason).toEqual({ kind: 'crash', message: 'triple fault: exception 6 could not be delivered' });
    expect(end.report).toContain(`rip ${NATIVE_CODE.toString(16).padStart(16, '0')}`);
  });
});

describe('interrupts', () => {
  it('come through the 8259 pair and the local APIC in virtual-wire mode', async () => {
    // sti; jmp . — the handler counts in EBX.
    const { end, gpr } = await runNative(`31db ${TIMER_INTERRUPT} fb ebfe`, { 32: `ffc3 ${POWER_OFF}` });
    expect([end.reason.kind, gpr[RBX]]).toEqual(['poweroff', 1n]);
  });

  it('of a plug-in take the way that the guest has set up for its timers', async () => {
    // The 8259 pair as above, without starting the 8254; vmcall for IRQ 0; LVT timer: vector 0x30; vmcall for that one.
    const pic = 'b011e620 b020e621 b004e621 b001e621 b0fee621';
    const lvt = 'bf0000e0fe c7872003000030000000';
    const code = `31db ${pic} fb 0f01c1 90 31c0 ffc0 ${lvt} 0f01c1 90 ${POWER_OFF}`;
    const registry = new PluginRegistry();
    let machine: PluginMachine | undefined;
    registry.load(
      {
        name: 'timers',
        version: '1.0.0',
        api: '^1.2',
        apply(host: PluginHost) {
          host.hooks.boot.tap('timers', (_request, pc) => {
            machine = pc;
            return undefined;
          });
          host.hooks.exit.for('hypercall').tap('timers', (vcpu) => {
            if (vcpu.gpr[RAX] === 1n) vcpu.raiseLocalTimerInterrupt();
            else machine?.raiseTimerInterrupt();
            return 'handled';
          });
        },
      },
      { where: 'test' },
    );
    // The handlers: inc ebx, or add ebx, 16; EOI to the 8259, or to the local APIC; iretq.
    const handlers = { 32: 'ffc3 31c0 b020 e620 31c0 48cf', 48: '83c310 c787b000000000000000 48cf' };
    const { end, gpr } = await runNative(code, handlers, () => ({ plugins: registry }));
    expect([end.reason.kind, gpr[RBX]]).toEqual(['poweroff', 17n]);
  });

  it('wait while RFLAGS.IF is clear', async () => {
    const { gpr } = await runNative(`31db ${TIMER_INTERRUPT} ${WAIT} ${POWER_OFF}`, { 32: 'ffc3 48cf' });
    expect(gpr[RBX]).toBe(0n);
  });

  it.each([
    ['STI', 'fb ffc3 ffc3 ebfe'],
    // mov eax, ss; sti; mov ss, eax: each holds interrupts up for one instruction.
    ['MOV SS', '8cd0 fb 8ed0 ffc3 ffc3 ebfe'],
  ])('let one instruction pass after %s', async (_name, code) => {
    const { gpr } = await runNative(`31db ${TIMER_INTERRUPT} ${WAIT} ${code}`, { 32: POWER_OFF });
    expect(gpr[RBX]).toBe(1n);
  });

  it('end HLT: time is skipped to the timer, at TSC deadlines too', async () => {
    // mov edi, 0xfee00000; LVT timer: TSC-deadline, vector 0x30; IA32_TSC_DEADLINE = TSC + 1,000,000,000; sti; hlt.
    const arm = 'bf0000e0fe c7872003000030000400 0f31 0500ca9a3b 83d200 b9e0060000 0f30';
    // inc ebx; EOI; iretq.
    const { end, machine, gpr } = await runNative(`31db ${arm} fb f4 ${POWER_OFF}`, {
      48: 'ffc3 c787b000000000000000 48cf',
    });
    const { instructions, 'machine time ms': ms } = machine.stats();
    expect([end.reason.kind, gpr[RBX], ms]).toEqual(['poweroff', 1n, 1000]);
    expect(instructions).toBeLessThan(50);
  });

  it('are no reason to leave HLT while RFLAGS.IF is clear', async () => {
    let waited = 0;
    const { end, gpr } = await runNative(`31db ${TIMER_INTERRUPT} f4 ffc3 ${POWER_OFF}`, {}, (machine) => ({
      idle: async () => {
        if (++waited === 20) machine().stop();
      },
    }));
    expect([end.reason.kind, gpr[RBX]]).toEqual(['stopped', 0n]);
  });
});

describe('an interrupt of a plug-in', () => {
  it('ends HLT and goes through the IDT, once RFLAGS.IF lets it', async () => {
    // hlt with interrupts held up for one instruction only by sti; the handler counts and powers off.
    const { end, gpr } = await runNative('31db fb f4 ebfe', { 64: `ffc3 ${POWER_OFF}` }, (machine) => ({
      idle: async () => {
        machine().vcpus[0].externalInterrupt = () => 64;
      },
    }));
    expect([end.reason.kind, gpr[RBX]]).toEqual(['poweroff', 1n]);
  });

  it('through the local APIC is one that asks for its end', async () => {
    // mov edi, 0xfee00000; the handler reads ISR bit 65 and ends the interrupt.
    const handler = '8b9f20010000 c787b000000000000000 48cf';
    const { end, gpr } = await runNative(`bf0000e0fe 31db fb f4 ${POWER_OFF}`, { 65: handler }, (machine) => ({
      idle: async () => {
        expect(machine().vcpus[0].requestInterrupt(65)).toBe(true);
      },
    }));
    expect([end.reason.kind, gpr[RBX]]).toEqual(['poweroff', 2n]);
  });
});

describe('NMIs', () => {
  // x2APIC on; ICR: NMI to processor 0, itself.
  const SEND = 'b91b000000 0f32 0d00040000 0f30 b930080000 31d2 b800040000 0f30 90';
  // EBX counts, ESI is the depth, EBP tells of a nested one; the first handler sends another NMI.
  const HANDLER = 'ffc3 ffc6 83fe01 7605 bd01000000 83fb01 7703 0f30 90 ffce 48cf';

  it('come whatever RFLAGS.IF is, and not within one another', async () => {
    const { gpr } = await runNative(`31db 31f6 31ed ${SEND} 90 ${POWER_OFF}`, { 2: HANDLER });
    expect([gpr[RBX], gpr[RSI], gpr[RBP]]).toEqual([2n, 0n, 0n]);
  });
});

describe('the local APIC', () => {
  it('has its task priority in CR8 and in its page', async () => {
    // mov cr8, 5; mov ebx, [TPR]; mov dword [TPR], 0x7f; mov rsi, cr8.
    const code = 'bf0000e0fe b805000000 440f22c0 8b9f80000000 c787800000007f000000 440f20c6';
    const { gpr } = await runNative(`${code} ${POWER_OFF}`);
    expect([gpr[RBX], gpr[RSI]]).toEqual([0x50n, 7n]);
  });

  it('shows its registers as MSRs in x2APIC mode, and no page any more', async () => {
    // The version register, MSR 0x803; then the page's place.
    const code = 'b91b000000 0f32 0d00040000 0f30 b903080000 0f32 89c3 bf0000e0fe 8b7730';
    const { gpr } = await runNative(`${code} ${POWER_OFF}`);
    expect([gpr[RBX], gpr[RSI]]).toEqual([0x01050014n, 0xffffffffn]);
  });

  it('is told by CPUID', async () => {
    // mov eax, 1; cpuid; then the rest stays as it is.
    const { machine } = await runNative(POWER_OFF);
    const { ebx, ecx, edx } = machine.cpuid(1, 0);
    const bit = (value: number, position: number) => (value >>> position) & 1;
    expect([ebx >>> 16, bit(edx, 9), bit(ecx, 21), bit(ecx, 24)]).toEqual([1, 1, 1, 1]);
    expect([machine.cpuid(0, 0).eax, machine.cpuid(6, 0).eax, machine.cpuid(7, 0).ebx & 2]).toEqual([0x16, 4, 2]);
    expect(machine.cpuid(0x15, 0)).toEqual({ eax: 1, ebx: 1, ecx: 1_000_000_000, edx: 0 });
    expect(machine.cpuid(0x16, 0).eax).toBe(1000);
    expect([machine.cpuid(0xb, 0).ecx, machine.cpuid(0xb, 1).ecx, machine.cpuid(0xb, 2)]).toEqual([
      0x100,
      0x201,
      { eax: 0, ebx: 0, ecx: 2, edx: 0 },
    ]);
  });
});

it('the 16550 is the console: what is left in it comes out at the end', async () => {
  const { console } = await runNative(`66baf803 b048ee b069ee ${POWER_OFF}`);
  expect(console.output).toBe('Hi');
});

it('a machine without chips has none: ports and device memory answer all ones, CPUID shows no APIC', async () => {
  // mov dx, 0x3f8; in al, dx; hlt
  const guest = await testGuest({ code: { 65536: '66baf803 ec f4' } });
  await guest.run();
  expect(guest.vcpu.gpr[RAX] & 0xffn).toBe(0xffn);
  expect(guest.machine.platform.chips.size).toBe(0);
  expect(guest.machine.cpuid(1, 0).edx & (1 << 9)).toBe(0);
  expect([guest.machine.cpuid(0, 0).eax, guest.machine.cpuid(0x15, 0).ecx]).toEqual([7, 0]);
});
