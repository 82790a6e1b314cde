/** Guests on real page tables: the plug-in as a whole on a machine of fakes, whose virtual addresses are physical ones. */
import { type BootModule, type Exit, Gpr } from '@polyvisor/plugin-api';
import { FakeHost, FakeMachine } from '@polyvisor/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EFAULT, EINVAL, ENOENT, ENOSYS, EPERM } from '../errno.ts';
import { NoteType } from '../notes/elfNotes.ts';
import { xenPlugin } from '../plugin.ts';
import { elfImage, guestImage, numberNote } from '../testing/guest.ts';
import { HVM_OVERHEAD_BYTES } from './hvmDomain.ts';

const MEMORY_BYTES = 4 << 20;
const GUEST_PAGES = MEMORY_BYTES / 4096;
const ARGUMENT = 0x8000;
const LEAF = 0x4000_0000;
const AMD = { eax: 7, ebx: 0x6874_7541, ecx: 0x444d_4163, edx: 0x6974_6e65 };
const INTEL = { eax: 7, ebx: 0x756e_6547, ecx: 0x6c65_746e, edx: 0x4965_6e69 };
const [MEMORY_OP, XEN_VERSION, VM_ASSIST, VCPU_OP, EVENT_CHANNEL_OP, HVM_OP] = [12, 17, 21, 24, 32, 34];
const [STORE_PFN, STORE_EVTCHN, CONSOLE_PFN, CALLBACK_IRQ] = [1, 2, 17, 0];
const LONG_CODE = 0xa09b;

const PVH = { name: 'pvh', abi: 'Xen PVH', address: 0x10_0000n, foundIn: 'test', plugin: 'xen', priority: 90 };
const NATIVE = { ...PVH, name: 'linux64', abi: 'Linux', plugin: 'core' };

function start(
  options: {
    native?: boolean;
    vendor?: typeof AMD;
    initrd?: Uint8Array;
    modules?: readonly BootModule[];
    commandLine?: string;
  } = {},
) {
  const entry = options.native ? NATIVE : PVH;
  const machine = new FakeMachine({
    memoryBytes: MEMORY_BYTES,
    overheadBytes: HVM_OVERHEAD_BYTES,
    entry,
    chips: options.native ? ['localApic', 'pci', 'uart'] : ['localApic'],
    cpuid: { 0: options.vendor ?? AMD },
  });
  const host = FakeHost.of(xenPlugin);
  const [cpu] = machine.vcpus;
  const image = guestImage(elfImage({ notes: [numberNote(NoteType.PHYS32_ENTRY, 0x10_0010n)] }));
  const { initrd, modules, commandLine = 'a=b' } = options;
  const answers = host.call('boot', { image, entry, commandLine, memoryBytes: MEMORY_BYTES, initrd, modules }, machine);
  const call = (number: number, ...args: (bigint | number)[]): bigint => {
    cpu.setSegment(1, { ...cpu.segment(1), accessRights: LONG_CODE });
    cpu.efer = 0x500n;
    cpu.gpr[Gpr.RAX] = BigInt.asUintN(64, BigInt(number));
    [Gpr.RDI, Gpr.RSI, Gpr.RDX, Gpr.R10, Gpr.R8, Gpr.R9].forEach((register, i) => {
      cpu.gpr[register] = BigInt.asUintN(64, BigInt(args[i] ?? 0));
    });
    expect(host.exit(cpu, { kind: 'hypercall', instruction: 'vmmcall', instructionLength: 3 })).toBe('handled');
    return BigInt.asIntN(64, cpu.gpr[Gpr.RAX]);
  };
  const put32 = (gpa: number, ...words: number[]) => {
    words.forEach((word, i) => {
      machine.memory.write32(gpa + i * 4, word >>> 0);
    });
    return gpa;
  };
  return { machine, host, cpu, memory: machine.memory, call, put32, answers };
}
type Guest = ReturnType<typeof start>;

