import {
  type BootRequest,
  type GuestImage,
  type Machine,
  type Plugin,
  type PluginHost,
  PolyvisorError,
} from '@polyvisor/plugin-api';
import { type Era, eraOf, LAST_CALL } from './abi.ts';
import { DEVICE_BYTES, DescriptorBus } from './descriptorBus.ts';
import { PLAIN, TYPED_FIELDS } from './descriptors.ts';
import { buildInterrupt, buildVmcall, updateDirectCalls } from './direct.ts';
import { buildPageFault, DirectFault } from './directFault.ts';
import { guarded, tapExits } from './exits.ts';
import { findLguestEntries } from './finder.ts';
import { type Bus, LguestGuest } from './guest.ts';
import { deliverInterrupts } from './interrupts.ts';
import { kill } from './killed.ts';
import { plugPciBus } from './pciBus.ts';
import { startGuest } from './start.ts';

const NAME = 'lguest-like';
const PAE = ['auto', 'on', 'off'] as const;
/** XEN_ELFNOTE_PAE_MODE: the one place where a kernel's file says that it uses PAE (xen/include/public/elfnote.h). */
const PAE_NOTE = { owner: 'Xen', type: 9 } as const;

/** lguest, ABIs of Linux 2.6.24 to 4.13. NOT IMPLEMENTED: that of 2.6.23; more than one vCPU (lguest had none). */
export const lguestPlugin: Plugin = {
  name: NAME,
  version: '0.1.0',
  api: '^1.10',
  options: {
    abi: 'kernel version whose ABI the guest speaks, 2.6.24 to 4.13; without it the first hypercall tells',
    pae: "auto, on or off: the kernel's page tables are PAE's; auto reads the ELF note PAE_MODE, else off",
  },
  apply(host) {
    const era = readEra(host.options.abi);
    const pae = readPae(host.options.pae);
    let guest: LguestGuest | undefined;
    let directFault = new DirectFault();
    const stop = () => {
      guest?.clockEvent?.cancel();
      guest?.bus?.stop();
      guest = undefined;
    };
    host.claim({ kind: 'hypercall', abi: 'lguest', first: 0, last: LAST_CALL });
    // boot_params; all other registers are 0.
    host.claim({ kind: 'entryRegister', register: 'esi' });
    host.hooks.findEntries.tap(NAME, findLguestEntries);
    host.hooks.configure.tap(NAME, (platform) => {
      if (platform.entry.plugin !== NAME) return;
      platform.overheadBytes += DEVICE_BYTES;
      platform.chips.add('pci');
      platform.direct('hypercall', buildVmcall);
      platform.direct('softwareInterrupt', buildInterrupt);
      platform.direct('pageFault', buildPageFault);
    });
    host.hooks.boot.tap(NAME, (request, machine) => {
      if (request.entry.plugin !== NAME) return undefined;
      stop();
      guest = makeGuest(host, request, machine, { era, pae: pae ?? saysPae(request.image) });
      directFault = new DirectFault();
      startGuest(guest, request);
      // Which ABI it is shows in the guest's first call.
      machine.describeBoot({
        hypervisor: 'lguest',
        guestType: 'pv32',
        abiVersion: 0,
        data: { address: 0n, space: 'physical' },
      });
      return true;
    });
    tapExits(host, (cpu) => (guest?.cpu === cpu ? guest : undefined));
    host.hooks.beforeEntry.tap(NAME, (cpu) => {
      const running = guest;
      if (running?.cpu !== cpu) return;
      if (running.irqsPending !== 0) guarded(running, () => deliverInterrupts(running));
      updateDirectCalls(running);
      directFault.update(running);
    });
    host.hooks.inUse.tap(NAME, () =>
      guest?.registered ? [`lguest_data at 0x${guest.registered.data.toString(16)}`] : [],
    );
    host.hooks.shutdown.tap(NAME, () => {
      if (guest) updateDirectCalls(guest);
      stop();
    });
  },
};

function makeGuest(
  host: PluginHost,
  request: BootRequest,
  machine: Machine,
  { era, pae }: { readonly era: Era | undefined; readonly pae: boolean },
): LguestGuest {
  const end = Math.floor(request.memoryBytes / 4096) * 4096;
  const raise = (irq: number) => guest.raise(irq);
  const makeBus = ({ bus }: Era): Bus => {
    try {
      return bus === 'pci'
        ? plugPciBus(machine, machine.memory.sizeBytes, raise)
        : new DescriptorBus(machine, end, raise, bus === 'typedFields' ? TYPED_FIELDS : PLAIN);
    } catch (error) {
      if (error instanceof PolyvisorError) kill(`${error.message}; ${error.fix}`);
      throw error;
    }
  };
  const guest: LguestGuest = new LguestGuest({ host, machine, makeBus, paging: { pae }, chosenEra: era });
  return guest;
}

function wrongOption(what: string, fix: string): PolyvisorError {
  return new PolyvisorError('PV7005', `plug-in ${NAME}: ${what}`, fix);
}

/** @throws PolyvisorError PV7005 */
function readEra(version: string | undefined): Era | undefined {
  if (version === undefined || version === 'auto') return undefined;
  const era = eraOf(version);
  if ('reason' in era)
    throw wrongOption(`abi:${version}: ${era.reason}`, 'name a kernel from 2.6.24 to 4.13, or leave abi out');
  return era;
}

/** `undefined`: the image tells. @throws PolyvisorError PV7005 */
function readPae(wanted: string | undefined): boolean | undefined {
  if (wanted === undefined || wanted === 'auto') return undefined;
  if (wanted !== 'on' && wanted !== 'off') throw wrongOption(`pae:${wanted}`, `use one of ${PAE.join(', ')}`);
  return wanted === 'on';
}

function saysPae({ elf }: GuestImage): boolean {
  const note = elf?.notes.find(({ owner, type }) => owner === PAE_NOTE.owner && type === PAE_NOTE.type);
  return note !== undefined && new TextDecoder('latin1').decode(note.desc).startsWith('yes');
}
