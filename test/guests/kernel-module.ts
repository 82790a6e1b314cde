/** A loadable kernel module out of an object that knows nothing of the kernel it is for: no headers are needed. */
import type { ElfImage } from '@polyvisor/plugin-api';
import { Btf, BtfKind } from '../../packages/core/src/loader/image/btf.ts';
import { parseElf } from '../../packages/core/src/loader/image/elf.ts';

/** ELF64 section header: sh_offset, sh_size (ELF-64 Object File Format, 1.5, figure 6); a relocation with addend. */
const HEADER = { sizeBytes: 64, offset: 24, size: 32 } as const;
const RELA_BYTES = 24;
const THIS_MODULE = '.gnu.linkonce.this_module';
const MODINFO = '.modinfo';

/** What Linux compares a module's with (include/linux/vermagic.h): it stands in the kernel's read-only data. */
function versionMagic(kernel: ElfImage): string {
  const text = Buffer.from(kernel.bytes).toString('latin1');
  const found = /\0(\d+\.\d+\.\d+[-.\w+]* SMP [a-z_ ]*mod_unload [a-z_ ]*)\0/.exec(text)?.[1];
  if (found === undefined) throw new Error('the kernel says nowhere which modules fit it');
  return found;
}

/** Size of `struct module`, and where the members that count stand in it, in bytes. */
function moduleLayout(kernel: ElfImage) {
  const section = kernel.section('.BTF');
  if (!section) throw new Error('the kernel has no types');
  const btf = new Btf(kernel.bytes.subarray(section.offset, section.offset + section.sizeBytes));
  const type = btf.find(BtfKind.STRUCT, 'module');
  if (type === undefined) throw new Error('the kernel has no modules');
  const offsetOf = (name: string) => {
    const member = btf.members(type).find((each) => each.name === name);
    if (!member) throw new Error(`struct module has no ${name}`);
    return member.bitOffset / 8;
  };
  return {
    sizeBytes: btf.structSizeBytes(type),
    name: offsetOf('name'),
    init: offsetOf('init'),
    exit: offsetOf('exit'),
  };
}

/**
 * `object`: compiled, with a section `.gnu.linkonce.this_module` of two pointers, to init and to exit, and with `.modinfo`.
 * Both grow to what the kernel wants: struct module, and which kernel it is for.
 */
export function kernelModule(object: Uint8Array, kernel: ElfImage, name: string): Uint8Array {
  const layout = moduleLayout(kernel);
  const { sections } = parseElf(object);
  const headersAt = Number(Buffer.from(object).readBigUInt64LE(0x28));
  const placeOf = (wanted: string) => {
    const index = sections.findIndex((section) => section.name === wanted);
    if (index < 0) throw new Error(`the object has no ${wanted}`);
    return { ...sections[index], header: headersAt + index * HEADER.sizeBytes };
  };
  const self = Buffer.alloc(layout.sizeBytes);
  self.write(name, layout.name, 'latin1');
  const info = placeOf(MODINFO);
  const said = object.subarray(info.offset, info.offset + info.sizeBytes);
  const texts = Buffer.concat([said, Buffer.from(`vermagic=${versionMagic(kernel)}\0`)]);
  const file = Buffer.concat([object, self, texts]);
  const move = (header: number, offset: number, sizeBytes: number) => {
    file.writeBigUInt64LE(BigInt(offset), header + HEADER.offset);
    file.writeBigUInt64LE(BigInt(sizeBytes), header + HEADER.size);
  };
  move(placeOf(THIS_MODULE).header, object.length, self.length);
  move(info.header, object.length + self.length, texts.length);
  const relocations = placeOf(`.rela${THIS_MODULE}`);
  [layout.init, layout.exit].forEach((offset, i) => {
    file.writeBigUInt64LE(BigInt(offset), relocations.offset + i * RELA_BYTES);
  });
  return file;
}
