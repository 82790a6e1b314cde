/**
 * One entry for all hypervisors, and a 32-bit ident that says which it is, as it was proposed for Linux in 2006:
 * `vm run guests/ident/prebuilt/ident.elf --plugin ./examples/ident-plugin/index.ts=ident:1,protocol:block`
 *
 * Image: ELF32 with a note of owner "Ident", type 1, whose descriptor is the kernel's table: pairs of words, an ident and
 * the address of its init. Idents are compared, never counted. Start of day: flat 32-bit protected mode, no paging, and
 * - protocol `ebx`: the ident in EBX, ESI 0; the ELF entry finds the init;
 * - protocol `block`: ESI points to { magic "Idnt", size, ident, data }; the ELF entry finds the init;
 * - protocol `init`: nothing in registers: the init itself is entered, since it is known which one it is.
 * Port 0xe9 prints a byte, port 0xf4 ends the guest with a status.
 */
import type { BootRequest, ElfImage, EntrySearch, GuestImage, Machine, Plugin } from '@polyvisor/plugin-api';
import { Gpr, PolyvisorError, SegmentIndex } from '@polyvisor/plugin-api';

const NAME = 'ident';
const PROTOCOLS = ['ebx', 'block', 'init'] as const;
type Protocol = (typeof PROTOCOLS)[number];
const ABIS = { ebx: 'ident in EBX', block: 'ident in a parameter block', init: 'the init of an ident' } as const;
const PT_LOAD = 1;
const EM_386 = 3;
const PORT = { PRINT: 0xe9, END: 0xf4 } as const;
const BLOCK_AT = 0x1000;
const BLOCK_MAGIC = 0x746e_6449; // "Idnt"
const BLOCK_BYTES = 16;

interface Known {
  readonly ident: number;
  readonly init: number;
}

const hex = (value: number) => `0x${value.toString(16)}`;

/** A number, or four characters as they lie in memory. @throws PolyvisorError ID001 */
export function readIdent(text: string | undefined): number {
  if (text !== undefined && /^(0x[\da-f]{1,8}|\d{1,10})$/i.test(text) && Number(text) <= 0xffff_ffff)
    return Number(text);
  if (text !== undefined && /^[\x21-\x7e]{4}$/.test(text)) return Buffer.from(text, 'latin1').readUInt32LE();
  throw new PolyvisorError('ID001', `ident: ${text ?? 'none'} is no ident`, 'give ident:NUMBER, or four characters');
}

function readProtocol(text = 'ebx'): Protocol {
  const found = PROTOCOLS.find((protocol) => protocol === text);
  if (found) return found;
  throw new PolyvisorError('ID002', `protocol:${text} is none`, `use one of ${PROTOCOLS.join(', ')}`);
}

/** The kernel's table, or `undefined`: it has none. */
function tableOf(elf: ElfImage | undefined): readonly Known[] | undefined {
  const note = elf?.notes.find(({ owner, type }) => owner === 'Ident' && type === 1);
  if (elf?.class !== 32 || elf.machine !== EM_386 || !note || note.desc.length % 8 !== 0) return undefined;
  const view = new DataView(note.desc.buffer, note.desc.byteOffset, note.desc.byteLength);
  return Array.from({ length: note.desc.length / 8 }, (_, i) => ({
    ident: view.getUint32(i * 8, true),
    init: view.getUint32(i * 8 + 4, true),
  }));
}

function find(image: GuestImage, ident: number, protocol: Protocol): EntrySearch {
  const door = { name: NAME, abi: ABIS[protocol] };
  const table = tableOf(image.elf);
  const missing = (reason: string) => ({ entries: [], missing: [{ ...door, reason }] });
  if (!image.elf || !table) return missing('no ELF32 note of owner "Ident"');
  const twice = table.find((one, i) => table.findIndex((other) => other.ident === one.ident) !== i);
  if (twice) return missing(`the kernel has ident ${hex(twice.ident)} twice`);
  const known = table.find((one) => one.ident === ident);
  if (!known) {
    const all = table.map((one) => hex(one.ident)).join(', ');
    return missing(`the kernel does not know ident ${hex(ident)}; it knows ${all || 'none'}`);
  }
  const own = protocol === 'init';
  const address = own ? BigInt(known.init) : image.elf.entry;
  const foundIn = own ? `ELF note Ident/1, ident ${hex(ident)}` : 'ELF header e_entry; ELF note Ident/1 has the ident';
  return { entries: [{ ...door, address, foundIn, plugin: NAME, priority: 1 }], missing: [] };
}

