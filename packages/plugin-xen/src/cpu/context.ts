import { Gpr, SegmentIndex } from '@polyvisor/plugin-api';
import { isGuestAddress } from '../access.ts';
import type { XenDomain, XenVcpu } from '../domain.ts';
import { EEXIST, EINVAL, ENOMEM } from '../errno.ts';
import { FrameType } from '../mm/frames.ts';
import { OK } from '../mm/pageTables.ts';
import type { PvDomain } from '../pvDomain.ts';
import { RFLAGS_IF, RFLAGS_IOPL, RFLAGS_VM } from './bounce.ts';
import { installGdt, setLdt } from './descriptors.ts';
import { setLongMode } from './longMode.ts';
import { codeSegment, dataSegment, KERNEL_CS, KERNEL_SS, NULL_SEGMENT, setBase, stackSegment } from './segments.ts';

/** struct vcpu_guest_context, 64-bit: offsets in bytes (public/arch-x86/xen.h). */
const Field = {
  FPU: 0,
  FLAGS: 512,
  REGISTERS: 520,
  TRAPS: 720,
  LDT_BASE: 4816,
  LDT_ENTRIES: 4824,
  GDT_FRAMES: 4832,
  GDT_ENTRIES: 4960,
  KERNEL_SS: 4968,
  KERNEL_RSP: 4976,
  CONTROL: 4984,
  DEBUG: 5048,
  EVENT: 5112,
  FAILSAFE: 5120,
  SYSCALL: 5128,
  FS_BASE: 5144,
  GS_BASE_KERNEL: 5152,
  GS_BASE_USER: 5160,
} as const;

/** struct cpu_user_regs: general registers in this order, then RIP and the segments at these offsets. */
const REGISTER_ORDER = [
  Gpr.R15,
  Gpr.R14,
  Gpr.R13,
  Gpr.R12,
  Gpr.RBP,
  Gpr.RBX,
  Gpr.R11,
  Gpr.R10,
  Gpr.R9,
  Gpr.R8,
  Gpr.RAX,
  Gpr.RCX,
  Gpr.RDX,
  Gpr.RSI,
  Gpr.RDI,
] as const;
const Register = { RIP: 128, CS: 136, RFLAGS: 144, RSP: 152, SS: 160, ES: 168, DS: 176, FS: 184, GS: 192 } as const;

const VGCF_I387_VALID = 1n << 0n;
const VGCF_IN_KERNEL = 1n << 2n;
const VGCF_FAILSAFE_DISABLES_EVENTS = 1n << 3n;
const VGCF_SYSCALL_DISABLES_EVENTS = 1n << 4n;

const RFLAGS_ALL = 0x003f_7fd5;
const CANONICAL_FIELDS = [
  Field.REGISTERS + Register.RIP,
  Field.REGISTERS + Register.RSP,
  Field.KERNEL_RSP,
  Field.FS_BASE,
  Field.GS_BASE_KERNEL,
  Field.GS_BASE_USER,
  Field.EVENT,
  Field.SYSCALL,
  Field.FAILSAFE,
] as const;
const MAX_GDT_FRAMES = 16;

function isCanonical(address: bigint): boolean {
  return BigInt.asUintN(64, BigInt.asIntN(48, address)) === address;
}

/** VCPUOP_initialise: fill a vCPU that has never run from struct vcpu_guest_context; 0 or an errno, and then nothing is kept. */
export function initialiseVcpu(xenDomain: XenDomain, vcpu: XenVcpu, view: DataView): bigint {
  if (vcpu.initialised) return EEXIST;
  const domain = xenDomain as PvDomain;
  const word = (offset: number): bigint => view.getBigUint64(offset, true);
  if (!isPlausible(word)) return EINVAL;
  const roots = takeRoots(domain, word);
  if (typeof roots === 'bigint') return roots;
  const entries = Number(word(Field.GDT_ENTRIES));
  const frames = Array.from({ length: Math.ceil(entries / 512) }, (_, index) =>
    Number(word(Field.GDT_FRAMES + index * 8)),
  );
  if (!installGdt(domain.mm, vcpu, frames, entries)) {
    for (const mfn of [roots.kernel, roots.user]) if (mfn !== 0) domain.mm.tables.putPageAndType(mfn);
    return EINVAL;
  }
  vcpu.kernelRootMfn = roots.kernel;
  vcpu.userRootMfn = roots.user;
  setLongMode(vcpu);
  setLdt(domain.mm, vcpu, word(Field.LDT_BASE), Number(word(Field.LDT_ENTRIES)));
  loadVirtualState(vcpu, view, word);
  loadRegisters(domain, vcpu, view, word);
  vcpu.initialised = true;
  return 0n;
}

type ReadWord = (offset: number) => bigint;

