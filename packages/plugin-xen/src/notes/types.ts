import type { FeatureList } from './features.ts';

/** What an image says about itself to Xen, from whichever source it uses. Absent = not said. */
export interface ImageNotes {
  /** `PT_NOTE`, a note section's name, or `__xen_guest`. */
  readonly where: string;
  readonly legacy: boolean;
  info?: string;
  entry?: bigint;
  /** Virtual address of the hypercall page. */
  hypercallPage?: bigint;
  virtBase?: bigint;
  paddrOffset?: bigint;
  xenVersion?: string;
  guestOs?: string;
  guestVersion?: string;
  loader?: string;
  paeMode?: string;
  features: FeatureList;
  bsdSymtab?: boolean;
  hvStartLow?: bigint;
  /** Mask and value pairs that recognise non-present L1 entries carrying valid mfns. */
  l1MfnValid?: readonly { readonly mask: bigint; readonly value: bigint }[];
  suspendCancel?: boolean;
  initP2m?: bigint;
  modStartPfn?: boolean;
  phys32Entry?: bigint;
  phys32Reloc?: { readonly align?: number; readonly min?: number; readonly max?: number };
}
