/**
 * The door `sniff`, gone through by guests/sniff with each plug-in loaded: no probe faults, and the one deliberate fault is told.
 */
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { GuestSession } from './guest-session.ts';
import { expectOnlyReports } from './said-by-vm.ts';

const KERNEL = fileURLToPath(new URL('../../guests/sniff/prebuilt/sniff.elf', import.meta.url));

const session = (...args: string[]) => new GuestSession(KERNEL, '--no-reboot', '--memory', '16M', ...args);

describe('a kernel that finds out where it is', () => {
  it.each([
    ['none', '............'],
    ['xen', 'XenVMMXenVMM'],
    ['vmi', '............'],
    ['lguest-like', '............'],
  ])('calls its probes in link order, without a fault, with --plugin %s', async (plugin, signature) => {
    const guest = session('--plugin', plugin, '--entry', 'sniff');
    const { exitCode, stderr } = await guest.ended();
    expect(guest.console).toBe(
      [
        `probe: cpuid, ${signature}`,
        'probe: forced emulation, 4000ff04',
        'probe: port, ffffffff',
        'probe: start_kernel, the last resort',
        '',
      ].join('\n'),
    );
    expect(stderr).toMatch(/^vm: entry sniff: ELF entry in ring 1 with paging on.* at 0x100000, found in ELF header/m);
    expect(exitCode).toBe(7);
    expectOnlyReports(stderr);
  });

  it('has its early fault told, with EIP, symbol and bytes', async () => {
    const guest = session('--plugin', 'none', '--entry', 'sniff', '--append', 'fault');
    const { exitCode, stderr } = await guest.ended();
    expect(stderr).toMatch(
      /^vm: guest crashed: early fault: exception 6 before the guest has an interrupt descriptor table$/m,
    );
    expect(stderr).toMatch(/^vm: {3}rip 00000000c0[0-9a-f]{6} \(early_fault\), cpl 1/m);
    expect(stderr).toMatch(/^vm: {3}code 0f 0b /m);
    expect(exitCode).toBe(4);
  });

  it('is in ring 0 without paging through its ELF entry', async () => {
    const guest = session('--plugin', 'none', '--entry', 'elf');
    await guest.ended();
    expect(guest.console).toBe('in ring 0 without paging: native\n');
  });
});
