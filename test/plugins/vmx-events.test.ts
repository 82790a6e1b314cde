/** Events of a guest in VMX non-root operation: those that an entry injects, and interrupts and NMIs on their way. Machine-level cases on both tiers. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CODE } from '../../packages/core/src/machine/testing/test-guest.ts';
import { ExitControl, Pin, Primary } from '../../packages/plugin-hwassist/src/vmx/controls.ts';
import { ExitReason } from '../../packages/plugin-hwassist/src/vmx/exit-reasons.ts';
import { little32, PROGRAM, TIERS, VECTOR } from './svm-guest.ts';
import {
  At,
  exit,
  exitOf,
  HARDWARE_EXCEPTION,
  handler,
  ON,
  Op,
  outcome,
  runVmx,
  SELECT,
  STACK_TOP,
  START,
  START_RIP,
  setControls,
  stackOf,
  VALID,
  type VmxGuest,
  type VmxOptions,
} from './vmx-guest.ts';

const RSP = 4;
const [UD, GP] = [6, 13];
const { CALL, HLT, VMCALL, VMLAUNCH } = Op;
const IF = 1n << 9n;

describe.each(TIERS)('VMX in %s', (_name, tier) => {
  const run = (options: Omit<VmxOptions, 'tier'>) => runVmx({ ...options, tier });

  describe('an event that is injected', () => {
    const inject =
      (information: number, errorCode = 0, length = 0) =>
      ({ vmcs }: VmxGuest) => {
        vmcs.write('ENTRY_INTERRUPTION_INFORMATION', VALID + information);
        vmcs.write('ENTRY_EXCEPTION_ERROR_CODE', errorCode);
        vmcs.write('ENTRY_INSTRUCTION_LENGTH', length);
      };

    it('as an exception has its error code, and comes before the first instruction', async () => {
      const vmx = await run({ guest: '0f0b', prepare: inject(0xb00 + GP, 0x1234) });
      expect(exitOf(vmx.vmcs)).toEqual(exit(ExitReason.VMCALL, handler(GP)));
      expect(stackOf(vmx, 2)).toEqual([0x1234n, START_RIP]);
      expect(vmx.vmcs.read('ENTRY_INTERRUPTION_INFORMATION')).toBe(0xb00 + GP);
    });

    it('as INT n comes back behind its instruction', async () => {
      const vmx = await run({ guest: 'cd80', prepare: inject(0x480, 0, 2) });
      expect(exitOf(vmx.vmcs)).toEqual(exit(ExitReason.VMCALL, handler(0x80)));
      expect(stackOf(vmx, 1)).toEqual([START_RIP + 2n]);
    });

    it.each([
      ['an exception', 0xb00 + GP, 0x1234, 0],
      ['INT n', 0x400 + GP, 0, 2],
    ])('as %s is told of as IDT-vectoring where EPT has not the IDT', async (_what, information, errorCode, length) => {
      const { vmcs } = await run({
        guest: 'cd0d',
        prepare: (vmx) => {
          inject(information, errorCode, length)(vmx);
          vmx.ept.unmap(BigInt(At.IDT));
        },
      });
      expect(exitOf(vmcs)).toMatchObject({ reason: ExitReason.EPT_VIOLATION, rip: START_RIP });
      expect([vmcs.read('IDT_VECTORING_INFORMATION'), vmcs.read('IDT_VECTORING_ERROR_CODE')]).toEqual([
        VALID + information,
        errorCode,
      ]);
      expect([vmcs.read('EXIT_INSTRUCTION_LENGTH'), vmcs.read64('GUEST_RSP')]).toEqual([length, BigInt(STACK_TOP)]);
    });

    it('that the guest meets itself is told of in the same way', async () => {
      const told = async (guest: string) => {
        const { vmcs } = await run({ guest, prepare: ({ ept }) => ept.unmap(BigInt(At.IDT)) });
        expect(exitOf(vmcs)).toMatchObject({ reason: ExitReason.EPT_VIOLATION, rip: START_RIP });
        return [vmcs.read('IDT_VECTORING_INFORMATION'), vmcs.read('EXIT_INSTRUCTION_LENGTH')];
      };
      expect(await told('cd80')).toEqual([VALID + 0x480, 2]);
      expect(await told('66cd80')).toEqual([VALID + 0x480, 3]);
      expect(await told('cc')).toEqual([VALID + 0x603, 1]);
      expect((await told('0f0b'))[0]).toBe(VALID + HARDWARE_EXCEPTION + UD);
    });
  });

  describe('an interrupt', () => {
    const request = ({ vcpu }: VmxGuest) => expect(vcpu.requestInterrupt(VECTOR)).toBe(true);

    it('exits whatever IF says, and waits for the host', async () => {
      const vmx = await run({
        ...{ guest: `${CALL} 90`, host: `${START} fb 90 ${HLT}`, calls: [request] },
        prepare: ({ vmcs }) => setControls(vmcs, 'PIN_BASED_CONTROLS', Pin.EXTERNAL_INTERRUPT_EXITING),
      });
      expect(exitOf(vmx.vmcs)).toEqual(exit(ExitReason.EXTERNAL_INTERRUPT, START_RIP + 3n));
      expect([vmx.vmcs.read('EXIT_INTERRUPTION_INFORMATION'), vmx.stoppedIn]).toEqual([0, VECTOR]);
    });

    it('that the exit acknowledges is told of, and does not wait', async () => {
      const vmx = await run({
        ...{ guest: `${CALL} 90`, host: `${START} fb 90 ${HLT}`, calls: [request] },
        prepare: ({ vmcs }) => {
          setControls(vmcs, 'PIN_BASED_CONTROLS', Pin.EXTERNAL_INTERRUPT_EXITING);
          setControls(vmcs, 'EXIT_CONTROLS', ExitControl.ACKNOWLEDGE_INTERRUPT);
        },
      });
      expect([vmx.vmcs.read('EXIT_INTERRUPTION_INFORMATION'), vmx.stoppedIn]).toEqual([VALID + VECTOR, undefined]);
    });

    it("goes by the guest's IF and IDT without the control", async () => {
      const vmx = await run({ guest: `${CALL} 90 fb 90 90`, calls: [request] });
      expect(exitOf(vmx.vmcs)).toEqual(exit(ExitReason.VMCALL, handler(VECTOR)));
      expect(stackOf(vmx, 1)).toEqual([START_RIP + 6n]);
    });

    it('ends HLT that the guest was started in', async () => {
      const { vmcs } = await run({
        ...{ guest: '90', host: `${ON} ${SELECT} ${CALL} ${VMLAUNCH} ${HLT}`, calls: [request] },
        prepare: ({ vmcs }) => {
          setControls(vmcs, 'PIN_BASED_CONTROLS', Pin.EXTERNAL_INTERRUPT_EXITING);
          vmcs.write('GUEST_ACTIVITY', 1);
        },
      });
      expect(exitOf(vmcs)).toEqual(exit(ExitReason.EXTERNAL_INTERRUPT, START_RIP));
      expect(vmcs.read('GUEST_ACTIVITY')).toBe(1);
    });

    it('window is an exit where one could be taken', async () => {
      const { vmcs } = await run({
        // nop; sti; nop; nop
        guest: `90 fb 90 90 ${VMCALL}`,
        prepare: ({ vmcs }) => setControls(vmcs, 'PROCESSOR_BASED_CONTROLS', Primary.INTERRUPT_WINDOW_EXITING),
      });
      expect(exitOf(vmcs)).toEqual(exit(ExitReason.INTERRUPT_WINDOW, START_RIP + 3n));
      expect(vmcs.read64('GUEST_RFLAGS') & IF).toBe(IF);
    });
  });

  it.each([
    ['a loop', 'ebfe', 0],
    ['HLT', `fb ${HLT} ${CALL}`, 1],
  ])('the preemption timer ends %s', async (_what, guest, activity) => {
    const { vmcs, vcpu } = await run({
      guest,
      prepare: ({ vmcs }) => {
        setControls(vmcs, 'PIN_BASED_CONTROLS', Pin.PREEMPTION_TIMER);
        setControls(vmcs, 'EXIT_CONTROLS', ExitControl.SAVE_PREEMPTION_TIMER);
        vmcs.write('PREEMPTION_TIMER', 1000);
        vmcs.write('GUEST_ACTIVITY', activity);
      },
    });
    expect(exitOf(vmcs)).toEqual(exit(ExitReason.PREEMPTION_TIMER, START_RIP));
    expect([vmcs.read('PREEMPTION_TIMER'), vmcs.read('GUEST_ACTIVITY'), vcpu.assist]).toEqual([0, activity, undefined]);
  });

  it('what the preemption timer has left is kept', async () => {
    const { vmcs } = await run({
      guest: `90 90 ${VMCALL}`,
      prepare: ({ vmcs }) => {
        setControls(vmcs, 'PIN_BASED_CONTROLS', Pin.PREEMPTION_TIMER);
        setControls(vmcs, 'EXIT_CONTROLS', ExitControl.SAVE_PREEMPTION_TIMER);
        vmcs.write('PREEMPTION_TIMER', 0x4000_0000);
      },
    });
    expect(exitOf(vmcs).reason).toBe(ExitReason.VMCALL);
    expect(vmcs.read('PREEMPTION_TIMER')).toBeGreaterThan(0x3f00_0000);
    expect(vmcs.read('PREEMPTION_TIMER')).toBeLessThanOrEqual(0x4000_0000);
  });

  it('NMIs exit, and a window for virtual ones is an exit behind IRET', async () => {
    const prepare = ({ vmcs }: VmxGuest) => setControls(vmcs, 'PIN_BASED_CONTROLS', Pin.NMI_EXITING, Pin.VIRTUAL_NMIS);
    const left = await run({ guest: `${CALL} 90`, calls: [({ vcpu }) => vcpu.raiseNmi()], prepare });
    expect(exitOf(left.vmcs)).toEqual(exit(ExitReason.EXCEPTION_OR_NMI, START_RIP + 3n));
    expect([left.vmcs.read('EXIT_INTERRUPTION_INFORMATION'), left.vcpu.nmiBlocked]).toEqual([VALID + 0x202, true]);
    const window = await run({
      // push ss; push rsp+8; push flags; push cs; push rip: an IRET to the VMCALL behind it
      guest: `6a10 54 48830424 08 6a02 6a08 68${little32(At.GUEST_CODE + 19)} 48cf ${VMCALL}`,
      prepare: (vmx) => {
        prepare(vmx);
        vmx.vmcs.write('GUEST_INTERRUPTIBILITY', 8);
        setControls(vmx.vmcs, 'PROCESSOR_BASED_CONTROLS', Primary.NMI_WINDOW_EXITING);
      },
    });
    expect(exitOf(window.vmcs)).toEqual(exit(ExitReason.NMI_WINDOW, START_RIP + 19n));
    expect(window.vmcs.read('GUEST_INTERRUPTIBILITY')).toBe(0);
  });

  it('SYSENTER comes to 64-bit code, and SYSEXIT back', async () => {
    const user = CODE + 0x100;
    const { vcpu } = await run({
      guest: '',
      // mov edx, user; mov ecx, 0x1f000; sysexit (64-bit)
      host: `ba${little32(user)} b900f00100 480f35`,
      prepare: ({ vcpu, machine }) => {
        vcpu.writeMsr(0x174, 8n);
        vcpu.writeMsr(0x175, 0x1_e000n);
        vcpu.writeMsr(0x176, BigInt(CODE + 0x200));
        machine.memory.writeBytes(user, Uint8Array.of(0x0f, 0x34));
        // mov r8d, 7; hlt: other instructions outside of 64-bit code
        machine.memory.writeBytes(CODE + 0x200, Uint8Array.of(0x41, 0xb8, 7, 0, 0, 0, 0xf4));
      },
    });
    expect([vcpu.rip, vcpu.gpr[RSP], vcpu.cpl]).toEqual([BigInt(CODE + 0x207), 0x1_e000n, 0]);
    expect(vcpu.gpr[8]).toBe(7n);
  });

  it('runs any program as the processor itself does', async () => {
    await fc.assert(
      fc.asyncProperty(PROGRAM, async (program) => {
        expect(await outcome(program, tier, true)).toEqual(await outcome(program, tier, false));
      }),
      { numRuns: 60 },
    );
  });
});
