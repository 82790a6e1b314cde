import { SegmentIndex } from '@polyvisor/plugin-api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FakeGuest } from '../testing/fake-guest.ts';
import { AP_STATE_BYTES } from './ap-state.ts';

const STATE = 0x9000;
const GDT = 0xa000;
const MEMORY_BYTES = 1 << 20;
/** Code, data, code of ring 3, data of ring 3, a TSS, an LDT, data that is not present. */
const DESCRIPTORS = [
  ...[0n, 0x00cf9a000000ffffn, 0x00cf92000000ffffn, 0x00cffa000000ffffn, 0x00cff2000000ffffn],
  ...[0x00008912_34560067n, 0x12008234_5678002fn, 0x00cf12000000ffffn],
];
const [CODE, DATA, USER_CODE, USER_DATA, TSS, LDT, ABSENT] = [8, 0x10, 0x1b, 0x23, 0x28, 0x30, 0x38];

/** Fields of struct vmi_ap_state by their offsets, and how wide they are. */
const FIELDS = {
  ...{ cr0: [0, 4], cr2: [4, 4], cr3: [8, 4], cr4: [12, 4], eferLow: [16, 4], eferHigh: [20, 4] },
  ...{ eip: [24, 4], eflags: [28, 4], eax: [32, 4], ebx: [36, 4], ecx: [40, 4], edx: [44, 4] },
  ...{ esp: [48, 4], ebp: [52, 4], esi: [56, 4], edi: [60, 4] },
  ...{ cs: [64, 2], ss: [66, 2], ds: [68, 2], es: [70, 2], fs: [72, 2], gs: [74, 2], ldtr: [76, 2] },
  ...{ gdtrLimit: [78, 2], gdtrBase: [80, 4], idtrBase: [84, 4], idtrLimit: [88, 2] },
} as const;
type State = Partial<Record<keyof typeof FIELDS, number>>;
const good: State = {
  ...{ cr0: 0x80050033, cr2: 0x77, cr3: 0x4000, cr4: 0x6b0, eferLow: 0x800, eip: 0xc0001234, eflags: 0x246 },
  ...{ eax: 1, ebx: 2, ecx: 3, edx: 4, esp: 0xc0008000, ebp: 6, esi: 7, edi: 8 },
  ...{ cs: CODE, ss: DATA, ds: USER_DATA, es: USER_DATA, fs: DATA, gs: 0, ldtr: 0 },
  ...{ gdtrLimit: DESCRIPTORS.length * 8 - 1, gdtrBase: GDT, idtrBase: 0xb000, idtrLimit: 0x7ff },
};

function setUp(): FakeGuest {
  const guest = new FakeGuest({ memoryBytes: MEMORY_BYTES, vcpus: 2 });
  guest.machine.vcpus[1].offline = true;
  DESCRIPTORS.forEach((descriptor, i) => guest.machine.memory.write64(GDT + 8 * i, descriptor));
  return guest;
}
function set(guest: FakeGuest, state: State, id = 1): void {
  const bytes = new DataView(new ArrayBuffer(AP_STATE_BYTES));
  for (const [name, [at, sizeBytes]] of Object.entries(FIELDS)) {
    const value = state[name as keyof State] ?? 0;
    if (sizeBytes === 4) bytes.setUint32(at, value, true);
    else bytes.setUint16(at, value, true);
  }
  guest.machine.memory.writeBytes(STATE, new Uint8Array(bytes.buffer));
  expect(guest.call('SetInitialAPState', { eax: STATE, edx: id })).toBe('handled');
}
/** What a SIPI does. */
function start(guest: FakeGuest) {
  const [, vcpu] = guest.machine.vcpus;
  vcpu.offline = false;
  vcpu.atStartup?.();
  return vcpu;
}

