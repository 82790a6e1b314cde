import { describe, expect, it } from 'vitest';
import { hex } from '../../engine/testing/test-bench.ts';
import { decode } from '../../isa/decoder.ts';
import { CODE, enter, Selector, type TestGuest, testGuest } from '../testing/test-guest.ts';
import { cpuid } from './cpuid.ts';

const [RAX, RCX, RDX, RBX] = [0, 1, 2, 3];
const AT = BigInt(CODE);
/** What CPUID describes when there are no chips around the processor. */
const ALONE = {
  vcpus: 1,
  tscHz: 1e9,
  apic: undefined,
  limited: { leaves: false, noExecute: false },
  bootDescriptor: { hypervisor: 'none', guestType: 'linux64', abiVersion: 0x2000f },
  takesOps: false,
  random: true,
} as const;
const go = async (code: string, prepare?: (guest: TestGuest) => void) => {
  const guest = await testGuest({ code: { [CODE]: code }, ...(prepare ? { prepare } : {}) });
  await guest.run();
  return { guest, vcpu: guest.vcpu };
};

describe('privileged instructions', () => {
  it.each([
    ['HLT', 'f4'],
    ['CLI', 'fa'],
    ['STI', 'fb'],
    ['MOV from CR0', '0f20c0'],
    ['MOV to CR3', '0f22d8'],
    ['MOV from DR7', '0f21f8'],
    ['MOV to DR7', '0f23f8'],
    ['RDMSR', '0f32'],
    ['WRMSR', '0f30'],
    ['LGDT', '0f0117'],
    ['LIDT', '0f011f'],
    ['LLDT', '0f00d0'],
    ['LTR', '0f00d8'],
    ['LMSW', '0f01f0'],
    ['CLTS', '0f06'],
    ['INVLPG', '0f013f'],
    ['WBINVD', '0f09'],
    ['INVD', '0f08'],
    ['SWAPGS', '0f01f8'],
    ['SYSRET', '480f07'],
    ['IN', 'ec'],
    ['OUT', 'ee'],
  ])('%s at CPL 3 raises #GP(0) and does nothing', async (_name, code) => {
    const { guest, vcpu } = await go(code, (guest) => {
      enter(guest.vcpu, 3);
      guest.vcpu.gpr[7] = 0x8000n;
    });
    expect(guest.stoppedIn).toBe(13);
    expect(guest.stack(3)).toEqual([0n, AT, BigInt(Selector.code3)]);
    expect([vcpu.cr0, vcpu.tables.gdtr.limit]).toEqual([0x80010031n, 0x57]);
  });

  it('IN, OUT, CLI and STI follow IOPL', async () => {
    const { guest, vcpu } = await go('e4 80 fa fb 0f0b', (guest) => {
      enter(guest.vcpu, 3);
      guest.vcpu.rflags = 0x3002n;
    });
    expect(guest.stoppedIn).toBe(6);
    expect(vcpu.gpr[RAX]).toBe(0xffn);
    expect(guest.stack(3)[2] & 0x200n).toBe(0x200n);
  });
});