function isPlausible(word: ReadWord): boolean {
  if (!CANONICAL_FIELDS.every((field) => isCanonical(word(field)))) return false;
  if (word(Field.GDT_ENTRIES) > BigInt(MAX_GDT_FRAMES * 512) || word(Field.LDT_ENTRIES) > 8192n) return false;
  const ldtBase = word(Field.LDT_BASE);
  if (word(Field.LDT_ENTRIES) > 0n && ((ldtBase & 0xfffn) !== 0n || !isGuestAddress(ldtBase))) return false;
  for (let vector = 0; vector < 256; vector++) if (!isCanonical(word(Field.TRAPS + vector * 16 + 8))) return false;
  return true;
}

/** CR3 is the kernel root, CR1 the user root; a start in user mode needs both. */
function takeRoots(domain: PvDomain, word: ReadWord): { kernel: number; user: number } | bigint {
  const kernel = Number(word(Field.CONTROL + 3 * 8) >> 12n);
  const user = Number(word(Field.CONTROL + 1 * 8) >> 12n);
  if (user === 0 && (word(Field.FLAGS) & VGCF_IN_KERNEL) === 0n) return EINVAL;
  const { tables } = domain.mm;
  if (tables.getPageAndType(kernel, FrameType.L4) !== OK) return EINVAL;
  if (user !== 0 && tables.getPageAndType(user, FrameType.L4) !== OK) {
    tables.putPageAndType(kernel);
    return ENOMEM;
  }
  return { kernel, user };
}

function loadVirtualState(vcpu: XenVcpu, view: DataView, word: ReadWord): void {
  const flags = word(Field.FLAGS);
  for (let vector = 0; vector < 256; vector++) {
    const at = Field.TRAPS + vector * 16;
    const trap = vcpu.traps[vector];
    trap.flags = view.getUint8(at + 1);
    trap.cs = view.getUint16(at + 2, true);
    trap.address = word(at + 8);
  }
  const { callbacks } = vcpu;
  callbacks.event = word(Field.EVENT);
  callbacks.failsafe = word(Field.FAILSAFE);
  callbacks.failsafeMasksEvents = (flags & VGCF_FAILSAFE_DISABLES_EVENTS) !== 0n;
  callbacks.syscall = word(Field.SYSCALL);
  callbacks.syscallMasksEvents = (flags & VGCF_SYSCALL_DISABLES_EVENTS) !== 0n;
  vcpu.kernelSs = Number(word(Field.KERNEL_SS) & 0xffffn) | 3;
  vcpu.kernelRsp = word(Field.KERNEL_RSP);
  for (const index of [0, 1, 2, 3, 6, 7]) vcpu.debugRegisters[index] = word(Field.DEBUG + index * 8);
}

function loadRegisters(domain: PvDomain, vcpu: XenVcpu, view: DataView, word: ReadWord): void {
  const { cpu } = vcpu;
  const at = Field.REGISTERS;
  REGISTER_ORDER.forEach((register, index) => {
    cpu.gpr[register] = word(at + index * 8);
  });
  const eflags = view.getInt32(at + Register.RFLAGS, true);
  vcpu.iopl = (eflags & RFLAGS_IOPL) >> 12;
  cpu.rip = word(at + Register.RIP);
  cpu.gpr[Gpr.RSP] = word(at + Register.RSP);
  cpu.eflags = (eflags & RFLAGS_ALL & ~(RFLAGS_IOPL | RFLAGS_VM)) | RFLAGS_IF | 2;
  const selector = (offset: number): number => view.getUint16(at + offset, true);
  cpu.setSegment(SegmentIndex.CS, codeSegment(domain, vcpu, selector(Register.CS) | 3) ?? KERNEL_CS);
  cpu.setSegment(SegmentIndex.SS, stackSegment(domain, vcpu, selector(Register.SS) | 3) ?? KERNEL_SS);
  const data = [
    [SegmentIndex.ES, Register.ES],
    [SegmentIndex.DS, Register.DS],
    [SegmentIndex.FS, Register.FS],
    [SegmentIndex.GS, Register.GS],
  ] as const;
  for (const [index, offset] of data) {
    cpu.setSegment(index, dataSegment(domain, vcpu, selector(offset)) ?? NULL_SEGMENT);
  }
  if ((word(Field.FLAGS) & VGCF_I387_VALID) !== 0n) {
    cpu.restoreFpu(new Uint8Array(view.buffer, view.byteOffset + Field.FPU, 512));
  }
  setBase(vcpu, SegmentIndex.FS, word(Field.FS_BASE));
  vcpu.kernelMode = (word(Field.FLAGS) & VGCF_IN_KERNEL) !== 0n;
  const [active, inactive] = vcpu.kernelMode
    ? [Field.GS_BASE_KERNEL, Field.GS_BASE_USER]
    : [Field.GS_BASE_USER, Field.GS_BASE_KERNEL];
  setBase(vcpu, SegmentIndex.GS, word(active));
  cpu.kernelGsBase = word(inactive);
  domain.mm.loadRoot(vcpu);
}
