import { FakeHost, FakeMachine } from '@polyvisor/testkit';
import { describe, expect, it } from 'vitest';
import { Call, ERAS, RING_DONE, RING_SIZE } from './abi.ts';
import { LguestGuest } from './guest.ts';
import { hypercall } from './hypercalls.ts';
import { deliverInterrupts } from './interrupts.ts';
import { plugPciBus } from './pciBus.ts';

const DATA = 0x1000;
const STACK = 0x8000;
const IRET = 0x4000;
const HANDLER = 0x5000;
const IF = 0x200;
const [ERA] = ERAS.slice(-1);

/** A guest of ABI 4.1 in its kernel, with a gate for interrupt 1, which waits. */
function setup() {
  const machine = new FakeMachine({ memoryBytes: 1 << 20 });
  const guest = new LguestGuest({
    host: new FakeHost(),
    machine,
    makeBus: () => plugPciBus(machine, 1 << 20, () => {}),
    paging: { pae: false },
    chosenEra: undefined,
  });
  const { memory } = machine;
  const { data } = ERA;
  memory.fill(DATA + data.ringStatus, RING_SIZE, RING_DONE);
  memory.write32(DATA + data.noirqStart, IRET);
  memory.write32(DATA + data.kernelAddress, 0xc0000000);
  memory.write32(DATA + data.syscallVector, 0x80);
  memory.write32(DATA + data.irqEnabled, IF);
  const { cpu } = guest;
  cpu.gpr[0] = BigInt(Call.LGUEST_INIT);
  cpu.gpr[3] = BigInt(DATA);
  hypercall(guest, 'int');
  cpu.setSegment(1, guest.gdt.segment(0x61));
  cpu.setSegment(2, guest.gdt.segment(0x69));
  cpu.gpr[4] = BigInt(STACK);
  guest.idt[33 * 2] = HANDLER;
  guest.idt[33 * 2 + 1] = 0x8e00;
  guest.irqsPending = 2;
  // The frame of an interrupt that is about to return: EIP, CS, EFLAGS with the direction flag.
  [0x7777, 0x61, 0x602].forEach((word, i) => memory.write32(STACK + i * 4, word));
  const state = () => ({
    rip: cpu.ripHalves[0],
    esp: cpu.gprHalves[8],
    enabled: memory.read32(DATA + data.irqEnabled),
  });
  return { guest, memory, cpu, state };
}

describe('an interrupt of ABI 4.1', () => {
  it('anywhere: a frame of its own', () => {
    const { guest, memory, cpu, state } = setup();
    cpu.setRip(IRET - 1, 0);
    deliverInterrupts(guest);
    expect(state()).toEqual({ rip: HANDLER, esp: STACK - 12, enabled: 0 });
    expect(memory.read32(STACK - 12)).toBe(IRET - 1);
  });

  it("at the kernel's IRET: it takes the frame that this would have taken", () => {
    const { guest, memory, cpu, state } = setup();
    cpu.setRip(IRET, 0);
    deliverInterrupts(guest);
    expect(state()).toEqual({ rip: HANDLER, esp: STACK, enabled: 0 });
    expect([memory.read32(STACK), cpu.eflags & 0x600, guest.irqsPending]).toEqual([0x7777, 0x600, 0]);
  });
});