function getParam({ call, put32, memory }: Guest, index: number): bigint {
  put32(ARGUMENT, 0x7ff0, index, 0, 0);
  const errno = call(HVM_OP, 1, ARGUMENT);
  return errno === 0n ? memory.read64(ARGUMENT + 8) : errno;
}
function setParam({ call, put32 }: Guest, index: number, low: number, high = 0): bigint {
  return call(HVM_OP, 0, put32(ARGUMENT, 0x7ff0, index, low, high));
}
function addToPhysmap({ call, memory, put32 }: Guest, space: number, index: number, gfn: number): bigint {
  put32(ARGUMENT, 0x7ff0, space);
  memory.write64(ARGUMENT + 8, BigInt(index));
  memory.write64(ARGUMENT + 16, BigInt(gfn));
  return call(MEMORY_OP, 7, ARGUMENT);
}
function cpuid({ host, cpu }: Guest, leaf: number, subleaf = 0) {
  cpu.gpr[Gpr.RAX] = BigInt(leaf);
  cpu.gpr[Gpr.RCX] = BigInt(subleaf);
  const answer = host.exit(cpu, { kind: 'cpuid', instructionLength: 2 });
  return { answer, eax: Number(cpu.gpr[Gpr.RAX]), ebx: Number(cpu.gpr[Gpr.RBX]), ecx: Number(cpu.gpr[Gpr.RCX]) };
}
const MASTER = { ebx: 0x3000 };

