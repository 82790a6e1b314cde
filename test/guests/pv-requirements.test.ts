/** What a PV64 kernel may rely on, each by a kernel of a few instructions under `vm run`. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { GuestSession } from './guest-session.ts';
import { imm32, type PvKernelOptions, pvKernel, reason, SHUTDOWN_BY_EDI, SHUTDOWN_BY_PAGE } from './pv-kernel.ts';

const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-pv-'));
afterAll(() => rmSync(directory, { recursive: true }));

const POWEROFF = 0;
const CRASH = 3;
const trace = path.join(directory, 'trace.jsonl');

async function run(options: PvKernelOptions, ...args: string[]) {
  const file = path.join(directory, 'kernel');
  writeFileSync(file, pvKernel(options));
  const session = new GuestSession(file, '--plugin', 'xen', '--memory', '16M', '--no-reboot', ...args);
  try {
    return await session.ended();
  } finally {
    await session.stop();
  }
}

describe('the end of a domain', () => {
  it.each([
    ['poweroff', POWEROFF, 0, undefined],
    ['reboot', 1, 7, 'the guest rebooted'],
    ['suspend', 2, 9, 'the guest suspended itself'],
    ['crash', CRASH, 4, 'SHUTDOWN_crash'],
    ['watchdog', 4, 4, 'watchdog'],
    ['soft reset', 5, 9, 'soft reset'],
    ['a reason that Xen does not define', 200, 4, 'unknown shutdown reason 200'],
  ])('%s has its exit code', async (_name, code, exitCode, said) => {
    const end = await run({ code: [...reason(code), ...SHUTDOWN_BY_EDI] });
    expect(end.stderr).toContain(said ?? 'vm: entry pv');
    expect(end.exitCode).toBe(exitCode);
  });
});

describe('hypercalls', () => {
  it('reach Xen through the hypercall page of the note', async () => {
    const { exitCode, stderr } = await run({ code: [...reason(POWEROFF), ...SHUTDOWN_BY_PAGE], hypercallPage: true });
    expect(exitCode, stderr).toBe(0);
  });

  it('without the note: no page is written, and the kernel finds its own bytes there', async () => {
    const { exitCode, stderr } = await run({ code: [...reason(POWEROFF), ...SHUTDOWN_BY_PAGE] });
    expect(stderr).toMatch(/^vm: guest crashed: /m);
    expect(exitCode).toBe(4);
  });
});

describe('a kernel at CPL 3', () => {
  it('does not change IF with POPF', async () => {
    const code = [
      0x9c, // pushfq
      ...[0x48, 0x81, 0x24, 0x24, ...imm32(~0x200)], // and qword [rsp], ~IF
      0x9d, // popfq
      0x9c, // pushfq
      0x5f, // pop rdi
      ...[0xc1, 0xef, 0x09], // shr edi, 9
      ...[0x83, 0xf7, 0x01], // xor edi, 1: 0 if IF is still set
      ...[0x83, 0xe7, 0x01], // and edi, 1
    ];
    const { exitCode, stderr } = await run({ code: [...code, ...SHUTDOWN_BY_EDI] });
    expect(exitCode, stderr).toBe(0);
  });

  it('reads CR3 and EFER, and clears TS, as if in ring 0', async () => {
    const code = [
      ...[0x0f, 0x20, 0xd8], // mov rax, cr3
      ...[0x0f, 0x06], // clts
      ...[0xb9, ...imm32(0xc000_0080)], // mov ecx, EFER
      ...[0x0f, 0x32], // rdmsr
      ...reason(POWEROFF),
    ];
    const { exitCode, stderr } = await run({ code: [...code, ...SHUTDOWN_BY_EDI] });
    expect(exitCode, stderr).toBe(0);
  });

  it.each([
    ['HLT', [0xf4]],
    ['LGDT', [0x0f, 0x01, 0x14, 0x24]],
    ['LTR', [0x0f, 0x00, 0xd8]],
    ['INVLPG', [0x0f, 0x01, 0x3c, 0x24]],
  ])('gets #GP for %s, which Xen does not emulate; without a trap handler that is the end', async (_name, code) => {
    const { exitCode, stderr } = await run({ code: [...code, ...reason(POWEROFF), ...SHUTDOWN_BY_EDI] });
    expect(stderr).toMatch(/^vm: guest crashed: .*unhandled #GP\[0000\]/m);
    expect(exitCode).toBe(4);
  });
});

it('CPUID says the same with the forced-emulation prefix and natively', async () => {
  const cpuid = [0x0f, 0xa2];
  const compared = [0, 1, 7, 0x4000_0000, 0x4000_0001, 0x4000_0002, 0x8000_0001, 0x8000_0008].flatMap((leaf) => [
    ...[0xb8, ...imm32(leaf), 0x31, 0xc9], // mov eax, leaf; xor ecx, ecx
    ...[0x0f, 0x0b, 0x78, 0x65, 0x6e, ...cpuid], // ud2a; "xen"; cpuid
    ...[0x41, 0x89, 0xc0, 0x41, 0x89, 0xd9, 0x41, 0x89, 0xca, 0x41, 0x89, 0xd3], // keep in r8d r9d r10d r11d
    ...[0xb8, ...imm32(leaf), 0x31, 0xc9, ...cpuid],
    ...[0x44, 0x31, 0xc0, 0x44, 0x31, 0xcb, 0x44, 0x31, 0xd1, 0x44, 0x31, 0xda], // xor with what was kept
    ...[0x09, 0xd8, 0x09, 0xc8, 0x09, 0xd0, 0x41, 0x09, 0xc4], // collect differences in r12d
  ]);
  // neg r12d; sbb edi, edi; and edi, 3: reason 0, or 3 if anything differed
  const judge = [0x41, 0xf7, 0xdc, 0x19, 0xff, 0x83, 0xe7, 0x03];
  const { exitCode, stderr } = await run({ code: [0x45, 0x31, 0xe4, ...compared, ...judge, ...SHUTDOWN_BY_EDI] });
  expect(exitCode, stderr).toBe(0);
});

it('a kernel that requires supervisor_mode_kernel is refused by that name', async () => {
  const { exitCode, stderr } = await run({ code: [], features: '!supervisor_mode_kernel|writable_page_tables' });
  expect(stderr.trimEnd().split('\n').pop()).toMatch(/^vm: PV2012: .*requires supervisor_mode_kernel,.*: \S/);
  expect(exitCode).toBe(3);
});

it('one that only understands it starts', async () => {
  const end = await run({ code: [...reason(POWEROFF), ...SHUTDOWN_BY_EDI], features: 'supervisor_mode_kernel' });
  expect(end.exitCode, end.stderr).toBe(0);
});

it('the entry comes from the image: another build starts with the same command', async () => {
  for (const entryOffset of [0, 0x40, 0x7f]) {
    const code = [...new Array<number>(entryOffset).fill(0xcc), ...reason(POWEROFF), ...SHUTDOWN_BY_EDI];
    const { exitCode, stderr } = await run({ code, entryOffset });
    const address = (0xffffffff80100000n + BigInt(entryOffset)).toString(16);
    expect(stderr).toContain(`at 0x${address}, found in ELF note XEN_ELFNOTE_ENTRY (PT_NOTE)`);
    expect(exitCode, stderr).toBe(0);
  }
});

describe('GUEST_OS', () => {
  it('makes no difference', async () => {
    const traces = new Set<string>();
    for (const guestOs of ['linux', 'NetBSD', 'GNU Mach', undefined]) {
      const options = { code: [...reason(POWEROFF), ...SHUTDOWN_BY_EDI], ...(guestOs !== undefined && { guestOs }) };
      const { exitCode, stderr } = await run(options, '--trace', `hypercalls,exits:${trace}`);
      expect(exitCode, stderr).toBe(0);
      traces.add(readFileSync(trace, 'utf8'));
    }
    expect(traces.size).toBe(1);
  });

  it('is read in notes/ alone, where Xen has one rule: without LOADER "generic" it must be "linux"', () => {
    const source = fileURLToPath(new URL('../../packages/plugin-xen/src', import.meta.url));
    const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter(
      (file) => file.endsWith('.ts') && !/\.test\.ts$|^testing\/|^notes\//.test(file),
    );
    expect(files.length).toBeGreaterThan(50);
    for (const file of files) expect(readFileSync(path.join(source, file), 'utf8'), file).not.toMatch(/guest_?os\b/i);
  });
});
