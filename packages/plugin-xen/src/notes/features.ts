/** Names of XENFEAT_* flags by number (public/features.h). */
const FEATURE_NAMES: Readonly<Record<string, number>> = {
  writable_page_tables: 0,
  writable_descriptor_tables: 1,
  auto_translated_physmap: 2,
  supervisor_mode_kernel: 3,
  pae_pgdir_above_4gb: 4,
  mmu_pt_update_preserve_ad: 5,
  highmem_assist: 6,
  gnttab_map_avail_bits: 7,
  hvm_callback_vector: 8,
  hvm_safe_pvclock: 9,
  hvm_pirqs: 10,
  dom0: 11,
  memory_op_vnode_supported: 13,
  ARM_SMCCC_supported: 14,
  linux_rsdp_unrestricted: 15,
  not_direct_mapped: 16,
  direct_mapped: 17,
};

export interface FeatureList {
  /** Bit n: XENFEAT n is understood by the guest. */
  readonly supported: bigint;
  /** Bit n: the guest does not run without it. */
  readonly required: bigint;
  /** Required features of unknown name: the image cannot be started. */
  readonly unknownRequired: readonly string[];
}

export const NO_FEATURES: FeatureList = { supported: 0n, required: 0n, unknownRequired: [] };

/** Parse a FEATURES string: names separated by '|', a leading '!' marks a requirement (public/elfnote.h). */
export function parseFeatures(list: string): FeatureList {
  let supported = 0n;
  let required = 0n;
  const unknownRequired: string[] = [];
  for (const item of list.split('|')) {
    const isRequired = item.startsWith('!');
    const name = isRequired ? item.slice(1) : item;
    const bit = Object.hasOwn(FEATURE_NAMES, name) ? FEATURE_NAMES[name] : undefined;
    if (bit === undefined) {
      if (isRequired && name !== '') unknownRequired.push(name);
      continue;
    }
    supported |= 1n << BigInt(bit);
    if (isRequired) required |= 1n << BigInt(bit);
  }
  return { supported, required, unknownRequired };
}

/** Features a PV64 guest may require here. */
const PROVIDED = (1n << 0n) | (1n << 4n) | (1n << 5n) | (1n << 7n) | (1n << 9n) | (1n << 13n);

/** Names of required features that this plug-in cannot give a PV64 guest. */
export function missingFeatures(features: FeatureList): string[] {
  const missing = [...features.unknownRequired];
  for (const [name, bit] of Object.entries(FEATURE_NAMES)) {
    if (((features.required & ~PROVIDED) >> BigInt(bit)) & 1n) missing.push(name);
  }
  return missing;
}
