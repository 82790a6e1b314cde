import { NO_FEATURES, parseFeatures } from './features.ts';
import type { ImageNotes } from './types.ts';

const PAGE_SHIFT = 12n;

/** `strtoull(text, NULL, 0)`: hexadecimal with 0x, octal with a leading 0, else decimal; junk reads as 0. */
function number(value: string): bigint {
  const digits = /^(0x[0-9a-f]+|[0-9]+)/i.exec(value.trim())?.[0];
  if (digits === undefined) return 0n;
  if (/^0x/i.test(digits)) return BigInt.asUintN(64, BigInt(digits));
  const octal = digits.length > 1 && digits.startsWith('0') ? /^0[0-7]*/.exec(digits)?.[0] : undefined;
  return BigInt.asUintN(64, octal === undefined ? BigInt(digits) : octal === '0' ? 0n : BigInt(`0o${octal.slice(1)}`));
}

/**
 * The legacy `__xen_guest` section: NAME=VALUE pairs separated by commas.
 * HYPERCALL_PAGE is a page number, counted from VIRT_BASE (public/elfnote.h).
 */
export function parseGuestInfo(info: string): ImageNotes {
  const values = new Map<string, string>();
  for (const item of info.split(',')) {
    const equals = item.indexOf('=');
    if (equals < 0) values.set(item, '');
    else values.set(item.slice(0, equals), item.slice(equals + 1));
  }
  const numberOf = (name: string): bigint | undefined => {
    const value = values.get(name);
    return value === undefined ? undefined : number(value);
  };
  const virtBase = numberOf('VIRT_BASE');
  const hypercallPage = numberOf('HYPERCALL_PAGE');
  return {
    where: '__xen_guest',
    legacy: true,
    entry: numberOf('VIRT_ENTRY'),
    virtBase,
    paddrOffset: numberOf('ELF_PADDR_OFFSET'),
    hypercallPage: hypercallPage === undefined ? undefined : (hypercallPage << PAGE_SHIFT) + (virtBase ?? 0n),
    xenVersion: values.get('XEN_VER'),
    guestOs: values.get('GUEST_OS'),
    guestVersion: values.get('GUEST_VER') ?? values.get('GUEST_VERSION'),
    loader: values.get('LOADER'),
    paeMode: values.get('PAE'),
    bsdSymtab: values.has('BSD_SYMTAB'),
    features: values.has('FEATURES') ? parseFeatures(values.get('FEATURES')!) : NO_FEATURES,
  };
}
