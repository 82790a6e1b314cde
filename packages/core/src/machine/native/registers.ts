import type { ControlRegisterLimits } from '@polyvisor/plugin-api';
import { CR0, CR3, CR4, DR, EFER, type Slot } from '../../cpu/state.ts';
import { AccessRights } from '../cpu-mode.ts';
import type { ProcessorPlatform } from '../platform/processor.ts';
import { CR3_PCID, CR4_PCIDE } from '../process-contexts.ts';
import type { StateBlock } from '../state-block.ts';
import { type NativeAnswer, protection, undefinedOpcode } from './answer.ts';

const CS = 1;

/** What control and debug registers are of. */
interface Processor extends StateBlock {
  readonly platform: Pick<ProcessorPlatform, 'taskPriority'>;
  readonly controlRegisterLimits: ControlRegisterLimits | undefined;
  cr0: bigint;
  cr2: bigint;
  cr3: bigint;
  cr4: bigint;
  efer: bigint;
  refusesPdptes(cr3: number): boolean;
  flushTlb(gva?: bigint): void;
  flushContext(pcid: number): void;
}

/** Control-register bits that exist here (SDM vol. 3A, 2.5); setting another raises #GP(0). */
const CR0_BITS = 0xe005003fn;
export const CR4_BITS = 0x0000_0000_0033_07bcn;
const CR4_DE = 1n << 3n;
const CR0_PE = 1n;
const CR0_PG = 1n << 31n;
const CR0_NW = 1n << 29n;
const CR0_CD = 1n << 30n;
const CR4_PAE = 1n << 5n;
const PCIDE = BigInt(CR4_PCIDE);
const PCID = BigInt(CR3_PCID);
const EFER_LME = 1n << 8n;
const EFER_LMA = 1n << 10n;

/** MOV from CRn. */
export function readControlRegister(vcpu: Processor, cr: number): bigint | undefined {
  switch (cr) {
    case 0:
      return vcpu.cr0;
    case 2:
      return vcpu.cr2;
    case 3:
      return vcpu.cr3;
    case 4:
      return vcpu.cr4;
    case 8:
      return BigInt(vcpu.platform.taskPriority);
    default:
      return undefined;
  }
}

/** MOV to CRn with its reserved-bit and consistency checks (SDM vol. 2B, MOV—Move to/from Control Registers). */
export function writeControlRegister(vcpu: Processor, cr: number, value: bigint): NativeAnswer {
  switch (cr) {
    case 0:
      return writeCr0(vcpu, value);
    case 2:
      vcpu.cr2 = value;
      return 'next';
    case 3:
      // With PCIDs the highest bit says what becomes of the TLB, and is not kept (SDM vol. 3A, 4.10.4.1).
      if ((vcpu.cr4 & PCIDE ? BigInt.asUintN(63, value) : value) >> 52n) return protection();
      if (pdptesRefused(vcpu, { cr3: lowWord(value) })) return protection();
      vcpu.cr3 = value;
      return 'next';
    case 4:
      if (value & ~CR4_BITS & ~(vcpu.controlRegisterLimits?.cr4More ?? 0n)) return protection();
      if (~value & (vcpu.controlRegisterLimits?.cr4Ones ?? 0n)) return protection();
      if (vcpu.efer & EFER_LMA && !(value & CR4_PAE)) return protection();
      if (value & ~vcpu.cr4 & PCIDE && (!(vcpu.efer & EFER_LMA) || vcpu.cr3 & PCID)) return protection();
      if (pdptesRefused(vcpu, { cr4: lowWord(value) })) return protection();
      vcpu.cr4 = value;
      return 'next';
    case 8:
      if (value > 15n) return protection();
      vcpu.platform.taskPriority = Number(value);
      return 'next';
    default:
      return undefinedOpcode;
  }
}

