/** Hypercalls with any arguments, by register and in the ring: the guest goes on or is killed with a reason; nothing else. */
import { FakeHost, FakeMachine } from '@polyvisor/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Call, ERAS, type Era, RING_DONE, RING_SIZE } from './abi.ts';
import { DescriptorBus } from './descriptorBus.ts';
import { PLAIN, TYPED_FIELDS } from './descriptors.ts';
import { guarded } from './exits.ts';
import { LguestGuest } from './guest.ts';
import { hypercall } from './hypercalls.ts';
import { plugPciBus } from './pciBus.ts';

const MEMORY = 4 << 20;
const DATA = 0x1000;
const word = fc.oneof(
  fc.integer({ min: 0, max: 0xffffffff }),
  fc.constantFrom(
    0,
    1,
    31,
    32,
    255,
    256,
    0x61,
    0x69,
    MEMORY - 4,
    MEMORY,
    0x7fffffff,
    0x80000000,
    0xffc00000,
    0xffffffff,
  ),
  fc.integer({ min: 0, max: MEMORY }),
);
const number = fc.oneof(fc.integer({ min: 0, max: 20 }), word);

function makeGuest(era: Era, pae: boolean) {
  const host = new FakeHost();
  const machine = new FakeMachine({ memoryBytes: MEMORY });
  const makeBus = ({ bus }: Era) =>
    bus === 'pci'
      ? plugPciBus(machine, MEMORY, () => {})
      : new DescriptorBus(machine, MEMORY - (1 << 20), () => {}, bus === 'descriptors' ? PLAIN : TYPED_FIELDS);
  const guest = new LguestGuest({ host, machine, makeBus, paging: { pae }, chosenEra: undefined });
  const { data } = era;
  machine.memory.fill(DATA + data.ringStatus, RING_SIZE, RING_DONE);
  machine.memory.write32(DATA + data.kernelAddress, 0xc0000000);
  machine.memory.write32(DATA + data.syscallVector, 0x80);
  const set = (args: readonly number[]) => {
    machine.vcpus[0].gpr[0] = BigInt(args[0]);
    era.registers.forEach((register, i) => {
      machine.vcpus[0].gpr[register] = BigInt(args[i + 1] ?? 0);
    });
  };
  const call = (...args: number[]) => {
    set(args);
    guarded(guest, () => hypercall(guest, era.transfer));
  };
  return { guest, machine, call };
}

const eras = fc.constantFrom(...ERAS);
const calls = fc.array(fc.tuple(number, word, word, word, word), { minLength: 1, maxLength: 12 });

describe('hostile hypercalls', () => {
  it.each(ERAS.map((era) => [era.name, era] as const))('ABI %s is recognised', (_name, era) => {
    const { guest, call, machine } = makeGuest(era, false);
    call(Call.LGUEST_INIT, DATA);
    expect(machine.ended).toBeUndefined();
    const twin = guest.registered?.era;
    expect([twin?.transfer, twin?.registers, twin?.data]).toEqual([era.transfer, era.registers, era.data]);
  });

  it('a restart without a message is one all the same', () => {
    const { call, machine } = makeGuest(ERAS[2], false);
    call(Call.LGUEST_INIT, DATA);
    call(Call.SHUTDOWN, 0x40000000, 2);
    expect(machine.ended).toEqual({ kind: 'reboot' });
  });

  it.each(ERAS.map((era) => [era.name, era] as const))('every call of ABI %s', (_name, era) => {
    const numbers = [...era.calls];
    const made = new Map<number, number>();
    fc.assert(
      fc.property(
        fc.shuffledSubarray(numbers, { minLength: numbers.length }),
        fc.array(fc.tuple(word, word, word, word), { minLength: numbers.length, maxLength: numbers.length }),
        fc.boolean(),
        (order, args, pae) => {
          let fresh = makeGuest(era, pae);
          order.forEach((number, i) => {
            if (number !== Call.LGUEST_INIT) fresh.call(Call.LGUEST_INIT, DATA);
            fresh.call(number, ...args[i]);
            made.set(number, (made.get(number) ?? 0) + 1);
            const { ended } = fresh.machine;
            if (ended?.kind === 'crash') expect(ended.message).toMatch(/^(lguest killed the guest|CRASH): /);
            // Of the next call nothing may hide behind this one.
            fresh = makeGuest(era, pae);
          });
        },
      ),
      { numRuns: 12, seed: 6 },
    );
    expect(numbers.filter((number) => (made.get(number) ?? 0) < 12)).toEqual([]);
  });

  it('by registers', () => {
    fc.assert(
      fc.property(eras, fc.boolean(), calls, (era, pae, list) => {
        const { call, machine, guest } = makeGuest(era, pae);
        call(Call.LGUEST_INIT, DATA);
        for (const args of list) {
          if (guest.ended) break;
          call(...args);
        }
        if (machine.ended?.kind === 'crash')
          expect(machine.ended.message).toMatch(/^(lguest killed the guest|CRASH): /);
        expect(guest.gdt.words.every((high, i) => i % 2 === 0 || high === 0 || (high & 0x6000) !== 0)).toBe(true);
      }),
      { numRuns: 300, seed: 6 },
    );
  });

  it('in the ring, with any states and from any place', () => {
    fc.assert(
      fc.property(
        eras,
        fc.uint8Array({ minLength: RING_SIZE, maxLength: RING_SIZE }),
        fc.array(number, { minLength: RING_SIZE * 5, maxLength: RING_SIZE * 5 }),
        fc.integer({ min: 0, max: RING_SIZE - 1 }),
        (era, states, words, place) => {
          const { call, machine, guest } = makeGuest(era, false);
          call(Call.LGUEST_INIT, DATA);
          guest.nextHcall = place;
          machine.memory.writeBytes(DATA + era.data.ringStatus, states);
          const size = era.ringOrder.length * RING_SIZE;
          words.slice(0, size).forEach((value, i) => machine.memory.write32(DATA + era.data.ring + i * 4, value));
          call(Call.FLUSH_ASYNC);
          expect(guest.ended || guest.nextHcall < RING_SIZE).toBe(true);
        },
      ),
      { numRuns: 150, seed: 6 },
    );
  });

  it('with lguest_data anywhere', () => {
    fc.assert(
      fc.property(eras, word, (era, at) => {
        const { call, machine, guest } = makeGuest(era, false);
        call(Call.LGUEST_INIT, at);
        expect(guest.registered !== undefined || machine.ended?.kind === 'crash').toBe(true);
      }),
      { numRuns: 200, seed: 6 },
    );
  });
});
