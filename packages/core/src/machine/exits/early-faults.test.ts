import type { PluginHost } from '@polyvisor/plugin-api';
import { describe, expect, it } from 'vitest';
import { CODE, type GuestOptions, type TestGuest, testGuest } from '../testing/test-guest.ts';
import type { MachineVcpu } from '../vcpu.ts';
import { earlyFaults } from './early-faults.ts';

const AT = BigInt(CODE);
const UD2 = '0f0b';
/** UD2, three letters, CPUID; then HLT. */
const FORCED_CPUID = `${UD2}7a7a7a0fa2f4`;

/** A guest whose exceptions come here, and what it ended with. */
async function guestWith(options: GuestOptions): Promise<{ guest: TestGuest; crashes: string[] }> {
  const crashes: string[] = [];
  const native = {
    cpuid: (_vcpu: MachineVcpu, eax: number) => ({ eax: eax + 1, ebx: 2, ecx: 3, edx: 4 }),
    portRead: () => 0,
    portWrite() {},
  };
  let made: TestGuest | undefined;
  const answer = earlyFaults(native, (message) => {
    crashes.push(message);
    made?.machine.shutdown({ kind: 'crash', message });
  });
  const tap = (host: PluginHost) =>
    host.hooks.exit.for('exception').tap('early', (vcpu, exit) => answer(vcpu as MachineVcpu, exit));
  const guest = await testGuest({ ...options, tap });
  made = guest;
  return { guest, crashes };
}

const withoutIdt = (guest: TestGuest) => {
  guest.vcpu.tables.idtr.limit = 0;
};

describe('exceptions before there is an IDT', () => {
  it('end the guest at the instruction, and say which', async () => {
    const { guest, crashes } = await guestWith({ code: { [CODE]: UD2 }, prepare: withoutIdt });
    expect((await guest.run()).reason).toMatchObject({ kind: 'crash' });
    expect(crashes).toEqual(['early fault: exception 6 before the guest has an interrupt descriptor table']);
    expect(guest.vcpu.rip).toBe(AT);
  });

  it('show in CR2 which address a page fault was about', async () => {
    // MOV RAX, [0x7000000]
    const { guest, crashes } = await guestWith({ code: { [CODE]: '488b042500000007' }, prepare: withoutIdt });
    await guest.run();
    expect(crashes).toEqual(['early fault: exception 14 before the guest has an interrupt descriptor table']);
    expect(guest.vcpu.cr2).toBe(0x7000000n);
  });

  it('are none where CPUID asks for its emulation', async () => {
    const { guest, crashes } = await guestWith({ code: { [CODE]: FORCED_CPUID }, prepare: withoutIdt });
    expect((await guest.run()).reason).toEqual({ kind: 'poweroff' });
    expect(crashes).toEqual([]);
    expect(guest.vcpu.gpr.slice(0, 4)).toEqual(BigUint64Array.of(1n, 3n, 4n, 2n));
    expect(guest.vcpu.rip).toBe(AT + 8n);
  });

  it('are the guest’s own as soon as it has one', async () => {
    const { guest, crashes } = await guestWith({ code: { [CODE]: FORCED_CPUID } });
    await guest.run();
    expect(crashes).toEqual([]);
    expect(guest.stoppedIn).toBe(6);
  });
});