describe('control registers', () => {
  it.each([
    ['paging without protection', '0f22c0', 0x80000000n],
    ['NW without CD', '0f22c0', 0xa0010031n],
    ['bits above 31 of CR0', '0f22c0', 0x180010031n],
    ['CR4 without PAE', '0f22e0', 0x600n],
    ['bits of CR4 that do not exist', '0f22e0', 0x80000620n],
    ['bits above 51 of CR3', '0f22d8', 1n << 52n],
    ['CR8 above 15', '440f22c0', 16n],
  ])('%s: #GP(0)', async (_what, code, value) => {
    const { guest } = await go(code, ({ vcpu }) => {
      vcpu.gpr[RAX] = value;
    });
    expect(guest.stoppedIn).toBe(13);
    expect(guest.stack(2)).toEqual([0n, AT]);
  });

  it('MOV goes to and from every general register', async () => {
    // mov cr2,rbx ; mov r9,cr2 ; mov rcx,cr4 ; mov rdx,cr8
    const { vcpu } = await go('0f22d3 410f20d1 0f20e1 440f20c2 f4', ({ vcpu }) => {
      vcpu.gpr[RBX] = 0x1234n;
    });
    expect([vcpu.gpr[9], vcpu.gpr[RCX], vcpu.gpr[RDX]]).toEqual([0x1234n, 0x620n, 0n]);
  });

  it('MOV to CR3 and INVLPG drop translations', async () => {
    // mov eax,[rdi] ; mov [rsi],rbx ; invlpg [rdi] ; mov ecx,[rdi] ; mov [rsi],rdx ; mov rdx,cr3 ; mov cr3,rdx ; mov edx,[rdi] ; hlt
    const { vcpu } = await go('8b07 48891e 0f013f 8b0f 4c8906 0f20da 0f22da 8b17 f4', (guest) => {
      const { vcpu, tables, machine } = guest;
      tables.map(0x50000n, 0x6000);
      tables.map(0x51000n, Math.floor(tables.entry(0x50000n) / 4096) * 4096);
      [0x6000, 0x7000, 0x8000].forEach((page, i) => machine.memory.write32(page, i + 1));
      vcpu.gpr[7] = 0x50000n;
      vcpu.gpr[6] = 0x51000n + BigInt(tables.entry(0x50000n) & 0xfff);
      vcpu.gpr[RBX] = 0x7007n;
      vcpu.gpr[8] = 0x8007n;
    });
    expect([vcpu.gpr[RAX], vcpu.gpr[RCX], vcpu.gpr[RDX]]).toEqual([1n, 2n, 3n]);
  });
});

describe('MSRs', () => {
  const set =
    (index: number, value: bigint) =>
    ({ vcpu }: TestGuest) => {
      vcpu.gpr[RCX] = BigInt(index);
      vcpu.gpr[RAX] = value & 0xffffffffn;
      vcpu.gpr[RDX] = value >> 32n;
    };
  it.each([
    ['STAR', 0xc0000081, 0x00230010_00000000n],
    ['LSTAR', 0xc0000082, 0xffffffff81000000n],
    ['FS base', 0xc0000100, 0x7fff12345678n],
    ['GS base', 0xc0000101, 0xffff888000000000n],
    ['kernel GS base', 0xc0000102, 1n],
    ['EFER', 0xc0000080, 0xd01n],
  ])('%s keeps what is written', async (_name, index, value) => {
    const { vcpu } = await go('0f30 31c0 31d2 0f32 f4', set(index, value));
    expect((vcpu.gpr[RDX] << 32n) | vcpu.gpr[RAX]).toBe(value);
  });
  it.each([
    ['LSTAR that is not canonical', 0xc0000082, 1n << 47n],
    ['FS base that is not canonical', 0xc0000100, 1n << 63n],
    ['reserved bits of EFER', 0xc0000080, 0xd03n],
    ['EFER.LME while paging', 0xc0000080, 0xc01n],
    ['an unknown MSR', 0x12345, 0n],
  ])('%s: #GP(0)', async (_what, index, value) => {
    const { guest } = await go('0f30', set(index, value));
    expect(guest.stoppedIn).toBe(13);
  });
  it('RDMSR of an unknown MSR raises #GP(0)', async () => {
    expect((await go('0f32', set(0x12345, 0n))).guest.stoppedIn).toBe(13);
  });
  it('SWAPGS exchanges the bases', async () => {
    const { vcpu } = await go('0f01f8 65488b0425 00000000 f4', ({ vcpu, machine }) => {
      vcpu.kernelGsBase = 0x8000n;
      machine.memory.write64(0x8000, 77n);
    });
    expect([vcpu.gpr[RAX], vcpu.kernelGsBase, vcpu.segment(5).base]).toEqual([77n, 0n, 0x8000n]);
  });
});