function start(
  { image, entry, memoryBytes }: BootRequest,
  { memory, vcpus: [vcpu] }: Machine,
  ident: number,
  protocol: Protocol,
) {
  for (const { type, paddr, offset, fileSizeBytes, memorySizeBytes } of image.elf?.programHeaders ?? []) {
    if (type !== PT_LOAD) continue;
    const bytes = image.elf?.bytes.subarray(offset, offset + fileSizeBytes) ?? new Uint8Array(0);
    if (bytes.length > memorySizeBytes || Number(paddr) + memorySizeBytes > memoryBytes) {
      throw new PolyvisorError(
        'ID003',
        `${image.name}: a segment does not fit`,
        'use more --memory, or check the image',
        3,
      );
    }
    memory.fill(Number(paddr), memorySizeBytes, 0);
    memory.writeBytes(Number(paddr), bytes);
  }
  vcpu.cr0 = 0x11n; // ET PE
  const flat = { base: 0n, limit: 0xffff_ffff };
  vcpu.setSegment(SegmentIndex.CS, { ...flat, selector: 0x08, accessRights: 0xc09b });
  for (const register of [SegmentIndex.ES, SegmentIndex.SS, SegmentIndex.DS, SegmentIndex.FS, SegmentIndex.GS]) {
    vcpu.setSegment(register, { ...flat, selector: 0x10, accessRights: 0xc093 });
  }
  vcpu.cpl = 0;
  vcpu.gpr.fill(0n);
  if (protocol === 'ebx') vcpu.gpr[Gpr.RBX] = BigInt(ident);
  if (protocol === 'block') {
    [BLOCK_MAGIC, BLOCK_BYTES, ident, 0].forEach((word, i) => memory.write32(BLOCK_AT + i * 4, word));
    vcpu.gpr[Gpr.RSI] = BigInt(BLOCK_AT);
  }
  vcpu.rflags = 2n;
  vcpu.rip = entry.address;
}

const plugin: Plugin = {
  name: NAME,
  version: '1.0.0',
  api: '^1.2',
  options: {
    ident: 'the 32-bit ident: a number, or four characters',
    protocol: 'how the kernel is told: ebx, block, or init (it is not told)',
  },
  apply(host) {
    const ident = readIdent(host.options.ident);
    const protocol = readProtocol(host.options.protocol);
    let machine: Machine | undefined;
    // What two plug-ins claim is refused, and both are named: an ident, and the register that tells it.
    host.claim({ kind: 'ident', ident });
    if (protocol !== 'init') host.claim({ kind: 'entryRegister', register: protocol === 'ebx' ? 'ebx' : 'esi' });
    host.claim({ kind: 'port', first: PORT.PRINT, last: PORT.PRINT });
    host.claim({ kind: 'port', first: PORT.END, last: PORT.END });
    host.hooks.findEntries.tap(NAME, (image) => find(image, ident, protocol));
    host.hooks.boot.tap(NAME, (request, pc) => {
      if (request.entry.plugin !== NAME) return undefined; // another door: nothing of it is touched
      start(request, pc, ident, protocol);
      machine = pc;
      return true;
    });
    host.hooks.exit.for('io').tap(NAME, (vcpu, { port, direction }) => {
      if (!machine || direction !== 'out' || (port !== PORT.PRINT && port !== PORT.END)) return 'pass';
      const value = Number(vcpu.gpr[Gpr.RAX] & 0xffn);
      if (port === PORT.PRINT) machine.console.write(Uint8Array.of(value));
      else if (value === 0) machine.shutdown({ kind: 'poweroff' });
      else machine.shutdown({ kind: 'crash', message: `exit status ${value}` });
      return 'handled';
    });
  },
};
export default plugin;
