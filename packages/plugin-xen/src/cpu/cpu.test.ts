import { Gpr, SegmentIndex } from '@polyvisor/plugin-api';
import { describe, expect, it } from 'vitest';
import { type Booted, boot, hypercall, KERNEL_PADDR, VIRT_BASE } from '../testing/guest.ts';
import { walk } from '../testing/walk.ts';

const HANDLER = VIRT_BASE + KERNEL_PADDR + 0x100n;
const CALLBACK = VIRT_BASE + KERNEL_PADDR + 0x200n;
/** A page of the kernel image that tests use for arguments. */
const SCRATCH = VIRT_BASE + KERNEL_PADDR + 0x2000n;
const RFLAGS_IF = 0x200n;

function gpa(guest: Booted, gva: bigint): number {
  const found = walk(guest.memory, guest.cpu.cr3, gva, 'read', true);
  if (typeof found !== 'number') throw new Error('not mapped');
  return found;
}

function words(guest: Booted, gva: bigint, count: number): bigint[] {
  return Array.from({ length: count }, (_, index) => guest.memory.read64(gpa(guest, gva + BigInt(index * 8))));
}

function put(guest: Booted, gva: bigint, values: readonly bigint[]): void {
  values.forEach((value, index) => {
    guest.memory.write64(gpa(guest, gva + BigInt(index * 8)), value);
  });
}

/** vcpu_info of vCPU 0: shared_info is named by start_info. */
function vcpuInfo(guest: Booted): number {
  return Number(guest.memory.read64(gpa(guest, startInfo(guest)) + 40));
}

const startInfoOf = new WeakMap<Booted, bigint>();
function startInfo(guest: Booted): bigint {
  const known = startInfoOf.get(guest) ?? guest.cpu.gpr[Gpr.RSI];
  startInfoOf.set(guest, known);
  return known;
}

/** A guest with a handler for every vector; the entry of `masking` masks events, that of `open` may be reached with INT. */
function withTraps(masking: number, open?: number): Booted {
  const guest = boot();
  startInfo(guest);
  const info = (vector: number): bigint => {
    const flags = (vector === masking ? 4 : 0) | (vector === open ? 3 : 0);
    return BigInt(vector) | (BigInt(flags) << 8n) | (0xe033n << 16n);
  };
  const entries = [...new Set([6, 7, 13, 14, masking, open ?? 3])].flatMap((vector) => [
    info(vector),
    HANDLER + BigInt(vector),
  ]);
  put(guest, SCRATCH, [...entries, 0n, 0n]);
  expect(hypercall(guest, 0, SCRATCH)).toBe(0n);
  return guest;
}

/** Load a user root that is a copy of the kernel's, and go to user mode with HYPERVISOR_iret. */
function toUserMode(guest: Booted, rip = 0x1234n, rsp = 0x5678n): void {
  const mfn = guest.cpu.cr3 >> 12n;
  put(guest, SCRATCH, [15n, mfn, 0n]);
  expect(hypercall(guest, 26, SCRATCH, 1, 0, 0x7ff0)).toBe(0n);
  expect(hypercall(guest, 3, 0xe02b, SCRATCH + 0x800n)).toBe(0n);
  guest.cpu.gpr[Gpr.RSP] = SCRATCH + 0x100n;
  put(guest, SCRATCH + 0x100n, [7n, 11n, 12n, 0n, rip, 0xe033n, RFLAGS_IF, rsp, 0xe02bn]);
  hypercall(guest, 23);
}

