/** The frame of a root in a 64-bit CR3. */
export function cr3Frame(cr3: bigint): number {
  return Number((cr3 >> 12n) & 0xff_ffff_ffffn);
}

/** How a PV32 guest writes a frame above 4 GiB into a 32-bit CR3 (public/arch-x86/xen-x86_32.h, xen_pfn_to_cr3). */
export function paeCr3(mfn: number): bigint {
  return BigInt.asUintN(32, (BigInt(mfn) << 12n) | (BigInt(mfn) >> 20n));
}
export function paeCr3Frame(cr3: bigint): number {
  return Number(((cr3 & 0xffff_f000n) >> 12n) | ((cr3 & 0xfffn) << 20n));
}