/** PAE paging checks the four PDPTEs when it loads them (SDM vol. 3A, 4.4.1). Of the registers, the low halves. */
function pdptesRefused(
  vcpu: Processor,
  { cr0, cr3, cr4 }: { readonly cr0?: number; readonly cr3?: number; readonly cr4?: number },
): boolean {
  const isPaging = ((cr0 ?? vcpu.slotHalf(CR0, 0)) & lowWord(CR0_PG)) !== 0;
  const isPae = ((cr4 ?? vcpu.slotHalf(CR4, 0)) & lowWord(CR4_PAE)) !== 0;
  if (!isPaging || !isPae || vcpu.slotHalf(EFER, 0) & lowWord(EFER_LME)) return false;
  return vcpu.refusesPdptes(cr3 ?? vcpu.slotHalf(CR3, 0));
}
const lowWord = (value: bigint): number => Number(BigInt.asIntN(32, value));

/** LME takes effect with paging: leaving it again is only possible outside 64-bit mode (SDM vol. 3A, 9.8.5). */
function writeCr0(vcpu: Processor, value: bigint): NativeAnswer {
  const next = (value & CR0_BITS) | 0x10n;
  if (~next & (vcpu.controlRegisterLimits?.cr0Ones ?? 0n)) return protection();
  if (value >> 32n || (next & CR0_PG && !(next & CR0_PE)) || (next & CR0_NW && !(next & CR0_CD))) return protection();
  const pagingOn = next & CR0_PG && !(vcpu.cr0 & CR0_PG);
  const wide = (vcpu.segment(CS).accessRights & AccessRights.L) !== 0;
  if (pagingOn && vcpu.efer & EFER_LME && (!(vcpu.cr4 & CR4_PAE) || wide)) return protection();
  if (!(next & CR0_PG) && (vcpu.cr4 & PCIDE || (vcpu.efer & EFER_LMA && wide))) return protection();
  if (pdptesRefused(vcpu, { cr0: lowWord(next) })) return protection();
  if (pagingOn && vcpu.efer & EFER_LME) vcpu.efer |= EFER_LMA;
  if (!(next & CR0_PG)) vcpu.efer &= ~EFER_LMA;
  vcpu.cr0 = next;
  vcpu.flushTlb();
  return 'next';
}

/** INVPCID: its type and descriptor (SDM vol. 2A). More is dropped than is asked for: of a page in all contexts, and global pages. */
export function invalidateProcessContext(vcpu: Processor, type: bigint, low: bigint, linear: bigint): NativeAnswer {
  if (type > 3n || low >> 12n) return protection();
  const pcid = Number(low);
  if (type < 2n && pcid !== 0 && !(vcpu.cr4 & PCIDE)) return protection();
  if (type === 0n) {
    if (BigInt.asUintN(64, BigInt.asIntN(48, linear)) !== linear) return protection();
    vcpu.flushTlb(linear);
  } else if (type === 1n) vcpu.flushContext(pcid);
  else vcpu.flushTlb();
  return 'next';
}

export function readDebugRegister(vcpu: Processor, index: number): bigint | undefined {
  return isReservedDebugRegister(vcpu, index) ? undefined : vcpu.slot64(debugSlot(index));
}
export function writeDebugRegister(vcpu: Processor, index: number, value: bigint): NativeAnswer {
  if (isReservedDebugRegister(vcpu, index)) return undefinedOpcode;
  if (index >= 4 && value >> 32n) return protection();
  const slot = debugSlot(index);
  const fixed = slot === DR[6] ? 0xffff0ff0n | (value & 0xe00fn) : slot === DR[7] ? (value & ~0xd000n) | 0x400n : value;
  vcpu.setSlot64(slot, fixed);
  return 'next';
}
/** DR4 and DR5 are DR6 and DR7 while CR4.DE is clear, and raise #UD while it is set; there are no DR8 to DR15. */
const isReservedDebugRegister = (vcpu: Processor, index: number) =>
  index > 7 || ((index === 4 || index === 5) && (vcpu.cr4 & CR4_DE) !== 0n);
const debugSlot = (index: number): Slot => DR[index === 4 || index === 5 ? index + 2 : index];
