/** LHCALL_LGUEST_INIT: where the guest's struct lguest_data is, and which era's it is. */
import { type DataLayout, ERAS, type Era, RING_DONE, RING_SIZE } from './abi.ts';
import type { LguestGuest, Registered } from './guest.ts';
import type { CheckedMemory } from './guestMemory.ts';
import { writeTimestamp } from './interrupts.ts';
import { hex, kill } from './killed.ts';
import { reservedBytes } from './paging.ts';

export type Transfer = Era['transfer'];
const PAGE_MASK = 0xfff;
/** What the vectors for system calls may be (asm/irq_vectors.h; lguest's module parameter). */
const SYSCALL_VECTORS = new Set([0x80, 0x40]);
const INSTRUCTION = { int: 'INT 0x1f', vmcall: 'VMCALL' } as const;

/** Takes the guest's first hypercall. @throws Killed */
export function initialise(guest: LguestGuest, transfer: Transfer): void {
  const era = guest.chosenEra ?? recognise(guest, transfer);
  if (era.transfer !== transfer) {
    kill(
      `${INSTRUCTION[transfer]} as first hypercall: kernels of ABI ${era.name} (${era.kernels}) use ${INSTRUCTION[era.transfer]}`,
    );
  }
  const at = addressOf(guest, era);
  const { memory } = guest;
  if (!memory.contains(at, era.data.sizeBytes)) kill(`bad guest page ${hex(at)}`);
  checkTail(guest, memory, era.data, at);
  memory.write32(at + era.data.tscKhz, Math.floor(guest.machine.clock.tscHz / 1000));
  memory.write32(at + era.data.reserveMem, reservedBytes(guest.paging));
  if (era.data.pgdir !== undefined) memory.write32(at + era.data.pgdir, Number(guest.cpu.cr3 & 0xffff_ffffn));
  const noirqStart = memory.read32(at + era.data.noirqStart);
  const noirqEnd = era.data.noirqEnd === undefined ? undefined : memory.read32(at + era.data.noirqEnd);
  const registered: Registered = { era, data: at, noirqStart, noirqEnd };
  guest.registered = registered;
  writeTimestamp(guest, registered);
  guest.cpu.flushTlb();
  guest.connectDevices(era);
  guest.host.log('info', `the guest speaks ABI ${era.name} (${era.kernels})`);
}

const addressOf = ({ cpu }: LguestGuest, { registers: [first] }: Era) => cpu.gprHalves[2 * first] >>> 0;

function checkTail(guest: LguestGuest, memory: CheckedMemory, layout: DataLayout, at: number): void {
  const vector = memory.read32(at + layout.syscallVector);
  if (!SYSCALL_VECTORS.has(vector)) kill('bad syscall vector');
  const kernelAddress = memory.read32(at + layout.kernelAddress);
  if (kernelAddress >= 2 ** 32 - reservedBytes(guest.paging)) kill(`bad kernel address ${hex(kernelAddress)}`);
}

/** The era whose instruction, register and struct these are. @throws Killed */
function recognise(guest: LguestGuest, transfer: Transfer): Era {
  const { memory } = guest;
  const found = ERAS.find(
    (era) => !era.onlyNamed && era.transfer === transfer && fits(memory, era, addressOf(guest, era)),
  );
  if (found) return found;
  kill(
    `a first hypercall by ${INSTRUCTION[transfer]} with EBX ${hex(guest.cpu.gprHalves[6])}, EDX ${hex(guest.cpu.gprHalves[4])} names the lguest_data of no known ABI: ` +
      'bad guest page, or name the kernel with --plugin lguest-like=abi:VERSION',
  );
}

/** As the guest has it at first: nothing in the ring, and in the tail what the guest puts there. */
function fits(memory: CheckedMemory, { data }: Era, at: number): boolean {
  if (at === 0 || at % 4 !== 0 || !memory.contains(at, data.sizeBytes)) return false;
  if (!memory.read(at + data.ringStatus, RING_SIZE).every((status) => status === RING_DONE)) return false;
  const start = memory.read32(at + data.noirqStart);
  if (data.noirqEnd !== undefined && memory.read32(at + data.noirqEnd) < start) return false;
  const kernelAddress = memory.read32(at + data.kernelAddress);
  const isPage = kernelAddress !== 0 && (kernelAddress & PAGE_MASK) === 0;
  return isPage && SYSCALL_VECTORS.has(memory.read32(at + data.syscallVector));
}