describe('a PVH guest at its start', () => {
  const initrd = Uint8Array.of(9, 8, 7);
  const second = { bytes: Uint8Array.of(6, 5), commandLine: 'two words' };
  const guest = start({ initrd, modules: [second], commandLine: 'console=hvc0' });
  const { cpu, memory } = guest;

  it('has the registers that docs/misc/pvh.pandoc lays down', () => {
    expect(guest.answers).toEqual([true]);
    expect([cpu.rip, cpu.cr0, cpu.cr4, cpu.efer, cpu.rflags]).toEqual([0x10_0010n, 1n, 0n, 0n, 2n]);
    expect(cpu.segment(1)).toEqual({ selector: 0, base: 0n, limit: 0xffff_ffff, accessRights: 0xc09b });
    for (const index of [0, 2, 3]) expect(cpu.segment(index)).toMatchObject({ base: 0n, accessRights: 0xc093 });
    expect(cpu.tables.tr).toMatchObject({ base: 0n, limit: 0x67, accessRights: 0x8b });
  });

  it('has its kernel at the physical addresses of the ELF, and hvm_start_info version 1 at EBX', () => {
    expect([...memory.readBytes(0x10_0000, 3)]).toEqual([1, 2, 3]);
    const at = Number(cpu.gpr[Gpr.RBX]);
    const word = (offset: number) => Number(memory.read64(at + offset));
    expect([memory.read32(at), memory.read32(at + 4), memory.read32(at + 12)]).toEqual([0x336e_c578, 1, 2]);
    const [moduleAt, sizeBytes] = [word(16), word(16) && Number(memory.read64(word(16) + 8))];
    expect([...memory.readBytes(Number(memory.read64(moduleAt)), sizeBytes)]).toEqual([...initrd]);
    expect(memory.read64(word(16) + 16)).toBe(0n);
    expect(new TextDecoder().decode(memory.readBytes(word(24), 13))).toBe('console=hvc0\0');
    expect([memory.read32(at + 48), memory.read64(word(40) + 8), memory.read32(word(40) + 16)]).toEqual([
      1,
      BigInt(MEMORY_BYTES),
      1,
    ]);
    expect(guest.machine.bootDescriptor).toMatchObject({
      hypervisor: 'xen',
      guestType: 'pvh',
      data: { address: cpu.gpr[Gpr.RBX] },
    });
  });

  it('has further modules behind its initrd, each with its command line', () => {
    const list = Number(memory.read64(Number(cpu.gpr[Gpr.RBX]) + 16));
    const [at, sizeBytes, textAt] = [32, 40, 48].map((offset) => Number(memory.read64(list + offset)));
    expect([...memory.readBytes(at, sizeBytes)]).toEqual([6, 5]);
    expect(new TextDecoder().decode(memory.readBytes(textAt, 10))).toBe('two words\0');
  });

  it('is refused what does not fit, in words', () => {
    expect(() => start({ initrd: new Uint8Array(MEMORY_BYTES) })).toThrow(/does not fit into the guest's memory/);
  });
});

describe('how the guest finds and calls Xen', () => {
  it('CPUID leaves, with the vCPU’s number and upcall vectors in leaf 4', () => {
    const guest = start();
    expect(cpuid(guest, LEAF)).toMatchObject({ answer: 'handled', eax: LEAF + 5, ebx: 0x566e_6558 });
    expect(cpuid(guest, LEAF + 2)).toMatchObject({ eax: 1, ebx: LEAF, ecx: 0 });
    expect(cpuid(guest, LEAF + 4)).toMatchObject({ eax: 0x58, ebx: 0, ecx: 1 });
    expect(cpuid(guest, 1).answer).toBe('pass');
  });

  it('the leaves are at the first step that is free', () => {
    const host = new FakeHost();
    const taken = new Set([LEAF, LEAF + 0x100]);
    const claim = host.claim.bind(host);
    host.claim = (wanted) => {
      if (wanted.kind === 'cpuid' && taken.has(wanted.first)) throw new Error('taken');
      claim(wanted);
    };
    xenPlugin.apply(host);
    expect(host.claims).toContainEqual({ kind: 'cpuid', first: LEAF + 0x200, last: LEAF + 0x2ff });
    expect(host.claims).toContainEqual({ kind: 'msr', first: LEAF + 0x200, last: LEAF + 0x200 });
  });

  it('the instruction of the processor’s vendor; the other is #UD', () => {
    const vmcall: Exit = { kind: 'hypercall', instruction: 'vmcall', instructionLength: 3 };
    const amd = start();
    expect(amd.host.exit(amd.cpu, vmcall)).toEqual({ fault: 6 });
    const intel = start({ vendor: INTEL });
    intel.cpu.gpr[Gpr.RAX] = BigInt(XEN_VERSION);
    expect(intel.host.exit(intel.cpu, vmcall)).toBe('handled');
  });

  it('only CPL 0 may call; 32-bit callers pass EBX, ECX, … and get EAX', () => {
    const { host, cpu, call } = start();
    const exit: Exit = { kind: 'hypercall', instruction: 'vmmcall', instructionLength: 3 };
    cpu.gpr[Gpr.RAX] = 0xffff_ffff_0000_0011n;
    cpu.gpr[Gpr.RBX] = 7n;
    cpu.gpr[Gpr.RCX] = 0n;
    expect([host.exit(cpu, exit), cpu.gpr[Gpr.RAX]]).toEqual(['handled', 4096n]);
    cpu.cpl = 3;
    cpu.gpr[Gpr.RAX] = BigInt(XEN_VERSION);
    host.exit(cpu, exit);
    expect(cpu.gpr[Gpr.RAX]).toBe(0xffff_ffffn);
    cpu.cpl = 0;
    expect(call(2)).toBe(ENOSYS);
  });

  it('the hypercall page through the MSR, whose stubs load EAX and call', () => {
    const { host, cpu, memory } = start();
    const write = (value: number) => {
      cpu.gpr[Gpr.RCX] = BigInt(LEAF);
      cpu.gpr[Gpr.RAX] = BigInt(value);
      cpu.gpr[Gpr.RDX] = 0n;
      return host.exit(cpu, { kind: 'wrmsr', instructionLength: 2 });
    };
    expect(write(MASTER.ebx)).toBe('handled');
    expect([...memory.readBytes(0x3000 + 17 * 32, 9)]).toEqual([0xb8, 17, 0, 0, 0, 0x0f, 0x01, 0xd9, 0xc3]);
    expect([...memory.readBytes(0x3000 + 23 * 32, 2)]).toEqual([0x0f, 0x0b]);
    expect(write(0x3001)).toEqual({ fault: 13, errorCode: 0 });
    expect(write(MEMORY_BYTES)).toEqual({ fault: 13, errorCode: 0 });
  });
});

describe('the physmap', () => {
  const version = 3072;

  it('shared_info moves to where the guest wants it, and events are seen there', () => {
    const guest = start();
    expect(addToPhysmap(guest, 0, 0, 5)).toBe(0n);
    expect(guest.memory.read32(5 * 4096 + version)).not.toBe(0);
    expect(addToPhysmap(guest, 0, 0, 6)).toBe(0n);
    expect([guest.memory.read32(5 * 4096 + version), guest.memory.read32(6 * 4096 + version) !== 0]).toEqual([0, true]);
    // Port of a VIRQ, raised by the vCPU's own timer.
    guest.call(EVENT_CHANNEL_OP, 1, guest.put32(ARGUMENT, 0, 0, 0));
    const port = guest.memory.read32(ARGUMENT + 8);
    guest.memory.write64(ARGUMENT, 1n);
    guest.memory.write32(ARGUMENT + 8, 0);
    expect(guest.call(VCPU_OP, 8, 0, ARGUMENT)).toBe(0n);
    guest.machine.clock.advance(1000);
    expect((guest.memory.read32(6 * 4096 + 2048) >>> port) & 1).toBe(1);
    expect(guest.memory.read8(6 * 4096)).toBe(1);
  });

  it('grant frames go above memory as aliases, or into memory', () => {
    const guest = start();
    const above = 0x4_0000;
    expect(addToPhysmap(guest, 1, 0, above)).toBe(0n);
    const home = guest.machine.aliases.get(above * 4096) as number;
    expect(home).toBeGreaterThanOrEqual(MEMORY_BYTES);
    // Entry 1 is the store's.
    expect(guest.memory.read32(home + 12)).toBe(Number(getParam(guest, STORE_PFN)));
    expect(addToPhysmap(guest, 1, 0, 20)).toBe(0n);
    expect([guest.machine.aliases.size, guest.memory.read32(20 * 4096 + 12)]).toEqual([
      0,
      Number(getParam(guest, STORE_PFN)),
    ]);
    expect(addToPhysmap(guest, 1, 64, 21)).toBe(EINVAL);
  });

  it('a page taken out is no page of the guest’s until it is populated again', () => {
    const guest = start();
    const reservation = (op: number, gfn: number) => {
      guest.memory.write64(ARGUMENT + 64, BigInt(gfn));
      guest.put32(ARGUMENT, ARGUMENT + 64, 0, 1, 0, 0, 0, 0x7ff0);
      return guest.call(MEMORY_OP, op, ARGUMENT);
    };
    const pages = () => guest.call(MEMORY_OP, 3, guest.put32(ARGUMENT, 0x7ff0));
    expect([reservation(1, 30), reservation(1, 30), pages()]).toEqual([1n, 0n, BigInt(GUEST_PAGES - 1)]);
    expect([reservation(6, 30), reservation(6, 30), pages()]).toEqual([1n, 0n, BigInt(GUEST_PAGES)]);
    guest.put32(ARGUMENT, 0x7ff0, 0, 0x7fff_ffff, 0);
    expect(guest.call(MEMORY_OP, 15, ARGUMENT)).toBe(ENOENT);
  });
});

describe('events', () => {
  const pend = (guest: Guest) => guest.memory.write8(guest.machine.memory.sizeBytes - 4096, 0);

  it('come as the callback vector while an upcall is pending', () => {
    const guest = start();
    pend(guest);
    addToPhysmap(guest, 0, 0, 5);
    expect(guest.cpu.externalInterrupt?.()).toBeUndefined();
    expect(setParam(guest, CALLBACK_IRQ, 0xf3, 2 << 24)).toBe(0n);
    expect(guest.cpu.externalInterrupt?.()).toBeUndefined();
    guest.memory.write8(5 * 4096, 1);
    expect(guest.cpu.externalInterrupt?.()).toBe(0xf3);
  });

  it('or through the local APIC, by a vector of the vCPU’s own', () => {
    const guest = start();
    expect(guest.call(HVM_OP, 23, guest.put32(ARGUMENT, 0, 15))).toBe(EINVAL);
    expect(guest.call(HVM_OP, 23, guest.put32(ARGUMENT, 7, 0xf3))).toBe(ENOENT);
    expect(guest.call(HVM_OP, 23, guest.put32(ARGUMENT, 0, 0xf3))).toBe(0n);
    expect(guest.cpu.requested).toEqual([0xf3]);
    guest.call(EVENT_CHANNEL_OP, 7, guest.put32(ARGUMENT, 0, 0));
    guest.call(EVENT_CHANNEL_OP, 4, guest.put32(ARGUMENT, guest.memory.read32(ARGUMENT + 4)));
    expect(guest.cpu.requested).toEqual([0xf3, 0xf3]);
    expect(guest.cpu.externalInterrupt?.()).toBeUndefined();
  });

  it('or by the platform device’s pin, in PVHVM', () => {
    const guest = start({ native: true });
    expect(guest.answers).toEqual([undefined]);
    const [plugged] = guest.machine.plugged;
    expect(plugged.device.identity).toMatchObject({ vendorId: 0x5853, deviceId: 1 });
    addToPhysmap(guest, 0, 0, 5);
    guest.memory.write8(5 * 4096, 1);
    setParam(guest, CALLBACK_IRQ, 0, 1 << 24);
    expect(plugged.asserted).toBe(true);
    guest.memory.write8(5 * 4096, 0);
    guest.host.call('beforeEntry', guest.cpu);
    expect(plugged.asserted).toBe(false);
  });

  it('or as an edge at ISA IRQ 0, whose GSI is 2, each time that an upcall has been taken before; other GSIs are silent', () => {
    const guest = start({ native: true });
    addToPhysmap(guest, 0, 0, 5);
    const edgesOf = (pending: number) => {
      guest.memory.write8(5 * 4096, pending);
      guest.host.call('beforeEntry', guest.cpu);
      return guest.machine.timerInterrupts;
    };
    setParam(guest, CALLBACK_IRQ, 2);
    expect([edgesOf(0), edgesOf(1), edgesOf(1), edgesOf(0), edgesOf(1)]).toEqual([0, 1, 1, 1, 2]);
    setParam(guest, CALLBACK_IRQ, 5);
    expect([edgesOf(0), edgesOf(1)]).toEqual([2, 2]);
    expect(guest.host.counters.get('hvm.callbackGsi')).toBe(1);
  });
});

describe('parameters and the rest', () => {
  it('are readable and writable as Xen has it', () => {
    const guest = start();
    expect(getParam(guest, STORE_PFN)).toBeGreaterThanOrEqual(BigInt(GUEST_PAGES));
    expect([getParam(guest, STORE_EVTCHN), getParam(guest, CONSOLE_PFN) > 0n]).toEqual([1n, true]);
    expect([getParam(guest, 4), getParam(guest, 99), getParam(guest, 12)]).toEqual([EINVAL, EINVAL, EPERM]);
    expect([setParam(guest, STORE_PFN, 1), setParam(guest, 15, 1), getParam(guest, 15)]).toEqual([EPERM, 0n, 1n]);
    const pc = start({ native: true });
    expect([getParam(pc, CONSOLE_PFN), getParam(pc, STORE_EVTCHN)]).toEqual([0n, 1n]);
  });

  it('features: translated, with callback vectors and a safe clock, without pirqs', () => {
    const guest = start();
    expect(guest.call(XEN_VERSION, 6, guest.put32(ARGUMENT, 0, 0))).toBe(0n);
    expect(guest.memory.read32(ARGUMENT + 4)).toBe((1 << 0) | (1 << 2) | (1 << 8) | (1 << 9) | (1 << 13) | (1 << 16));
    expect([guest.call(VM_ASSIST, 0, 5), guest.call(VM_ASSIST, 0, 2)]).toEqual([0n, EINVAL]);
  });

  it('HLT with interrupts off powers the domain off', () => {
    const guest = start();
    const halt = () => guest.host.exit(guest.cpu, { kind: 'hlt', instructionLength: 1 });
    guest.cpu.rflags = 0x202n;
    expect([halt(), guest.machine.ended]).toEqual(['pass', undefined]);
    guest.cpu.rflags = 2n;
    halt();
    expect(guest.machine.ended).toEqual({ kind: 'poweroff' });
  });

  it('unplug: magic number, protocol version, and a log', () => {
    const { machine, host } = start({ native: true });
    const [{ device, firstPort, ports }] = machine.ports;
    expect([firstPort, ports, device.readPort(0, 2), device.readPort(2, 1)]).toEqual([0x10, 4, 0x49d2, 1]);
    device.writePort(0, 2, 3);
    for (const byte of Buffer.from('hello\n')) device.writePort(2, 1, byte);
    expect([host.counters.get('hvm.unplug'), host.logged.map(({ message }) => message)]).toEqual([1, ['(d1) hello']]);
  });
});

describe('hostile calls', () => {
  const word = fc.oneof(
    fc.nat(40).map(BigInt),
    fc.constantFrom(BigInt(ARGUMENT), 0x7ff0n, BigInt(MEMORY_BYTES - 4), 0x4_0000n, 0x8000_0000n, (1n << 64n) - 1n),
    fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
  );
  const anyCall = fc.record({
    number: fc.constantFrom(MEMORY_OP, XEN_VERSION, VM_ASSIST, VCPU_OP, EVENT_CHANNEL_OP, HVM_OP, 13, 20, 29, 33),
    op: fc.nat(30).map(BigInt),
    args: fc.array(word, { minLength: 4, maxLength: 4 }),
    buffer: fc.array(word, { minLength: 8, maxLength: 8 }),
    isLong: fc.boolean(),
  });

  it('answer a value or an errno, and harm nobody else', () => {
    fc.assert(
      fc.property(fc.array(anyCall, { maxLength: 12 }), (calls) => {
        const guest = start();
        for (const { number, op, args, buffer, isLong } of calls) {
          buffer.forEach((value, i) => {
            guest.memory.write64(ARGUMENT + i * 8, value);
          });
          guest.cpu.efer = isLong ? 0x500n : 0n;
          guest.call(number, op, ARGUMENT, args[1], args[2], args[3]);
          expect(typeof guest.call(number, op, ...args)).toBe('bigint');
          guest.host.call('beforeEntry', guest.cpu);
          guest.cpu.externalInterrupt?.();
          guest.machine.clock.advance(1000);
        }
        guest.host.call('shutdown', { kind: 'poweroff' });
      }),
      { seed: 1, numRuns: 12 },
    );
  });

  it('a pointer beyond memory is -EFAULT', () => {
    const guest = start();
    for (const [number, op] of [
      [HVM_OP, 0],
      [HVM_OP, 23],
      [MEMORY_OP, 7],
      [MEMORY_OP, 15],
      [MEMORY_OP, 9],
    ]) {
      expect(guest.call(number, op, 0xffff_ffff_ffff_fff8n)).toBe(EFAULT);
    }
  });
});
