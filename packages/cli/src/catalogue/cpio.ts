/** A file of an initramfs. Paths have no leading slash; parents come before their children. */
export type CpioEntry =
  | { readonly kind: 'directory'; readonly path: string; readonly mode?: number }
  | { readonly kind: 'file'; readonly path: string; readonly bytes: Uint8Array; readonly mode?: number }
  | { readonly kind: 'link'; readonly path: string; readonly target: string }
  | { readonly kind: 'characterDevice'; readonly path: string; readonly major: number; readonly minor: number };

/** File types in c_mode (POSIX <sys/stat.h>). */
const TYPE_BITS = { directory: 0o040000, file: 0o100000, link: 0o120000, characterDevice: 0o020000 } as const;
const DEFAULT_MODE = { directory: 0o755, file: 0o644, link: 0o777, characterDevice: 0o600 } as const;

const MAGIC = '070701';
const TRAILER = 'TRAILER!!!';

/**
 * A cpio archive in the "newc" format that Linux reads as an initramfs
 * (Linux, Documentation/driver-api/early-userspace/buffer-format.rst). Everything belongs to root and
 * carries time 0, so that equal entries give equal bytes.
 */
export function writeCpio(entries: readonly CpioEntry[]): Uint8Array {
  const parts: Buffer[] = [];
  entries.forEach((entry, index) => {
    const content = contentOf(entry);
    const mode =
      TYPE_BITS[entry.kind] | ('mode' in entry && entry.mode !== undefined ? entry.mode : DEFAULT_MODE[entry.kind]);
    const device = entry.kind === 'characterDevice' ? entry : { major: 0, minor: 0 };
    parts.push(header(index + 1, mode, entry.kind === 'directory' ? 2 : 1, content.length, device, entry.path));
    parts.push(padded(content));
  });
  parts.push(header(0, 0, 1, 0, { major: 0, minor: 0 }, TRAILER));
  return Buffer.concat(parts);
}

function contentOf(entry: CpioEntry): Buffer {
  if (entry.kind === 'file') return Buffer.from(entry.bytes.buffer, entry.bytes.byteOffset, entry.bytes.length);
  return entry.kind === 'link' ? Buffer.from(entry.target) : Buffer.alloc(0);
}

/** The header's thirteen numbers of eight hex digits, then the name, padded as a whole to four bytes. */
function header(
  inode: number,
  mode: number,
  links: number,
  sizeBytes: number,
  device: { readonly major: number; readonly minor: number },
  path: string,
): Buffer {
  const name = Buffer.from(`${path}\0`);
  const numbers = [inode, mode, 0, 0, links, 0, sizeBytes, 0, 0, device.major, device.minor, name.length, 0];
  const fields = numbers.map((value) => value.toString(16).padStart(8, '0')).join('');
  return padded(Buffer.concat([Buffer.from(MAGIC + fields), name]));
}

function padded(bytes: Buffer): Buffer {
  const missing = (4 - (bytes.length % 4)) % 4;
  return missing === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(missing)]);
}
