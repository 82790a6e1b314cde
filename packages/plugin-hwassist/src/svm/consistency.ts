/** The checks by which VMRUN refuses a VMCB: #VMEXIT(INVALID) (AMD APM vol. 2, 15.5.1, 15.20 and 15.25.4). */
import { Intercept, readIntercepts } from './intercepts.ts';
import { IOPM_BYTES, MSRPM_BYTES } from './permission-maps.ts';
import { EventInfo, EventType, NP_ENABLE, type Vmcb } from './vmcb.ts';

/** What of the processor and the host the checks depend on. */
export interface Surroundings {
  /** Bits of CR4 that the processor has; the others must be zero. */
  readonly cr4Bits: bigint;
  /** Bits of EFER that the processor has, SVME among them. */
  readonly eferBits: bigint;
  /** CR0.PG at VMRUN. */
  readonly hostPaging: boolean;
  /** How many there are (CPUID 8000_000AH). */
  readonly asids: number;
}

const PHYSICAL_ADDRESS_BITS = 40n;
const PHYSICAL_ADDRESSES = 1n << PHYSICAL_ADDRESS_BITS;
const PAGE_MASK = 0xfffn;

const Cr0 = { PE: 1n, NW: 1n << 29n, CD: 1n << 30n, PG: 1n << 31n } as const;
const CR4_PAE = 1n << 5n;
const Efer = { LME: 1n << 8n, SVME: 1n << 12n } as const;
/** Bits of {@link Segment.accessRights}. */
const CodeSegment = { L: 1 << 13, D: 1 << 14 } as const;

/** The registers that several checks look at. */
interface Registers {
  readonly cr0: bigint;
  readonly cr3: bigint;
  readonly cr4: bigint;
  readonly efer: bigint;
}

type Check = (registers: Registers, vmcb: Vmcb, surroundings: Surroundings) => boolean;

const has = (value: bigint, bits: bigint) => (value & bits) !== 0n;
const isWide = (value: bigint) => value >> 32n !== 0n;
const isBeyondPhysical = (value: bigint) => value >> PHYSICAL_ADDRESS_BITS !== 0n;
const isLongMode = ({ cr0, efer }: Registers) => has(efer, Efer.LME) && has(cr0, Cr0.PG);
const usesNestedPaging = (vmcb: Vmcb) => (vmcb.read('NP_CONTROL') & NP_ENABLE) !== 0;
/** The low 12 bits of a map's address are ignored; what counts is the address behind it (15.5.1). */
const isMapBeyondPhysical = (basePa: bigint, sizeBytes: number) =>
  (basePa & ~PAGE_MASK) + BigInt(sizeBytes) >= PHYSICAL_ADDRESSES;

function isBothSizes({ cr4 }: Registers, vmcb: Vmcb): boolean {
  const both = CodeSegment.L | CodeSegment.D;
  return has(cr4, CR4_PAE) && (vmcb.segment('CS').accessRights & both) === both;
}

const EVENT_TYPES: readonly number[] = Object.values(EventType);
const NMI_VECTOR = 2;

/** 15.20: TYPE is reserved, or says exception where VECTOR is none; vector 2 is the NMI. */
function isIllegalEvent(vmcb: Vmcb): boolean {
  const event = Number(BigInt.asUintN(32, vmcb.read64('EVENTINJ')));
  if ((event & EventInfo.V) === 0) return false;
  const type = (event & EventInfo.TYPE_MASK) >>> EventInfo.TYPE_SHIFT;
  const vector = event & EventInfo.VECTOR_MASK;
  return !EVENT_TYPES.includes(type) || (type === EventType.EXCEPTION && (vector === NMI_VECTOR || vector > 31));
}

/** A PA field of PAT is UC, WC, WT, WP, WB or UC-, bits 7:3 are zero (7.8.1). */
function isIllegalPat(pat: bigint): boolean {
  const illegal = (type: bigint) => type > 7n || type === 2n || type === 3n;
  return Array.from({ length: 8 }, (_, entry) => (pat >> BigInt(8 * entry)) & 0xffn).some(illegal);
}

/** In the manual's order; each is true where the state is illegal. */
const CHECKS: readonly (readonly [what: string, isIllegal: Check])[] = [
  ['EFER.SVME is zero', ({ efer }) => !has(efer, Efer.SVME)],
  ['CR0.CD is zero and CR0.NW is set', ({ cr0 }) => !has(cr0, Cr0.CD) && has(cr0, Cr0.NW)],
  ['CR0[63:32] are not zero', ({ cr0 }) => isWide(cr0)],
  ['an MBZ bit of CR3 is set', ({ cr3 }) => isBeyondPhysical(cr3)],
  ['an MBZ bit of CR4 is set', ({ cr4 }, _, { cr4Bits }) => has(cr4, ~cr4Bits)],
  ['DR6[63:32] are not zero', (_, vmcb) => isWide(vmcb.read64('DR6'))],
  ['DR7[63:32] are not zero', (_, vmcb) => isWide(vmcb.read64('DR7'))],
  ['an MBZ bit of EFER is set', ({ efer }, _, { eferBits }) => has(efer, ~eferBits)],
  ['EFER.LME and CR0.PG without CR4.PAE', (registers) => isLongMode(registers) && !has(registers.cr4, CR4_PAE)],
  ['EFER.LME and CR0.PG without CR0.PE', (registers) => isLongMode(registers) && !has(registers.cr0, Cr0.PE)],
  [
    'EFER.LME, CR0.PG, CR4.PAE, CS.L and CS.D are all set',
    (registers, vmcb) => isLongMode(registers) && isBothSizes(registers, vmcb),
  ],
  ['VMRUN is not intercepted', (_, vmcb) => !readIntercepts(vmcb).has(Intercept.VMRUN)],
  [
    'the MSR permissions map is beyond physical addresses',
    (_, vmcb) => isMapBeyondPhysical(vmcb.read64('MSRPM_BASE_PA'), MSRPM_BYTES),
  ],
  [
    'the I/O permissions map is beyond physical addresses',
    (_, vmcb) => isMapBeyondPhysical(vmcb.read64('IOPM_BASE_PA'), IOPM_BYTES),
  ],
  ['EVENTINJ is illegal', (_, vmcb) => isIllegalEvent(vmcb)],
  ['ASID is zero', (_, vmcb) => vmcb.read('ASID') === 0],
  ['ASID is beyond the last', (_, vmcb, { asids }) => vmcb.read('ASID') >= asids],
  ['nested paging without CR0.PG of the host', (_, vmcb, { hostPaging }) => usesNestedPaging(vmcb) && !hostPaging],
  ['an MBZ bit of nCR3 is set', (_, vmcb) => usesNestedPaging(vmcb) && isBeyondPhysical(vmcb.read64('nCR3'))],
  ['G_PAT is illegal', (_, vmcb) => usesNestedPaging(vmcb) && isIllegalPat(vmcb.read64('G_PAT'))],
];

/**
 * Why VMRUN must exit with VMEXIT_INVALID: the first of its checks that fails, in words. NOT IMPLEMENTED: those for features
 * that the processor does not have (CET, AVIC, SEV).
 * @throws RangeError if the VMCB is not all in memory
 */
export function illegalState(vmcb: Vmcb, surroundings: Surroundings): string | undefined {
  const registers = {
    cr0: vmcb.read64('CR0'),
    cr3: vmcb.read64('CR3'),
    cr4: vmcb.read64('CR4'),
    efer: vmcb.read64('EFER'),
  };
  return CHECKS.find(([, isIllegal]) => isIllegal(registers, vmcb, surroundings))?.[0];
}
