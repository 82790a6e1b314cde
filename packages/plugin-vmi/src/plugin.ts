import type { Plugin, Vcpu } from '@polyvisor/plugin-api';
import { buildCall, updateDirectCalls } from './calls/direct.ts';
import { dispatchCall } from './calls/dispatch.ts';
import { VmiGuest } from './guest.ts';
import { chooseRom } from './rom/choose.ts';
import { ROM_AREA, type VmiRom } from './rom/header.ts';

/** Whose doors get the ROM: the PC's own. A guest of another plug-in has no firmware that would place it. */
const PC_DOORS = 'core';
const LAST_CALL = 127;

function describe({ api, version, manufacturer, product, bytes }: VmiRom): string {
  const revision = version ? `${version.major}.${version.minor}` : 'none';
  const where = `0x${ROM_AREA.first.toString(16)}`;
  return `ROM ${manufacturer} ${product}, API ${api.major}.${api.minor}, version ${revision}, ${bytes.length} bytes at ${where}`;
}

/** Linear address of what the vCPU executes; `undefined`: it is in 64-bit code, which has no VMI. */
function linearRip(vcpu: Vcpu): number | undefined {
  return vcpu.ripHalves[1] === 0 ? vcpu.ripHalves[0] >>> 0 : undefined;
}

/** VMI 3.0: an option ROM that a natively booted 32-bit kernel finds and activates. */
export const vmiPlugin: Plugin = {
  name: 'vmi',
  version: '0.1.0',
  api: '^1.7',
  options: { rom: 'native, trap, xen (with plug-in xen) or a file: the ROM that the guest finds; by default trap' },
  apply(host) {
    const { rom, traps } = chooseRom(host);
    let guest: VmiGuest | undefined;
    host.claim({ kind: 'hypercall', abi: 'vmi', first: 0, last: LAST_CALL });
    host.hooks.configure.tap('vmi', (platform) => {
      if (platform.entry.plugin !== PC_DOORS) return;
      // What this ROM keeps in itself, it keeps for one: Xen's shared_info and timer.
      if (!traps) platform.mostVcpus = 1;
      if (traps) platform.direct('hypercall', buildCall);
    });
    if (traps) {
      host.hooks.beforeEntry.tap('vmi', (vcpu) => {
        if (guest) updateDirectCalls(guest, vcpu);
      });
    }
    host.hooks.boot.tap('vmi', (request, machine) => {
      if (request.entry.plugin === PC_DOORS) {
        guest = new VmiGuest(host, machine, rom);
        // API 3.0; the ROM is where the guest will look for it.
        machine.describeBoot({
          hypervisor: 'vmi',
          guestType: 'native',
          abiVersion: 3 << 16,
          data: { address: BigInt(ROM_AREA.first), space: 'physical' },
        });
        host.log('info', describe(rom));
      }
      return undefined;
    });
    host.hooks.exit.for('hypercall').tap('vmi', (vcpu, exit) => {
      // Elsewhere, and outside of the kernel, the instruction is what it always is.
      if (!guest || !traps || exit.instruction !== 'vmcall' || vcpu.cpl !== 0) return 'pass';
      const rip = linearRip(vcpu);
      if (rip === undefined || !guest.isInRom(rip, () => gpaOf(vcpu, rip))) return 'pass';
      return dispatchCall(guest, vcpu);
    });
    host.hooks.inUse.tap('vmi', () => (guest ? [`ROM at 0x${ROM_AREA.first.toString(16)}`] : []));
    host.hooks.shutdown.tap('vmi', () => {
      if (guest && traps) for (const vcpu of guest.machine.vcpus) updateDirectCalls(guest, vcpu);
      guest?.stop();
      guest = undefined;
    });
  },
};

function gpaOf(vcpu: Vcpu, rip: number): number | undefined {
  const found = vcpu.translate(BigInt(rip), 'execute');
  return found.ok ? found.gpa : undefined;
}