describe('hypercalls and SYSCALL', () => {
  it('answers in RAX, steps over SYSCALL and leaves RCX and R11 as SYSRET does', () => {
    const guest = boot();
    const rip = guest.cpu.rip;
    expect(hypercall(guest, 47)).toBe(-38n);
    expect(guest.cpu.rip).toBe(rip + 2n);
    expect(guest.cpu.gpr[Gpr.RCX]).toBe(rip + 2n);
    expect(guest.cpu.gpr[Gpr.R11] & RFLAGS_IF).toBe(RFLAGS_IF);
  });

  it('bounces a SYSCALL of user mode to the callback on the kernel stack', () => {
    const guest = boot();
    startInfo(guest);
    put(guest, SCRATCH, [2n | (1n << 16n), CALLBACK]);
    expect(hypercall(guest, 30, 0, SCRATCH)).toBe(0n);
    toUserMode(guest);
    expect(guest.cpu.rip).toBe(0x1234n);
    expect(guest.cpu.gpr[Gpr.RAX]).toBe(7n);
    guest.memory.write8(vcpuInfo(guest) + 1, 0);
    guest.cpu.rflags |= 0x400n;
    guest.host.exit(guest.cpu, { kind: 'syscall', instructionLength: 2 });
    expect(guest.cpu.rip).toBe(CALLBACK);
    expect(guest.cpu.rflags & 0x400n).toBe(0n);
    expect(guest.cpu.gpr[Gpr.RSP]).toBe(SCRATCH + 0x800n - 56n);
    const [rcx, r11, rip, cs, flags, rsp, ss] = words(guest, guest.cpu.gpr[Gpr.RSP], 7);
    expect([rcx, rip, cs, rsp, ss]).toEqual([0x1236n, 0x1236n, 0xe033n, 0x5678n, 0xe02bn]);
    expect(r11 & 0x400n).toBe(0x400n);
    expect(flags & (RFLAGS_IF | 0x400n)).toBe(RFLAGS_IF | 0x400n);
    expect(guest.memory.read8(vcpuInfo(guest) + 1)).toBe(1);
  });

  it('answers a SYSCALL of user mode without callback with #UD', () => {
    const guest = withTraps(6);
    toUserMode(guest);
    guest.host.exit(guest.cpu, { kind: 'syscall', instructionLength: 2 });
    expect(guest.cpu.rip).toBe(HANDLER + 6n);
    expect(words(guest, guest.cpu.gpr[Gpr.RSP], 3)[2]).toBe(0x1234n);
  });
});

