import { Gpr, PolyvisorError } from '@polyvisor/plugin-api';
import { describe, expect, it } from 'vitest';
import { NoteType } from '../notes/elfNotes.ts';
import { boot, KERNEL_BYTES, KERNEL_PADDR, numberNote, PLAIN_NOTES, textNote, VIRT_BASE } from '../testing/guest.ts';
import { walk } from '../testing/walk.ts';
import { hypercallPage } from './hypercallPage.ts';

const MIB = 1 << 20;

function startInfo(guest: ReturnType<typeof boot>) {
  const { cpu, memory } = guest;
  const gpa = walk(memory, cpu.cr3, cpu.gpr[Gpr.RSI], 'write', true);
  if (typeof gpa !== 'number') throw new Error('start_info is not mapped');
  const word = (offset: number): bigint => memory.read64(gpa + offset);
  return {
    magic: new TextDecoder().decode(memory.readBytes(gpa, 14)),
    nrPages: Number(word(32)),
    sharedInfo: Number(word(40)),
    flags: memory.read32(gpa + 48),
    storeMfn: Number(word(56)),
    storePort: memory.read32(gpa + 64),
    consoleMfn: Number(word(72)),
    consolePort: memory.read32(gpa + 80),
    ptBase: word(88),
    nrPtFrames: Number(word(96)),
    mfnList: word(104),
    modStart: word(112),
    modLen: Number(word(120)),
    commandLine: new TextDecoder().decode(memory.readBytes(gpa + 128, 9)),
    firstP2mPfn: Number(word(1152)),
    nrP2mFrames: Number(word(1160)),
  };
}

function gpaOf(guest: ReturnType<typeof boot>, gva: bigint, access: 'read' | 'write' = 'read'): number {
  const found = walk(guest.memory, guest.cpu.cr3, gva, access, true);
  if (typeof found !== 'number') throw new Error(`0x${gva.toString(16)} faults with ${found.errorCode}`);
  return found;
}

