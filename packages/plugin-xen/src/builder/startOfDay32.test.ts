/** PV32 start of day (public/xen.h, "startofday"; arch-x86/xen-x86_32.h). */
import { describe, expect, it } from 'vitest';
import { NoteType } from '../notes/elfNotes.ts';
import { findXenEntries } from '../notes/finder.ts';
import { textNote } from '../testing/guest.ts';
import { boot32, image32, numberNote32, PLAIN_NOTES_32, VIRT_BASE_32 } from '../testing/guest32.ts';
import { walk } from '../testing/walk.ts';

const without = (type: number) => PLAIN_NOTES_32.filter((note) => note.type !== type);

describe('PV32 start of day', () => {
  it('enters the kernel at CPL 1 with flat 32-bit segments, start_info in ESI and a stack', () => {
    const { cpu } = boot32();
    expect([cpu.cpl, cpu.rip]).toEqual([1, 0xc010_0010n]);
    expect([0, 1, 2, 3, 4, 5].map((index) => cpu.segment(index).selector)).toEqual([
      0xe021, 0xe019, 0xe021, 0xe021, 0xe021, 0xe021,
    ]);
    expect(cpu.segment(1)).toMatchObject({ base: 0n, limit: 0xffff_ffff, accessRights: 0xc0bb });
    expect(cpu.gpr[4] > VIRT_BASE_32 && cpu.gpr[4] < 0xf580_0000n).toBe(true);
    expect(cpu.gpr[6] & 0xfffn).toBe(0n);
  });

  it('fills start_info as a 32-bit guest reads it', () => {
    const { cpu, memory } = boot32();
    const info = walk(memory, cpu.cr3, cpu.gpr[6], 'read', false) as number;
    expect(new TextDecoder().decode(memory.readBytes(info, 16))).toBe('xen-3.0-x86_32p\0');
    expect(memory.read32(info + 32)).toBe((8 << 20) / 4096);
    expect(memory.read32(info + 36) % 4096).toBe(0);
    expect(new TextDecoder().decode(memory.readBytes(info + 80, 9))).toBe('fixture=1');
    const p2m = walk(memory, cpu.cr3, BigInt(memory.read32(info + 68)), 'read', false) as number;
    const tables = BigInt(memory.read32(info + 60));
    const root = walk(memory, cpu.cr3, tables, 'read', false) as number;
    const rootPfn = Number((tables - VIRT_BASE_32) >> 12n);
    expect(memory.read32(p2m + rootPfn * 4) * 4096).toBe(root);
  });

  it('maps page tables read-only, the hole with the machine-to-physical table, and nothing above 4 GiB', () => {
    const { cpu, memory } = boot32();
    const info = walk(memory, cpu.cr3, cpu.gpr[6], 'read', false) as number;
    const tables = BigInt(memory.read32(info + 60));
    expect(walk(memory, cpu.cr3, tables, 'write', false)).toMatchObject({ errorCode: 3 });
    const root = walk(memory, cpu.cr3, tables, 'read', false) as number;
    const m2p = walk(memory, cpu.cr3, 0xf580_0000n + BigInt((root / 4096) * 4), 'read', false) as number;
    expect(memory.read32(m2p)).toBe(Number((tables - VIRT_BASE_32) >> 12n));
    expect(walk(memory, cpu.cr3, 0xf580_0000n, 'write', false)).toMatchObject({ errorCode: 3 });
    expect(walk(memory, cpu.cr3, 0x1_0000_0000n, 'read', false)).toMatchObject({ errorCode: 0 });
  });

  it('gives a kernel below 3 GiB the table of the fourth gigabyte too', () => {
    const notes = [
      ...without(NoteType.VIRT_BASE).filter((note) => note.type !== NoteType.ENTRY),
      numberNote32(NoteType.VIRT_BASE, 0n),
      numberNote32(NoteType.ENTRY, 0x10_0000n),
    ];
    const { cpu, memory } = boot32(image32(notes, 0n));
    expect(typeof walk(memory, cpu.cr3, 0xf580_0000n, 'read', false)).toBe('number');
  });
});

describe('the 32-bit PV door', () => {
  const doors = (...change: Parameters<typeof image32>) => findXenEntries(image32(...change));

  it('is open to images with PAE', () => {
    for (const mode of ['yes', 'yes,bimodal', 'bimodal']) {
      const notes = [...without(NoteType.PAE_MODE), textNote(NoteType.PAE_MODE, mode)];
      expect(doors(notes).entries).toMatchObject([{ name: 'pv', abi: 'Xen PV 32-bit PAE' }]);
    }
  });

  it('is closed to images without PAE, and to those that need more address space', () => {
    expect(doors(without(NoteType.PAE_MODE)).closed?.[0].reason).toMatch(/does not use PAE/);
    const high = [...PLAIN_NOTES_32, numberNote32(NoteType.HV_START_LOW, 0xfc00_0000n)];
    expect(doors(high).closed?.[0].reason).toMatch(/0xfc000000/);
    const low = [...PLAIN_NOTES_32, numberNote32(NoteType.HV_START_LOW, 0xf580_0000n)];
    expect(doors(low).entries).toHaveLength(1);
  });
});