describe('bounce frames', () => {
  it('delivers a page fault of the kernel on its own stack, U/S clear, address in vcpu_info', () => {
    const guest = withTraps(14);
    const { cpu, host } = guest;
    guest.memory.write8(vcpuInfo(guest) + 1, 0);
    cpu.gpr[Gpr.RSP] = SCRATCH + 0x818n;
    const rip = cpu.rip;
    host.exit(cpu, { kind: 'exception', vector: 14, errorCode: 6, cr2: 0xdead_b000n });
    expect(cpu.rip).toBe(HANDLER + 14n);
    expect(cpu.gpr[Gpr.RSP]).toBe(SCRATCH + 0x810n - 64n);
    const [, , code, frameRip, cs, flags, rsp] = words(guest, cpu.gpr[Gpr.RSP], 8);
    expect([code, frameRip, cs, rsp]).toEqual([2n, rip, 0xe030n, SCRATCH + 0x818n]);
    expect(flags & RFLAGS_IF).toBe(RFLAGS_IF);
    expect(guest.memory.read64(vcpuInfo(guest) + 16)).toBe(0xdead_b000n);
    expect(guest.memory.read8(vcpuInfo(guest) + 1)).toBe(1);
  });

  it('go by the same table after one without entries: an IDT that is loaded for a moment, as kexec does, or of limit 0', () => {
    const guest = withTraps(14);
    put(guest, SCRATCH + 0x400n, [0n, 0n]);
    expect(hypercall(guest, 0, SCRATCH + 0x400n)).toBe(0n);
    guest.memory.write8(vcpuInfo(guest) + 1, 0);
    guest.cpu.gpr[Gpr.RSP] = SCRATCH + 0x800n;
    guest.host.exit(guest.cpu, { kind: 'exception', vector: 14, errorCode: 0, cr2: 0n });
    expect(guest.cpu.rip).toBe(HANDLER + 14n);
    expect(guest.memory.read8(vcpuInfo(guest) + 1)).toBe(1);
  });

  it('stores the upcall mask beside CS and shows it as IF', () => {
    const guest = withTraps(14);
    guest.memory.write8(vcpuInfo(guest) + 1, 1);
    guest.cpu.gpr[Gpr.RSP] = SCRATCH + 0x800n;
    guest.host.exit(guest.cpu, { kind: 'exception', vector: 13, errorCode: 0 });
    const [, , , , cs, flags] = words(guest, guest.cpu.gpr[Gpr.RSP], 6);
    expect(cs).toBe(0x1_0000_e030n);
    expect(flags & RFLAGS_IF).toBe(0n);
  });

  it('crashes a guest without handler, with a stack in the hole, or with one that is not mapped', () => {
    const none = boot();
    none.host.exit(none.cpu, { kind: 'exception', vector: 13, errorCode: 0 });
    expect(none.machine.ended).toMatchObject({ kind: 'crash' });
    for (const rsp of [0xffff_8100_0000_0000n, 0x10n, 0x7777_0000n]) {
      const guest = withTraps(13);
      guest.cpu.gpr[Gpr.RSP] = rsp;
      guest.host.exit(guest.cpu, { kind: 'exception', vector: 13, errorCode: 0 });
      expect(guest.machine.ended).toMatchObject({ kind: 'crash' });
    }
  });

  it('clears TS when it reflects #NM', () => {
    const guest = withTraps(7);
    guest.cpu.gpr[Gpr.RSP] = SCRATCH + 0x800n;
    hypercall(guest, 5, 1);
    expect(guest.cpu.cr0 & 8n).toBe(8n);
    guest.host.exit(guest.cpu, { kind: 'exception', vector: 7 });
    expect(guest.cpu.cr0 & 8n).toBe(0n);
    expect(guest.cpu.rip).toBe(HANDLER + 7n);
  });

  it('lets INT n through by the DPL of its entry only', () => {
    const guest = withTraps(13, 0x80);
    toUserMode(guest);
    guest.host.exit(guest.cpu, { kind: 'softwareInterrupt', vector: 0x80, instructionLength: 2 });
    expect(guest.cpu.rip).toBe(HANDLER + 0x80n);
    const other = withTraps(13, 0x80);
    toUserMode(other);
    const answer = other.host.exit(other.cpu, { kind: 'softwareInterrupt', vector: 14, instructionLength: 2 });
    expect(answer).toEqual({ fault: 13, errorCode: (14 << 3) | 2 });
  });
});

describe('iret', () => {
  it('returns to the kernel itself, restoring the upcall mask from IF', () => {
    const guest = boot();
    startInfo(guest);
    guest.cpu.gpr[Gpr.RSP] = SCRATCH;
    put(guest, SCRATCH, [1n, 2n, 3n, 0n, CALLBACK, 0xe030n, 0x0n, SCRATCH + 0x400n, 0xe02bn]);
    hypercall(guest, 23);
    expect(guest.cpu.rip).toBe(CALLBACK);
    expect([guest.cpu.gpr[Gpr.RAX], guest.cpu.gpr[Gpr.R11], guest.cpu.gpr[Gpr.RCX]]).toEqual([1n, 2n, 3n]);
    expect(guest.cpu.rflags & RFLAGS_IF).toBe(RFLAGS_IF);
    expect(guest.memory.read8(vcpuInfo(guest) + 1)).toBe(1);
  });

  it('discards RCX and R11 with VGCF_in_syscall', () => {
    const guest = boot();
    guest.cpu.gpr[Gpr.RSP] = SCRATCH;
    put(guest, SCRATCH, [1n, 2n, 3n, 0x100n, CALLBACK, 0xe030n, RFLAGS_IF, SCRATCH + 0x400n, 0xe02bn]);
    hypercall(guest, 23);
    expect(guest.cpu.gpr[Gpr.RCX]).toBe(CALLBACK);
  });

  it('crashes on an unreadable frame and on user mode without a user root', () => {
    const unreadable = boot();
    unreadable.cpu.gpr[Gpr.RSP] = 0x1000n;
    hypercall(unreadable, 23);
    expect(unreadable.machine.ended).toMatchObject({ kind: 'crash' });
    const rootless = boot();
    rootless.cpu.gpr[Gpr.RSP] = SCRATCH;
    put(rootless, SCRATCH, [0n, 0n, 0n, 0n, 0n, 0xe033n, RFLAGS_IF, 0n, 0xe02bn]);
    hypercall(rootless, 23);
    expect(rootless.machine.ended).toMatchObject({ kind: 'crash' });
  });

  it('raises #GP for a selector that cannot be loaded', () => {
    const guest = withTraps(13);
    guest.cpu.gpr[Gpr.RSP] = SCRATCH + 0x100n;
    put(guest, SCRATCH + 0x100n, [0n, 0n, 0n, 0n, CALLBACK, 0x7770n, RFLAGS_IF, SCRATCH + 0x400n, 0xe02bn]);
    hypercall(guest, 23);
    expect(guest.cpu.rip).toBe(HANDLER + 13n);
    expect(words(guest, guest.cpu.gpr[Gpr.RSP], 3)[2]).toBe(0x7770n);
  });

  it('swaps the GS bases on the way to user mode and back', () => {
    const guest = withTraps(13);
    hypercall(guest, 25, 2, 0x1111_0000n);
    hypercall(guest, 25, 1, 0x2222_0000n);
    toUserMode(guest);
    expect(guest.cpu.segment(SegmentIndex.GS).base).toBe(0x2222_0000n);
    guest.host.exit(guest.cpu, { kind: 'exception', vector: 13, errorCode: 0 });
    expect(guest.cpu.segment(SegmentIndex.GS).base).toBe(0x1111_0000n);
    expect(guest.cpu.kernelGsBase).toBe(0x2222_0000n);
  });
});