describe('PV64 start of day', () => {
  it('starts in the flat kernel segments at CPL 3 with start_info in RSI', () => {
    const { cpu } = boot();
    expect(cpu.rip).toBe(VIRT_BASE + KERNEL_PADDR + 0x10n);
    expect(cpu.segment(1).selector).toBe(0xe033);
    expect(cpu.segment(2).selector).toBe(0xe02b);
    expect(cpu.cpl).toBe(3);
    expect(cpu.rflags & 0x200n).toBe(0x200n);
    expect(cpu.tables.gdtr.limit).toBe(0xefff);
  });

  it('orders kernel, p2m, start_info, store, console, tables, stack', () => {
    const guest = boot();
    const info = startInfo(guest);
    const kernelEnd = VIRT_BASE + KERNEL_PADDR + BigInt(KERNEL_BYTES);
    expect(info.magic).toBe('xen-3.0-x86_64');
    expect(info.commandLine).toBe('fixture=1');
    expect(info.nrPages).toBe((8 * MIB) / 4096);
    expect(info.mfnList).toBe(kernelEnd);
    const startInfoAddress = info.mfnList + BigInt(info.nrPages * 8);
    expect(guest.cpu.gpr[Gpr.RSI]).toBe(startInfoAddress);
    expect(info.storeMfn).toBe(gpaOf(guest, startInfoAddress + 0x1000n) / 4096);
    expect(info.consoleMfn).toBe(gpaOf(guest, startInfoAddress + 0x2000n) / 4096);
    expect(info.ptBase).toBe(startInfoAddress + 0x3000n);
    const stack = info.ptBase + BigInt(info.nrPtFrames * 4096);
    expect(guest.cpu.gpr[Gpr.RSP]).toBe(stack + 0x1000n);
    expect(info.storePort).not.toBe(info.consolePort);
  });

  it('loads the kernel through a p2m that is not the identity, mirrored in the M2P', () => {
    const guest = boot();
    const { memory } = guest;
    const info = startInfo(guest);
    expect([...memory.readBytes(gpaOf(guest, VIRT_BASE + KERNEL_PADDR), 4)]).toEqual([1, 2, 3, 4]);
    for (const pfn of [0, 1, 257, info.nrPages - 1]) {
      const mfn = memory.read64(gpaOf(guest, info.mfnList + BigInt((pfn * 8) & ~4095)) + ((pfn * 8) & 4095));
      expect(mfn).not.toBe(BigInt(pfn));
      const m2p = 0xffff_8000_0000_0000n + mfn * 8n;
      expect(memory.read64(gpaOf(guest, m2p))).toBe(BigInt(pfn));
      expect(walk(memory, guest.cpu.cr3, m2p, 'write', true)).toMatchObject({ errorCode: 7 });
    }
  });

  it('maps everything up to a 4 MB boundary, page tables read-only, with 512 kB to spare', () => {
    const guest = boot();
    const info = startInfo(guest);
    let end = VIRT_BASE;
    while (typeof walk(guest.memory, guest.cpu.cr3, end, 'read', true) === 'number') end += 4096n;
    expect(end % BigInt(4 * MIB)).toBe(0n);
    expect(end - guest.cpu.gpr[Gpr.RSP]).toBeGreaterThanOrEqual(BigInt(512 * 1024));
    for (let page = 0; page < info.nrPtFrames; page++) {
      expect(walk(guest.memory, guest.cpu.cr3, info.ptBase + BigInt(page * 4096), 'write', true)).toMatchObject({
        errorCode: 7,
      });
    }
    expect(guest.cpu.cr3).toBe(BigInt(gpaOf(guest, info.ptBase)));
  });

  it('hands an initrd over by address, or by frame number when the kernel wants that', () => {
    const initrd = Uint8Array.from({ length: 5000 }, (_, index) => index & 0xff);
    const mapped = boot({ initrd });
    const info = startInfo(mapped);
    expect(info.modStart).toBe(VIRT_BASE + KERNEL_PADDR + BigInt(KERNEL_BYTES));
    expect(info.modLen).toBe(5000);
    expect(mapped.memory.read8(gpaOf(mapped, info.modStart + 4999n))).toBe(4999 & 0xff);
    const unmapped = boot({ initrd, notes: [...PLAIN_NOTES, numberNote(NoteType.MOD_START_PFN, 1n)] });
    const other = startInfo(unmapped);
    expect(other.flags).toBe(8);
    const mfn = unmapped.memory.read64(gpaOf(unmapped, other.mfnList) + Number(other.modStart) * 8);
    expect(unmapped.memory.read8(Number(mfn) * 4096 + 77)).toBe(77);
  });

  it('relocates the p2m to INIT_P2M and reports its frames', () => {
    const notes = [...PLAIN_NOTES, numberNote(NoteType.INIT_P2M, 0x80_0000_0000n)];
    const guest = boot({ notes });
    const info = startInfo(guest);
    expect(info.mfnList).toBe(0x80_0000_0000n);
    expect(info.nrP2mFrames).toBe(info.nrPages / 512 + 3);
    expect(guest.memory.read64(gpaOf(guest, info.mfnList))).toBe(BigInt(gpaOf(guest, VIRT_BASE) / 4096));
  });

  it('fills the hypercall page of the note', () => {
    const notes = [...PLAIN_NOTES, numberNote(NoteType.HYPERCALL_PAGE, VIRT_BASE + KERNEL_PADDR + 0x1000n)];
    const guest = boot({ notes });
    const page = guest.memory.readBytes(gpaOf(guest, VIRT_BASE + KERNEL_PADDR + 0x1000n), 4096);
    expect(page).toEqual(hypercallPage(8));
    expect([...page.subarray(17 * 32, 17 * 32 + 14)]).toEqual([
      0x51, 0x41, 0x53, 0xb8, 17, 0, 0, 0, 0x0f, 0x05, 0x41, 0x5b, 0x59, 0xc3,
    ]);
  });

  it.each([
    ['too little memory', { memoryBytes: 1 * MIB }, 'PV4006'],
    ['an initrd that does not fit', { initrd: new Uint8Array(8 * MIB) }, 'PV4006'],
    ['a segment beyond the memory', { programHeaders: [{ memorySizeBytes: 2 ** 30 }] }, 'PV4006'],
    ['a segment outside the file', { programHeaders: [{ offset: 1 << 20 }] }, 'PV4010'],
    ['an entry outside the kernel', { notes: [...PLAIN_NOTES, numberNote(NoteType.ENTRY, 16n)] }, 'PV4004'],
    [
      'a hypercall page outside the kernel',
      { notes: [...PLAIN_NOTES, numberNote(NoteType.HYPERCALL_PAGE, 0n)] },
      'PV4011',
    ],
    [
      'a p2m address in the hole',
      { notes: [...PLAIN_NOTES, numberNote(NoteType.INIT_P2M, 0xffff_8100_0000_0000n)] },
      'PV4005',
    ],
    ['boot modules', { modules: [{ bytes: Uint8Array.of(1), commandLine: '' }] }, 'PV2015'],
    ['a command line of 1024 bytes', { commandLine: 'x'.repeat(1024) }, 'PV4008'],
  ])('refuses %s in one line', (_name, options, code) => {
    try {
      boot(options);
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(PolyvisorError);
      expect((error as PolyvisorError).code).toBe(code);
      expect((error as PolyvisorError).oneLine).not.toContain('\n');
    }
  });

  it('knows a kernel at address 0 without VIRT_BASE', () => {
    const notes = [textNote(NoteType.LOADER, 'generic'), textNote(NoteType.XEN_VERSION, 'xen-3.0')];
    const guest = boot({
      notes: [...notes, numberNote(NoteType.ENTRY, 0n)],
      programHeaders: [{ paddr: 0n, vaddr: 0n }],
    });
    expect(guest.cpu.rip).toBe(0n);
    expect([...guest.memory.readBytes(gpaOf(guest, 0n), 2)]).toEqual([1, 2]);
  });
});
