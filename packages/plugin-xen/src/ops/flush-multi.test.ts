import type { KernelMember, OpContext } from '@polyvisor/plugin-api';
import { FakeMachine } from '@polyvisor/testkit';
import { describe, expect, it } from 'vitest';
import { flushMulti } from './flush-multi.ts';

const INFO = 0x5000n;
/** In no kernel's order, so that nothing depends on one. */
const MEMBERS: Readonly<Record<string, KernelMember>> = {
  end: { offsetBytes: 8, sizeBytes: 8 },
  start: { offsetBytes: 24, sizeBytes: 8 },
};
const START = 0xffff_8880_1234_5000n;
const TLB_FLUSH_ALL = 0xffff_ffff_ffff_ffffn;
const PAGE = 4096n;
const INTERRUPT_FLAG = 0x200;

interface Call {
  readonly start?: bigint;
  readonly end?: bigint;
  readonly vcpus?: number;
  /** Where the second argument points. */
  readonly info?: bigint;
  readonly members?: typeof MEMBERS;
  readonly prepare?: (machine: FakeMachine) => void;
}

/** What it answers, and what each vCPU has been told to flush. The second one calls, with interrupts off. */
function call(asked: Call) {
  const { start = START, end = START + PAGE, vcpus = 3, info = INFO, members = MEMBERS } = asked;
  const machine = new FakeMachine({ vcpus });
  for (const vcpu of machine.vcpus) vcpu.eflags |= INTERRUPT_FLAG;
  const caller = machine.vcpus[vcpus === 1 ? 0 : 1];
  caller.eflags &= ~INTERRUPT_FLAG;
  const at = (name: string) => Number(INFO) + MEMBERS[name].offsetBytes;
  machine.memory.write64(at('start'), start);
  machine.memory.write64(at('end'), end);
  asked.prepare?.(machine);
  const context: OpContext = {
    ...{ slot: 'mmu.flush_tlb_multi', vcpu: caller, memory: machine.memory, machine },
    data: 0,
    arg: (index) => [0n, info][index],
    member: (struct, name) => (struct === 'flush_tlb_info' ? members[name] : undefined),
  };
  const answer = flushMulti(context);
  return { answer, flushes: machine.vcpus.map(({ flushes }) => flushes) };
}
const everywhere = (...flushes: readonly (bigint | undefined)[]) => ({
  answer: undefined,
  flushes: [flushes, flushes, flushes],
});
const EVERYTHING = everywhere(undefined);
const nowhere = (answer: 'native' | undefined, vcpus = 3) => ({ answer, flushes: Array(vcpus).fill([]) });

describe('flush_tlb_multi', () => {
  it('is nothing on one vCPU', () => {
    expect(call({ vcpus: 1 })).toEqual(nowhere(undefined, 1));
  });

  it('flushes the pages on every vCPU', () => {
    expect(call({})).toEqual(everywhere(START));
    const end = START + 2n * PAGE + 1n;
    expect(call({ start: START + 0xfffn, end })).toEqual(everywhere(START, START + PAGE, START + 2n * PAGE));
  });

  it('flushes everything instead of many pages', () => {
    const pages = Array.from({ length: 33 }, (_, i) => START + BigInt(i) * PAGE);
    expect(call({ end: START + 33n * PAGE })).toEqual(everywhere(...pages));
    expect(call({ end: START + 33n * PAGE + 1n })).toEqual(EVERYTHING);
    expect(call({ start: 0n, end: TLB_FLUSH_ALL })).toEqual(EVERYTHING);
  });

  it('flushes everything if what is asked for makes no sense or cannot be read', () => {
    expect(call({ end: START })).toEqual(EVERYTHING);
    expect(call({ end: START - PAGE })).toEqual(EVERYTHING);
    expect(call({ info: 0xdead_0000_0000n })).toEqual(EVERYTHING);
    const vast = { offsetBytes: 8, sizeBytes: 1 << 30 };
    expect(call({ members: { ...MEMBERS, end: vast } })).toEqual(EVERYTHING);
  });

  it("is the kernel's own where that carries no types", () => {
    expect(call({ members: {} })).toEqual(nowhere('native'));
  });

  describe('while another vCPU has interrupts off, and may be walking tables that are freed next', () => {
    const another = (state: 'blocked' | 'offline' | undefined) => ({
      prepare: ({ vcpus: [, , other] }: FakeMachine) => {
        other.eflags &= ~INTERRUPT_FLAG;
        if (state) other[state] = true;
      },
    });

    it('is left to interrupts', () => {
      expect(call(another(undefined))).toEqual(nowhere('native'));
    });
    it('flushes if that one is halted or not there', () => {
      expect(call(another('blocked'))).toEqual(everywhere(START));
      expect(call(another('offline'))).toEqual(everywhere(START));
    });
  });
});