describe('descriptor tables', () => {
  it('refuses a GDT page with a system descriptor and takes one with code and data, DPL raised', () => {
    const guest = boot();
    const page = VIRT_BASE + 0x5_0000n;
    const mfn = BigInt(gpa(guest, page) / 4096);
    put(guest, SCRATCH, [mfn]);
    put(guest, page, [0n, 0x0000_8900_0000_0067n]);
    expect(hypercall(guest, 2, SCRATCH, 16)).toBe(-22n);
    put(guest, page, [0n, 0x00af_9b00_0000_ffffn]);
    // Still writable: a mapping holds the frame's type.
    expect(hypercall(guest, 2, SCRATCH, 16)).toBe(-22n);
    expect(hypercall(guest, 14, page, (mfn << 12n) | 1n, 0)).toBe(0n);
    expect(hypercall(guest, 2, SCRATCH, 16)).toBe(0n);
    expect(guest.memory.read64(Number(mfn) * 4096 + 8)).toBe(0x00af_fb00_0000_ffffn);
    expect(hypercall(guest, 10, (mfn << 12n) + 8n, 0x0000_8900_0000_0067n)).toBe(-22n);
    expect(hypercall(guest, 10, (mfn << 12n) + 8n, 0n)).toBe(0n);
  });

  it.each([7169n, 0xffff_ffffn])('refuses %s GDT entries', (entries) => {
    expect(hypercall(boot(), 2, SCRATCH, entries)).toBe(-22n);
  });
});

