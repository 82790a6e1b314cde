/**
 * A hypervisor interface of its own in one file: `vm run guests/minimal/prebuilt/minimal.elf --plugin ./examples/minimal-plugin/index.ts`
 *
 * Image: ELF64 with a note of owner "Minimal", type 1, whose descriptor is the 64-bit entry address. Start of day: long
 * mode at CPL 3, the first GByte mapped to itself, RSP below the page tables at the top of memory. Hypercalls: VMMCALL or
 * VMCALL with the number in RAX and the argument in RDI: 0 prints a character, 1 ends the guest with a status.
 */
import type { BootRequest, EntrySearch, GuestImage, Machine, Plugin } from '@polyvisor/plugin-api';
import { Gpr, PolyvisorError, SegmentIndex } from '@polyvisor/plugin-api';

const ABI = 'Minimal 64-bit';
const PT_LOAD = 1;
const PAGE_BYTES = 4096;
const GIBIBYTE = 2 ** 30;
/** Page-table entry: present, writable, user; and "this entry maps 1 GByte" (SDM vol. 3A, table 4-16). */
const ENTRY_FLAGS = 7n;
const ENTRY_1G = ENTRY_FLAGS | 0x80n;

function findEntries(image: GuestImage): EntrySearch {
  const { elf } = image;
  const note = elf?.notes.find(({ owner, type, desc }) => owner === 'Minimal' && type === 1 && desc.length === 8);
  if (elf?.class !== 64 || !note) {
    const reason = 'no ELF64 note of owner "Minimal"';
    return { entries: [], missing: [{ name: 'minimal', abi: ABI, reason }] };
  }
  const address = new DataView(note.desc.buffer, note.desc.byteOffset).getBigUint64(0, true);
  const foundIn = `ELF note Minimal/1 (${note.where})`;
  return { entries: [{ name: 'minimal', abi: ABI, address, foundIn, plugin: 'minimal', priority: 1 }], missing: [] };
}

/** Puts the loadable segments where they want to be; guest memory ends at `endBytes`. */
function place({ image }: BootRequest, { memory }: Machine, endBytes: number): void {
  for (const { type, paddr, offset, fileSizeBytes, memorySizeBytes } of image.elf?.programHeaders ?? []) {
    if (type !== PT_LOAD) continue;
    const bytes = image.elf?.bytes.subarray(offset, offset + fileSizeBytes) ?? new Uint8Array(0);
    const fits = fileSizeBytes <= memorySizeBytes && paddr + BigInt(memorySizeBytes) <= BigInt(endBytes);
    if (!fits || bytes.length < fileSizeBytes) {
      throw new PolyvisorError(
        'MIN01',
        `${image.name}: a segment does not fit`,
        'use more --memory, or check the image',
        3,
      );
    }
    memory.fill(Number(paddr), memorySizeBytes, 0);
    memory.writeBytes(Number(paddr), bytes);
  }
}

/** Long mode at CPL 3 on a root whose first GByte is mapped to itself (SDM vol. 3A, 10.8.5). */
function enter({ entry }: BootRequest, { memory, vcpus: [vcpu] }: Machine, root: number): void {
  memory.fill(root, 2 * PAGE_BYTES, 0);
  memory.write64(root, BigInt(root + PAGE_BYTES) | ENTRY_FLAGS);
  memory.write64(root + PAGE_BYTES, ENTRY_1G);
  vcpu.efer = 0x500n; // LME LMA
  vcpu.cr4 = 0x620n; // PAE OSFXSR OSXMMEXCPT
  vcpu.cr3 = BigInt(root);
  vcpu.cr0 = 0x8001_0033n; // PG WP NE ET MP PE
  const flat = { base: 0n, limit: 0xffff_ffff };
  vcpu.setSegment(SegmentIndex.CS, { ...flat, selector: 0x0b, accessRights: 0xa0fb }); // 64-bit code, DPL 3
  vcpu.setSegment(SegmentIndex.SS, { ...flat, selector: 0x13, accessRights: 0xc0f3 }); // data, DPL 3
  vcpu.cpl = 3;
  vcpu.rip = entry.address;
  vcpu.gpr[Gpr.RSP] = BigInt(root);
}

const plugin: Plugin = {
  name: 'minimal',
  version: '1.0.0',
  api: '^1.0',
  apply(host) {
    let machine: Machine | undefined;
    host.claim({ kind: 'hypercall', abi: 'minimal', first: 0, last: 1 });
    host.hooks.findEntries.tap('minimal', findEntries);
    host.hooks.boot.tap('minimal', (request, pc) => {
      if (request.entry.plugin !== 'minimal') return undefined; // another plug-in's guest
      const mappedBytes = Math.min(request.memoryBytes, GIBIBYTE);
      const root = (Math.floor(mappedBytes / PAGE_BYTES) - 2) * PAGE_BYTES;
      place(request, pc, root);
      enter(request, pc, root);
      machine = pc;
      return true;
    });
    host.hooks.exit.for('hypercall').tap('minimal', (vcpu) => {
      if (!machine) return 'pass';
      const argument = vcpu.gpr[Gpr.RDI];
      const number = vcpu.gpr[Gpr.RAX];
      host.count(`hypercall.${number === 0n ? 'putchar' : number === 1n ? 'exit' : 'unknown'}`);
      if (number === 0n) machine.console.write(Uint8Array.of(Number(argument & 0xffn)));
      else if (number === 1n && argument === 0n) machine.shutdown({ kind: 'poweroff' });
      else if (number === 1n) machine.shutdown({ kind: 'crash', message: `exit status ${argument}` });
      vcpu.gpr[Gpr.RAX] = number <= 1n ? 0n : 0xffff_ffff_ffff_ffffn;
      return 'handled';
    });
  },
};
export default plugin;
