/** Multiboot Specification 0.6.96, 3.1: header magic, flags, checksum; in the first 8192 bytes, 4-byte aligned. */
const MULTIBOOT1 = { magic: 0x1badb002, searchBytes: 8192, alignBytes: 4, words: 3 } as const;
/** Multiboot2 Specification 2.0, 3.1: magic, architecture, length, checksum; in the first 32768 bytes, 8-byte aligned. */
const MULTIBOOT2 = { magic: 0xe85250d6, searchBytes: 32768, alignBytes: 8, words: 4 } as const;

export interface MultibootHeader {
  readonly version: 1 | 2;
  readonly offset: number;
}

/** The first header whose words sum to zero. */
export function findMultibootHeader(bytes: Uint8Array): MultibootHeader | undefined {
  const first = search(bytes, MULTIBOOT1);
  if (first !== undefined) return { version: 1, offset: first };
  const second = search(bytes, MULTIBOOT2);
  return second === undefined ? undefined : { version: 2, offset: second };
}

function search(bytes: Uint8Array, kind: typeof MULTIBOOT1 | typeof MULTIBOOT2): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = Math.min(bytes.length, kind.searchBytes) - kind.words * 4;
  for (let at = 0; at <= end; at += kind.alignBytes) {
    if (view.getUint32(at, true) !== kind.magic) continue;
    let sum = 0;
    for (let word = 0; word < kind.words; word++) sum = (sum + view.getUint32(at + word * 4, true)) >>> 0;
    if (sum === 0) return at;
  }
  return undefined;
}
