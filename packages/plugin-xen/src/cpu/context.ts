import { Gpr, SegmentIndex } from '@polyvisor/plugin-api';
import { type Layout, readWord, struct, type WordBytes } from '../abi/struct.ts';
import { isGuestAddress } from '../access.ts';
import type { HypercallContext, XenVcpu } from '../domain.ts';
import { EEXIST, EINVAL, ENOMEM } from '../errno.ts';
import { OK } from '../mm/pageTables.ts';
import type { PvDomain } from '../pvDomain.ts';
import { RFLAGS_IF, RFLAGS_IOPL, RFLAGS_VM } from './bounce.ts';
import { kernelSelector, TrapInfo } from './calls.ts';
import { paeCr3Frame } from './controlRegisters.ts';
import { loadDebugRegisters } from './debugRegisters.ts';
import { installGdt, setLdt } from './descriptors.ts';
import { load as load32 } from './frames32.ts';
import { setLongMode } from './longMode.ts';
import {
  codeSegment,
  dataSegment,
  KERNEL_CS,
  KERNEL_SS,
  NULL_SEGMENT,
  RING1_CS,
  RING1_SS,
  setBase,
  stackSegment,
} from './segments.ts';

/** struct cpu_user_regs: general registers as words in this order, then the rest at these offsets. */
interface RegisterLayout {
  readonly sizeBytes: number;
  readonly general: readonly number[];
  readonly rip: number;
  readonly cs: number;
  readonly flags: number;
  readonly rsp: number;
  readonly ss: number;
  readonly es: number;
  readonly ds: number;
  readonly fs: number;
  readonly gs: number;
}

const REGISTERS: Readonly<Record<WordBytes, RegisterLayout>> = {
  8: {
    sizeBytes: 200,
    // biome-ignore format: one row
    general: [
      Gpr.R15, Gpr.R14, Gpr.R13, Gpr.R12, Gpr.RBP, Gpr.RBX, Gpr.R11, Gpr.R10, Gpr.R9, Gpr.R8, Gpr.RAX, Gpr.RCX, Gpr.RDX,
      Gpr.RSI, Gpr.RDI,
    ],
    rip: 128,
    cs: 136,
    flags: 144,
    rsp: 152,
    ss: 160,
    es: 168,
    ds: 176,
    fs: 184,
    gs: 192,
  },
  4: {
    sizeBytes: 68,
    general: [Gpr.RBX, Gpr.RCX, Gpr.RDX, Gpr.RSI, Gpr.RDI, Gpr.RBP, Gpr.RAX],
    rip: 32,
    cs: 36,
    flags: 40,
    rsp: 44,
    ss: 48,
    es: 52,
    ds: 56,
    fs: 60,
    gs: 64,
  },
};

const TRAPS = 256;
/** struct vcpu_guest_context up to the callbacks (public/arch-x86/xen.h); it begins on 16 bytes. */
const common = (wordBytes: WordBytes) =>
  ({
    fpu: ['u8', 512],
    flags: 'word',
    registers: ['u8', REGISTERS[wordBytes].sizeBytes],
    traps: ['u8', TRAPS * TrapInfo[wordBytes].sizeBytes],
    ldtBase: 'word',
    ldtEntries: 'word',
    gdtFrames: ['word', 16],
    gdtEntries: 'word',
    kernelSs: 'word',
    kernelRsp: 'word',
    control: ['word', 8],
    debug: ['word', 8],
  }) as const;

const Context64 = struct({
  ...common(8),
  event: 'word',
  failsafe: 'word',
  syscall: 'word',
  vmAssist: 'word',
  fsBase: 'u64',
  gsBaseKernel: 'u64',
  gsBaseUser: 'u64',
})[8];
const Context32 = struct({
  ...common(4),
  eventCs: 'word',
  event: 'word',
  failsafeCs: 'word',
  failsafe: 'word',
  vmAssist: 'word',
})[4];

/** The fields that both have. */
const LAYOUTS: Readonly<Record<WordBytes, Layout<keyof ReturnType<typeof common> | 'event' | 'failsafe'>>> = {
  4: Context32,
  8: Context64,
};

export function guestContextBytes(wordBytes: WordBytes): number {
  return LAYOUTS[wordBytes].sizeBytes;
}

const VGCF_I387_VALID = 1n << 0n;
const VGCF_IN_KERNEL = 1n << 2n;
const VGCF_FAILSAFE_DISABLES_EVENTS = 1n << 3n;
const VGCF_SYSCALL_DISABLES_EVENTS = 1n << 4n;

const RFLAGS_ALL = 0x003f_7fd5;
const MAX_GDT_FRAMES = 16;