describe('CPUID', () => {
  const bit = (leaf: number, register: 'eax' | 'ebx' | 'ecx' | 'edx', position: number) =>
    ((cpuid(leaf, 0, ALONE)[register] >>> position) & 1) !== 0;
  const decodes = (code: string) => {
    const bytes = hex(code);
    return decode((i) => (i < bytes.length ? bytes[i] : -1), 'long64').ok;
  };
  const features: [string, boolean, string][] = [
    ['FPU', bit(1, 'edx', 0), 'd9e8'],
    ['TSC', bit(1, 'edx', 4), '0f31'],
    ['MSR', bit(1, 'edx', 5), '0f32'],
    ['CX8', bit(1, 'edx', 8), '0fc70f'],
    ['SEP', bit(1, 'edx', 11), '0f34'],
    ['CMOV', bit(1, 'edx', 15), '0f44c1'],
    ['CLFSH', bit(1, 'edx', 19), '0fae3f'],
    ['MMX', bit(1, 'edx', 23), '0f6fc1'],
    ['FXSR', bit(1, 'edx', 24), '0fae07'],
    ['SSE', bit(1, 'edx', 25), '0f58c1'],
    ['SSE2', bit(1, 'edx', 26), '660f58c1'],
    ['SSE3', bit(1, 'ecx', 0), 'f20f7cc1'],
    ['PCLMULQDQ', bit(1, 'ecx', 1), '660f3a44c100'],
    ['SSSE3', bit(1, 'ecx', 9), '660f3800c1'],
    ['CX16', bit(1, 'ecx', 13), '480fc70f'],
    ['SSE4.1', bit(1, 'ecx', 19), '660f3a0ec100'],
    ['SSE4.2', bit(1, 'ecx', 20), 'f20f38f0c1'],
    ['MOVBE', bit(1, 'ecx', 22), '0f38f007'],
    ['POPCNT', bit(1, 'ecx', 23), 'f30fb8c1'],
    ['AESNI', bit(1, 'ecx', 25), '660f38dcc1'],
    ['XSAVE', bit(1, 'ecx', 26), '0fae27'],
    ['AVX', bit(1, 'ecx', 28), 'c5f058c1'],
    ['RDRAND', bit(1, 'ecx', 30), '0fc7f0'],
    ['BMI1', bit(7, 'ebx', 3), 'c4e278f2c1'],
    ['ADX', bit(7, 'ebx', 19), '660f38f6c1'],
    ['SHA', bit(7, 'ebx', 29), '0f38c9c1'],
    ['LAHF', bit(0x80000001, 'ecx', 0), '9f'],
    ['SYSCALL', bit(0x80000001, 'edx', 11), '0f05'],
    ['3DNow', bit(0x80000001, 'edx', 31), '0f0fc19e'],
    ['FSGSBASE', bit(7, 'ebx', 0), 'f3480faec0'],
    ['SMAP', bit(7, 'ebx', 20), '0f01ca'],
    ['RDTSCP', bit(0x80000001, 'edx', 27), '0f01f9'],
    ['PREFETCHW', bit(0x80000001, 'ecx', 8), '0f0d0f'],
    ['RDPID', bit(7, 'ecx', 22), 'f30fc7f8'],
    ['XOP', bit(0x80000001, 'ecx', 11), '8fe978c0c1'],
  ];
  it.each(features)('%s is advertised if and only if it is there', (_name, advertised, code) => {
    expect(decodes(code)).toBe(advertised);
  });

  it('answers its leaves, and zeros beyond', async () => {
    const { vcpu } = await go('31c0 31c9 0fa2 f4', ({ vcpu }) => vcpu.gpr.fill(-1n & 0xffffffffffffffffn, 0, 4));
    expect(
      Buffer.from(new Uint32Array([vcpu.gpr[RBX], vcpu.gpr[RDX], vcpu.gpr[RCX]].map(Number)).buffer).toString(),
    ).toBe('AuthenticAMD');
    expect(cpuid(0x1234, 0, ALONE)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 });
    // Physical addresses as wide as the page walk allows.
    expect(cpuid(0x80000008, 0, ALONE).eax).toBe(0x3028);
    // The last one: automatic IBRS.
    expect(cpuid(cpuid(0x80000000, 0, ALONE).eax, 0, ALONE)).toEqual({ eax: 0x100, ebx: 0, ecx: 0, edx: 0 });
  });
});
