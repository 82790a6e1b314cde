import type { Machine, PluginHost, Timer, Vcpu } from '@polyvisor/plugin-api';
import type { Era } from './abi.ts';
import { CheckedMemory } from './guestMemory.ts';
import { Gdt } from './segments.ts';

/** What the guest's first hypercall brings. */
export interface Registered {
  readonly era: Era;
  /** Guest-physical address of struct lguest_data. */
  readonly data: number;
  /** Instructions in which no interrupt is delivered: [start, end). */
  readonly noirqStart: number;
  /** Without it: at the IRET at noirqStart an interrupt takes the frame that this would. */
  readonly noirqEnd: number | undefined;
}

/** What the guest finds its devices on. */
export interface Bus {
  /** LHCALL_NOTIFY. @throws Killed */
  notify(address: number): void;
  /** Its ports are the machine's, and these addresses above memory its registers. */
  readonly pci: { readonly firstGpa: number; readonly endGpa: number } | undefined;
  /** Nothing of the guest's is touched any more. */
  stop(): void;
}

/** How the guest's page tables are: decided when it is started. */
export interface PagingFormat {
  readonly pae: boolean;
}

/** One running guest. */
export class LguestGuest {
  readonly host: PluginHost;
  readonly machine: Machine;
  readonly cpu: Vcpu;
  readonly memory: CheckedMemory;
  /** From the first hypercall on. */
  bus: Bus | undefined;
  readonly paging: PagingFormat;
  /** The era that the user has named; otherwise it is recognised. */
  readonly chosenEra: Era | undefined;
  readonly gdt = new Gdt();
  /** The guest's gates, two words each. Only the plug-in looks at them: every exception is an exit. */
  readonly idt = new Int32Array(512);
  registered: Registered | undefined;
  /** Stack for traps from user mode. */
  stack = { selector: 0, esp: 0 };
  halted = false;
  /** It has shut itself down; nothing more of it is looked at. */
  ended = false;
  /** Interrupts that wait, a bit each. */
  irqsPending = 0;
  /** Place in the ring at which the next call is expected. */
  nextHcall = 0;
  /** NEW_PGTABLE has been called: what the launcher built is out of use. */
  hasOwnTables = false;
  clockEvent: Timer | undefined;
  readonly #makeBus: (era: Era) => Bus;

  constructor(parts: {
    readonly host: PluginHost;
    readonly machine: Machine;
    makeBus(era: Era): Bus;
    readonly paging: PagingFormat;
    readonly chosenEra: Era | undefined;
  }) {
    this.host = parts.host;
    this.machine = parts.machine;
    this.#makeBus = parts.makeBus;
    this.paging = parts.paging;
    this.chosenEra = parts.chosenEra;
    [this.cpu] = parts.machine.vcpus;
    this.memory = new CheckedMemory(parts.machine.memory);
  }

  /** Once it is known which bus the guest looks for. @throws Killed */
  connectDevices(era: Era): void {
    this.bus = this.#makeBus(era);
  }

  /** An interrupt of the launcher's: delivered before guest code goes on, if the guest lets it. */
  raise(irq: number): void {
    this.irqsPending |= 1 << irq;
    this.cpu.kick();
  }
}