function isCanonical(address: bigint): boolean {
  return BigInt.asUintN(64, BigInt.asIntN(48, address)) === address;
}

/** The structure at hand. */
class GuestContext {
  readonly view: DataView;
  readonly wordBytes: WordBytes;
  readonly at: (typeof LAYOUTS)[WordBytes]['at'];
  readonly registers: RegisterLayout;

  constructor(view: DataView, wordBytes: WordBytes) {
    this.view = view;
    this.wordBytes = wordBytes;
    this.at = LAYOUTS[wordBytes].at;
    this.registers = REGISTERS[wordBytes];
  }

  /** The word at an offset, or the word of that index behind it. */
  word(offset: number, index = 0): bigint {
    return readWord(this.view, offset + index * this.wordBytes, this.wordBytes);
  }
  register(offset: number): bigint {
    return this.word(this.at.registers + offset);
  }
  selector(offset: number): number {
    return this.view.getUint16(this.at.registers + offset, true);
  }
  get flags(): bigint {
    return this.word(this.at.flags);
  }
  trap(vector: number): { readonly flags: number; readonly cs: number; readonly address: bigint } {
    const { at, sizeBytes } = TrapInfo[this.wordBytes];
    const start = this.at.traps + vector * sizeBytes;
    return {
      flags: this.view.getUint8(start + at.flags),
      cs: this.view.getUint16(start + at.cs, true),
      address: this.word(start + at.address),
    };
  }
}

/** VCPUOP_initialise: fill a vCPU that has never run from struct vcpu_guest_context; 0 or an errno, and then nothing is kept. */
export function initialiseVcpu(request: HypercallContext, vcpu: XenVcpu, view: DataView): bigint {
  if (vcpu.initialised) return EEXIST;
  const domain = request.domain as PvDomain;
  const context = new GuestContext(view, request.wordBytes);
  if (!isPlausible(context)) return EINVAL;
  const roots = takeRoots(domain, context);
  if (typeof roots === 'bigint') return roots;
  const { at } = context;
  const entries = Number(context.word(at.gdtEntries));
  const frames = Array.from({ length: Math.ceil(entries / 512) }, (_, index) =>
    Number(context.word(at.gdtFrames, index)),
  );
  if (!installGdt(domain.mm, vcpu, frames, entries)) {
    for (const mfn of [roots.kernel, roots.user]) if (mfn !== 0) domain.mm.tables.putPageAndType(mfn);
    return EINVAL;
  }
  vcpu.kernelRootMfn = roots.kernel;
  vcpu.userRootMfn = roots.user;
  setLongMode(domain.mm, vcpu);
  setLdt(domain.mm, vcpu, context.word(at.ldtBase), Number(context.word(at.ldtEntries)));
  loadVirtualState(vcpu, context);
  loadRegisters(domain, vcpu, context);
  vcpu.initialised = true;
  return 0n;
}

function isPlausible(context: GuestContext): boolean {
  const { at, registers } = context;
  const addresses = [at.kernelRsp, at.event, at.failsafe, at.registers + registers.rip, at.registers + registers.rsp];
  if (context.wordBytes === 8) {
    const { fsBase, gsBaseKernel, gsBaseUser, syscall } = Context64.at;
    addresses.push(fsBase, gsBaseKernel, gsBaseUser, syscall);
  }
  if (!addresses.every((field) => isCanonical(context.word(field)))) return false;
  const ldtEntries = context.word(at.ldtEntries);
  if (context.word(at.gdtEntries) > BigInt(MAX_GDT_FRAMES * 512) || ldtEntries > 8192n) return false;
  const ldtBase = context.word(at.ldtBase);
  if (ldtEntries > 0n && ((ldtBase & 0xfffn) !== 0n || !isGuestAddress(ldtBase))) return false;
  for (let vector = 0; vector < TRAPS; vector++) if (!isCanonical(context.trap(vector).address)) return false;
  return true;
}

/** CR3 is the kernel root, a PV64 guest's CR1 the user root; a start in user mode needs both. */
function takeRoots(domain: PvDomain, context: GuestContext): { kernel: number; user: number } | bigint {
  const { tables, model } = domain.mm;
  const cr3 = context.word(context.at.control, 3);
  if (model.levels === 3) {
    const kernel = paeCr3Frame(cr3);
    return tables.getPageAndType(kernel, model.rootType) === OK ? { kernel, user: 0 } : EINVAL;
  }
  const kernel = Number(cr3 >> 12n);
  const user = Number(context.word(context.at.control, 1) >> 12n);
  if (user === 0 && (context.flags & VGCF_IN_KERNEL) === 0n) return EINVAL;
  if (tables.getPageAndType(kernel, model.rootType) !== OK) return EINVAL;
  if (user !== 0 && tables.getPageAndType(user, model.rootType) !== OK) {
    tables.putPageAndType(kernel);
    return ENOMEM;
  }
  return { kernel, user };
}

