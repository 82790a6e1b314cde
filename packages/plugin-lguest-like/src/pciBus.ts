/**
 * The bus of lguest from 4.0 on: a PCI bus of the launcher's, with functions of Virtio 1.0 and a host bridge before them (Linux
 * 4.1, tools/lguest/lguest.c). Functions and configuration ports are the machine's; here is where they lie and what they
 * interrupt. A guest that breaks a queue has a device that waits to be reset, where the launcher ended it.
 */
import type { Machine } from '@polyvisor/plugin-api';
import { IRQS } from './abi.ts';
import type { Bus } from './guest.ts';

/** Device memory above the guest's, as much as the launcher had. */
const SPAN_BYTES = 1 << 20;
const FIRST_IRQ = 1;

/** `raise`: an interrupt of the bus. `endGpa`: end of all memory. @throws PolyvisorError PV2021 */
export function plugPciBus(machine: Machine, endGpa: number, raise: (irq: number) => void): Bus {
  let isStopped = false;
  machine.plugVirtio({
    firstGpa: endGpa,
    sizeBytes: SPAN_BYTES,
    // Slots, and so devices, are fewer than interrupts.
    irqOf: (device) => FIRST_IRQ + (device % (IRQS - FIRST_IRQ)),
    interrupt: (device, asserted) => {
      if (asserted && !isStopped) raise(FIRST_IRQ + (device % (IRQS - FIRST_IRQ)));
    },
  });
  return {
    pci: { firstGpa: endGpa, endGpa: endGpa + SPAN_BYTES },
    notify: () => {},
    stop: () => {
      isStopped = true;
    },
  };
}
