import { copyFromGuest, copyToGuest } from '../access.ts';
import type { HypercallContext, HypercallHandler, XenDomain } from '../domain.ts';
import { EFAULT, EINVAL, ENOSYS, EPERM } from '../errno.ts';
import { notImplemented } from '../hypercall/dispatch.ts';
import { writeGuestWord, writeU32 } from '../hypercall/guestCopy.ts';

/** XENVER_* (public/version.h). */
const Xenver = {
  VERSION: 0,
  EXTRAVERSION: 1,
  COMPILE_INFO: 2,
  CAPABILITIES: 3,
  CHANGESET: 4,
  PLATFORM_PARAMETERS: 5,
  GET_FEATURES: 6,
  PAGESIZE: 7,
  GUEST_HANDLE: 8,
  COMMANDLINE: 9,
  BUILD_ID: 10,
} as const;

const MAJOR = 4n;
const MINOR = 17n;
const PAGE_BYTES = 4096n;
/** What an unprivileged domain reads in place of what it may not know. */
const DENIED = '<denied>';

/** Fixed-size, zero-terminated strings: text and size of the guest's buffer in bytes. */
const STRINGS: Readonly<Record<number, readonly (readonly [text: string, sizeBytes: number])[]>> = {
  [Xenver.EXTRAVERSION]: [['.0-polyvisor', 16]],
  [Xenver.COMPILE_INFO]: [
    ['TypeScript', 64],
    ['polyvisor', 16],
    ['polyvisor', 32],
    ['', 32],
  ],
  [Xenver.CAPABILITIES]: [['xen-3.0-x86_64 xen-3.0-x86_32p ', 1024]],
  [Xenver.CHANGESET]: [[DENIED, 64]],
  [Xenver.COMMANDLINE]: [[DENIED, 1024]],
};

/** XENFEAT_* (public/features.h). */
const Feature = {
  WRITABLE_PAGE_TABLES: 0,
  AUTO_TRANSLATED_PHYSMAP: 2,
  PAE_PGDIR_ABOVE_4GB: 4,
  MMU_PT_UPDATE_PRESERVE_AD: 5,
  HIGHMEM_ASSIST: 6,
  GNTTAB_MAP_AVAIL_BITS: 7,
  HVM_CALLBACK_VECTOR: 8,
  HVM_SAFE_PVCLOCK: 9,
  MEMORY_OP_VNODE_SUPPORTED: 13,
  NOT_DIRECT_MAPPED: 16,
  DIRECT_MAPPED: 17,
} as const;
/** VMASST_TYPE_pae_extended_cr3. */
const ASSIST_PAE_EXTENDED_CR3 = 1 << 3;

/** Features of a domain on real page tables; hvm_pirqs is not among them. */
const HVM_FEATURES =
  (1 << Feature.WRITABLE_PAGE_TABLES) |
  (1 << Feature.AUTO_TRANSLATED_PHYSMAP) |
  (1 << Feature.HVM_CALLBACK_VECTOR) |
  (1 << Feature.HVM_SAFE_PVCLOCK) |
  (1 << Feature.MEMORY_OP_VNODE_SUPPORTED) |
  (1 << Feature.NOT_DIRECT_MAPPED);

/** Features of a domain, submap 0. */
function features(domain: XenDomain): number {
  if (domain.kind === 'hvm') return HVM_FEATURES;
  const extendedCr3 = (domain.vmAssist & ASSIST_PAE_EXTENDED_CR3) !== 0;
  return (
    (1 << Feature.MMU_PT_UPDATE_PRESERVE_AD) |
    (1 << Feature.HIGHMEM_ASSIST) |
    (1 << Feature.GNTTAB_MAP_AVAIL_BITS) |
    (1 << Feature.MEMORY_OP_VNODE_SUPPORTED) |
    (1 << Feature.DIRECT_MAPPED) |
    (extendedCr3 ? 1 << Feature.PAE_PGDIR_ABOVE_4GB : 0)
  );
}

/**
 * xen_version (17).
 *
 * NOTES: the version answered is 4.17; the change set and the hypervisor's command line are not for a guest's eyes,
 * and read `<denied>`. build_id is refused. Feature bits are offered only for what is implemented.
 * IN: cmd, pointer to the buffer of XENVER_<cmd> (none for version and pagesize).
 * OUT: version: major << 16 | minor; pagesize: 4096; the strings: 0; or a negative errno.
 */
export const xenVersion: HypercallHandler = (context, args) => {
  const cmd = Number(BigInt.asUintN(32, args[0]));
  const strings = STRINGS[cmd];
  if (strings !== undefined) return writeStrings(context, args[1], strings);
  switch (cmd) {
    case Xenver.VERSION:
      return (MAJOR << 16n) | MINOR;
    case Xenver.PLATFORM_PARAMETERS:
      return writeGuestWord(context, args[1], context.domain.hypervisorStart) ? 0n : EFAULT;
    case Xenver.GET_FEATURES:
      return getFeatures(context, args[1]);
    case Xenver.PAGESIZE:
      return args[1] === 0n ? PAGE_BYTES : EINVAL;
    case Xenver.GUEST_HANDLE:
      return copyToGuest(context.vcpu, args[1], new Uint8Array(16)) ? 0n : EFAULT;
    case Xenver.BUILD_ID:
      return EPERM;
    default:
      return notImplemented(context, 'xen_version', cmd, ENOSYS);
  }
};

/** struct xen_feature_info: IN submap_idx. OUT submap. */
function getFeatures(context: HypercallContext, pointer: bigint): bigint {
  const submap = copyFromGuest(context.vcpu, pointer, 8)?.getUint32(0, true);
  if (submap === undefined) return EFAULT;
  if (submap !== 0) return EINVAL;
  return writeU32(context.vcpu, pointer + 4n, features(context.domain)) ? 0n : EFAULT;
}

function writeStrings(
  context: HypercallContext,
  pointer: bigint,
  strings: readonly (readonly [text: string, sizeBytes: number])[],
): bigint {
  const image = new Uint8Array(strings.reduce((sum, [, sizeBytes]) => sum + sizeBytes, 0));
  let at = 0;
  for (const [text, sizeBytes] of strings) {
    image.set(new TextEncoder().encode(text), at);
    at += sizeBytes;
  }
  return copyToGuest(context.vcpu, pointer, image) ? 0n : EFAULT;
}