describe('the state of a processor that is started', () => {
  it('is what the guest has said, segments as its GDT has them', () => {
    const guest = setUp();
    set(guest, good);
    // It is what it was when the call was made.
    guest.machine.memory.fill(STATE, AP_STATE_BYTES, 0xff);
    const vcpu = start(guest);
    expect(vcpu).toMatchObject({
      ...{ cr0: 0x80050033n, cr2: 0x77n, cr3: 0x4000n, cr4: 0x6b0n, efer: 0x800n, cpl: 0, offline: false },
      ...{ rip: 0xc0001234n, rflags: 0x246n },
      tables: { gdtr: { base: BigInt(GDT), limit: 0x3f }, idtr: { base: 0xb000n, limit: 0x7ff }, tr: { limit: 0 } },
    });
    expect([...vcpu.gpr.slice(0, 9)]).toEqual([1n, 3n, 4n, 2n, 0xc0008000n, 6n, 7n, 8n, 0n]);
    const flat = { base: 0n, limit: 0xffffffff };
    expect(vcpu.segment(SegmentIndex.CS)).toEqual({ ...flat, selector: CODE, accessRights: 0xc09b });
    expect(vcpu.segment(SegmentIndex.SS)).toEqual({ ...flat, selector: DATA, accessRights: 0xc093 });
    expect(vcpu.segment(SegmentIndex.DS)).toEqual({ ...flat, selector: USER_DATA, accessRights: 0xc0f3 });
    expect(vcpu.accessRights(SegmentIndex.GS)).toBe(0x10000);
  });

  it('may have an LDT', () => {
    const guest = setUp();
    set(guest, { ...good, ldtr: LDT });
    const { ldtr } = start(guest).tables;
    expect(ldtr).toEqual({ selector: LDT, base: 0x12345678n, limit: 0x2f, accessRights: 0x82 });
  });

  it.each<[string, State]>([
    ['real-address mode', { cr0: 0x80000010 }],
    ['CR0.NW without CR0.CD', { cr0: 0x20000001 }],
    ['reserved bits of CR0', { cr0: 0x00080011 }],
    ['reserved bits of CR4', { cr4: 0x1000 }],
    ['64-bit mode', { eferLow: 0x500 }],
    ['the high half of EFER', { eferHigh: 1 }],
    ['virtual-8086 mode', { eflags: 0x20002 }],
    ['a selector of an LDT', { fs: 0x14 }],
    ['ring 3', { cs: USER_CODE, ss: USER_DATA }],
  ])('is not %s', (_what, changes) => {
    const guest = setUp();
    set(guest, { ...good, ...changes });
    expect(guest.counter('refused.SetInitialAPState')).toBe(1);
    expect(guest.machine.vcpus[1].atStartup).toBeUndefined();
  });

  it.each<[string, State]>([
    ['code in SS', { ss: CODE }],
    ['data in CS', { cs: DATA }],
    ['no code at all', { cs: 0 }],
    ['no stack', { ss: 0 }],
    ['a TSS in DS', { ds: TSS }],
    ['a segment that is not present', { es: ABSENT }],
    ['RPL 3 in a segment of ring 0', { es: DATA | 3 }],
    ['an LDTR that holds something else', { ldtr: DATA }],
    ['a selector beyond the GDT', { fs: 0x40 }],
    ['a GDT that cannot be read', { gdtrBase: 0xfffff000 }],
  ])('that has %s starts nothing', (_what, changes) => {
    const guest = setUp();
    set(guest, { ...good, ...changes });
    expect(guest.counter('refused.SetInitialAPState')).toBe(0);
    expect(start(guest).offline).toBe(true);
    expect(guest.counter('ap.refused')).toBe(1);
  });

  it('is of another processor, and one that there is', () => {
    const guest = setUp();
    for (const id of [0, 2, 0xffffffff]) set(guest, good, id);
    expect(guest.counter('refused.SetInitialAPState')).toBe(3);
    expect(guest.machine.vcpus.map(({ atStartup }) => atStartup)).toEqual([undefined, undefined]);
  });

  it('whatever it is, is that of a processor, or none is started', () => {
    const word = fc.oneof(fc.nat(0xffffffff), fc.constantFrom(...DESCRIPTORS.map((_, i) => i * 8), GDT, 0xffffffff));
    const changes = Object.fromEntries(Object.keys(FIELDS).map((name) => [name, word]));
    fc.assert(
      fc.property(fc.record(changes, { requiredKeys: [] }), (state) => {
        const guest = setUp();
        set(guest, { ...good, ...state });
        const vcpu = start(guest);
        if (guest.counter('refused.SetInitialAPState') > 0 || vcpu.offline) return;
        expect([vcpu.cr0 & 1n, vcpu.efer & 0x500n, vcpu.cpl, vcpu.rflags & 0x20002n]).toEqual([1n, 0n, 0, 2n]);
        for (const index of [SegmentIndex.CS, SegmentIndex.SS]) expect(vcpu.accessRights(index) & 0xf0).toBe(0x90);
        expect(vcpu.gpr.every((value) => value < 1n << 32n)).toBe(true);
      }),
      { numRuns: 300, seed: 62 },
    );
  });
});

it('alarms are of the processor that asked for them', () => {
  const guest = setUp();
  const [first, second] = guest.machine.vcpus;
  guest.call('SetAlarm', { eax: 0x10000, edx: 1000, stack: [0, 0] });
  second.gpr.set([0x10000n, 0n, 2000n]);
  second.gpr[4] = first.gpr[4];
  second.rip = first.rip;
  guest.host.exit(second, { kind: 'hypercall', instruction: 'vmcall', instructionLength: 3 });
  guest.machine.clock.advance(1_000_000);
  expect([first, second].map(({ localTimerInterrupts }) => localTimerInterrupts)).toEqual([1, 1]);
});