describe('emulation for the guest kernel', () => {
  it('answers the forced CPUID with Xen leaves and hides what PV cannot use', () => {
    const guest = boot();
    const { cpu, host } = guest;
    cpu.rip = SCRATCH;
    guest.memory.writeBytes(gpa(guest, SCRATCH), Uint8Array.of(0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2));
    cpu.gpr[Gpr.RAX] = 0x4000_0000n;
    host.exit(cpu, { kind: 'exception', vector: 6 });
    expect(cpu.rip).toBe(SCRATCH + 7n);
    expect([cpu.gpr[Gpr.RBX], cpu.gpr[Gpr.RCX], cpu.gpr[Gpr.RDX]]).toEqual([0x566e_6558n, 0x6558_4d4dn, 0x4d4d_566en]);
    cpu.gpr[Gpr.RAX] = 1n;
    host.exit(cpu, { kind: 'cpuid', instructionLength: 2 });
    expect(cpu.gpr[Gpr.RCX] >> 31n).toBe(1n);
    expect(cpu.gpr[Gpr.RDX] & ((1n << 3n) | (1n << 13n) | (1n << 12n))).toBe(0n);
  });

  it("hides automatic IBRS, whose bit of EFER is not the guest's", () => {
    const { cpu, host } = boot({ cpuid: { 2147483681: { eax: 0x141, ebx: 0, ecx: 0, edx: 0 } } });
    cpu.gpr[Gpr.RAX] = 0x8000_0021n;
    host.exit(cpu, { kind: 'cpuid', instructionLength: 2 });
    expect(cpu.gpr[Gpr.RAX]).toBe(0x41n);
  });

  it('emulates control registers and MSRs for the kernel and leaves faults standing otherwise', () => {
    const guest = boot();
    const { cpu, host } = guest;
    expect(host.exit(cpu, { kind: 'readCr', cr: 3, gpr: Gpr.RBX, instructionLength: 3 })).toBe('handled');
    expect(cpu.gpr[Gpr.RBX]).toBe(cpu.cr3);
    cpu.gpr[Gpr.RBX] = 0n;
    expect(host.exit(cpu, { kind: 'writeCr', cr: 0, gpr: Gpr.RBX, instructionLength: 3 })).toBe('pass');
    expect(host.exit(cpu, { kind: 'writeCr', cr: 3, gpr: Gpr.RBX, instructionLength: 3 })).toBe('pass');
    cpu.gpr[Gpr.RCX] = 0xc000_0080n;
    expect(host.exit(cpu, { kind: 'rdmsr', instructionLength: 2 })).toBe('handled');
    cpu.gpr[Gpr.RAX] ^= 1n;
    expect(host.exit(cpu, { kind: 'wrmsr', instructionLength: 2 })).toBe('pass');
    expect(host.exit(cpu, { kind: 'hlt', instructionLength: 1 })).toBe('pass');
  });

  it('gives all ones from ports to a kernel with IOPL 1', () => {
    const guest = boot();
    const { cpu, host } = guest;
    const exit = {
      kind: 'io',
      port: 0x60,
      sizeBytes: 1,
      direction: 'in',
      string: false,
      rep: false,
      addressSize: 64,
      segment: 3,
      instructionLength: 1,
    } as const;
    expect(host.exit(cpu, exit)).toEqual({ fault: 13, errorCode: 0 });
    put(guest, SCRATCH, [1n]);
    expect(hypercall(guest, 33, 6, SCRATCH)).toBe(0n);
    expect(host.exit(cpu, exit)).toBe('handled');
    expect(cpu.gpr[Gpr.RAX] & 0xffn).toBe(0xffn);
    cpu.gpr[Gpr.RDI] = SCRATCH;
    cpu.gpr[Gpr.RCX] = 3n;
    host.exit(cpu, { ...exit, string: true, rep: true });
    expect(words(guest, SCRATCH, 1)[0]).toBe(0xff_ffffn);
    expect(cpu.gpr[Gpr.RCX]).toBe(0n);
    cpu.gpr[Gpr.RDI] = 0x1000n;
    cpu.gpr[Gpr.RCX] = 1n << 40n;
    expect(host.exit(cpu, { ...exit, string: true, rep: true })).toMatchObject({ fault: 14 });
  });
});

describe('debug registers', () => {
  it('keeps values and refuses addresses of the hypervisor, reserved bits and DR7.GD', () => {
    const guest = boot();
    expect(hypercall(guest, 8, 0, 0x1000n)).toBe(0n);
    expect(hypercall(guest, 9, 0)).toBe(0x1000n);
    expect(hypercall(guest, 8, 1, 0xffff_8100_0000_0000n)).toBe(-1n);
    expect(hypercall(guest, 8, 7, 1n << 32n)).toBe(-22n);
    expect(hypercall(guest, 8, 7, 1n << 13n)).toBe(-1n);
    expect(hypercall(guest, 9, 99)).toBe(-19n);
  });
});