function loadVirtualState(vcpu: XenVcpu, context: GuestContext): void {
  const { at, flags } = context;
  for (let vector = 0; vector < TRAPS; vector++) {
    const { cs, ...trap } = context.trap(vector);
    Object.assign(vcpu.traps[vector], { ...trap, cs: vcpu.ring1 ? kernelSelector(vcpu, cs) : cs });
  }
  const { callbacks } = vcpu;
  callbacks.event = context.word(at.event);
  callbacks.failsafe = context.word(at.failsafe);
  callbacks.failsafeMasksEvents = (flags & VGCF_FAILSAFE_DISABLES_EVENTS) !== 0n;
  if (vcpu.ring1) {
    callbacks.eventCs = kernelSelector(vcpu, Number(context.word(Context32.at.eventCs) & 0xffffn));
    callbacks.failsafeCs = kernelSelector(vcpu, Number(context.word(Context32.at.failsafeCs) & 0xffffn));
  } else {
    callbacks.syscall = context.word(Context64.at.syscall);
    callbacks.syscallMasksEvents = (flags & VGCF_SYSCALL_DISABLES_EVENTS) !== 0n;
  }
  vcpu.kernelSs = kernelSelector(vcpu, Number(context.word(at.kernelSs) & 0xffffn));
  vcpu.kernelRsp = context.word(at.kernelRsp);
  for (const index of [0, 1, 2, 3, 6, 7]) vcpu.debugRegisters[index] = context.word(at.debug, index);
  loadDebugRegisters(vcpu);
}

function loadRegisters(domain: PvDomain, vcpu: XenVcpu, context: GuestContext): void {
  const { cpu } = vcpu;
  const { registers, view } = context;
  registers.general.forEach((register, index) => {
    cpu.gpr[register] = context.register(index * context.wordBytes);
  });
  const eflags = view.getInt32(context.at.registers + registers.flags, true);
  vcpu.iopl = (eflags & RFLAGS_IOPL) >> 12;
  cpu.rip = context.register(registers.rip);
  cpu.gpr[Gpr.RSP] = context.register(registers.rsp);
  cpu.eflags = (eflags & RFLAGS_ALL & ~(RFLAGS_IOPL | RFLAGS_VM)) | RFLAGS_IF | 2;
  loadSegments(domain, vcpu, context);
  if ((context.flags & VGCF_I387_VALID) !== 0n) {
    cpu.restoreFpu(new Uint8Array(view.buffer, view.byteOffset + context.at.fpu, 512));
  }
  if (!vcpu.ring1) loadBases(vcpu, context);
  domain.mm.loadRoot(vcpu);
}

function loadSegments(domain: PvDomain, vcpu: XenVcpu, context: GuestContext): void {
  const { cpu } = vcpu;
  const { registers } = context;
  const code = codeSegment(domain, vcpu, kernelSelector(vcpu, context.selector(registers.cs)));
  const stack = stackSegment(domain, vcpu, kernelSelector(vcpu, context.selector(registers.ss)));
  const isPair = code !== undefined && stack !== undefined && (code.selector & 3) === (stack.selector & 3);
  if (vcpu.ring1) load32(vcpu, isPair ? code : RING1_CS, isPair ? stack : RING1_SS);
  else {
    cpu.setSegment(SegmentIndex.CS, code ?? KERNEL_CS);
    cpu.setSegment(SegmentIndex.SS, stack ?? KERNEL_SS);
  }
  const data = [
    [SegmentIndex.ES, registers.es],
    [SegmentIndex.DS, registers.ds],
    [SegmentIndex.FS, registers.fs],
    [SegmentIndex.GS, registers.gs],
  ] as const;
  for (const [index, offset] of data) {
    cpu.setSegment(index, dataSegment(domain, vcpu, context.selector(offset)) ?? NULL_SEGMENT);
  }
}

/** A PV64 guest's segment bases, of which GS has two. */
function loadBases(vcpu: XenVcpu, context: GuestContext): void {
  const { fsBase, gsBaseKernel, gsBaseUser } = Context64.at;
  setBase(vcpu, SegmentIndex.FS, context.word(fsBase));
  vcpu.kernelMode = (context.flags & VGCF_IN_KERNEL) !== 0n;
  const [active, inactive] = vcpu.kernelMode ? [gsBaseKernel, gsBaseUser] : [gsBaseUser, gsBaseKernel];
  setBase(vcpu, SegmentIndex.GS, context.word(active));
  vcpu.cpu.kernelGsBase = context.word(inactive);
}
