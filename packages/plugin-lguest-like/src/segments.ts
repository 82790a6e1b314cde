/** The guest's GDT, kept where the guest cannot reach it (drivers/lguest/segments.c). */
import { type Segment, SegmentIndex, type Vcpu } from '@polyvisor/plugin-api';
import { kill } from './killed.ts';

const ENTRIES = 32;
/** Entries of Linux's GDT on i386 that the interface names (asm/segment.h, asm/lguest.h). */
const Entry = {
  TLS_MIN: 6,
  TLS_MAX: 8,
  LGUEST_CS: 10,
  LGUEST_DS: 11,
  KERNEL_CS: 12,
  KERNEL_DS: 13,
  TSS: 16,
  DOUBLE_FAULT_TSS: 31,
};
/** These belong to the host. */
const IGNORED = new Set([Entry.TSS, Entry.LGUEST_CS, Entry.LGUEST_DS, Entry.DOUBLE_FAULT_TSS]);
export const TLS_BYTES = (Entry.TLS_MAX - Entry.TLS_MIN + 1) * 8;

export const GUEST_PL = 1;
export const KERNEL_CS = Entry.KERNEL_CS * 8 + GUEST_PL;
export const KERNEL_DS = Entry.KERNEL_DS * 8 + GUEST_PL;

const DPL_MASK = 0x6000;
const DPL_1 = GUEST_PL << 13;
const ACCESSED = 0x100;
/** Base 0, limit 4 GiB: code that can be read, data that can be written (SDM vol. 3A, 3.4.5). */
const FLAT_LOW = 0xffff;
const FLAT_CODE = 0xcf9b00;
const FLAT_DATA = 0xcf9300;
/** What both have in common: present, of 32 bits, 4 GiB, readable or writable; neither conforming nor expand-down. */
const FLAT_MASK = 0xffff_9600 | 0xff;
const FLAT_HIGH = 0x00cf_9200;

const Right = { S: 0x10, CODE: 8, WRITABLE: 2, P: 0x80 } as const;

export class Gdt {
  /** Two words a descriptor. */
  words: Int32Array = new Int32Array(ENTRIES * 2);

  constructor() {
    this.set(Entry.KERNEL_CS, FLAT_LOW, FLAT_CODE);
    this.set(Entry.KERNEL_DS, FLAT_LOW, FLAT_DATA);
  }

  /** A vCPU looks selectors up here from now on, and keeps what is here. */
  lend(cpu: Vcpu): void {
    cpu.hiddenGdt = this.words;
    this.words = cpu.hiddenGdt;
    cpu.tables.gdtr.base = 0n;
    cpu.tables.gdtr.limit = ENTRIES * 8 - 1;
  }

  /** LHCALL_LOAD_GDT_ENTRY. The host's entries stay as they are; no descriptor is the host's level. @throws Killed */
  set(entry: number, low: number, high: number): void {
    if (entry >= ENTRIES) kill(`too many gdt entries ${entry}`);
    if (IGNORED.has(entry)) return;
    this.words[entry * 2] = low;
    this.words[entry * 2 + 1] = high | ACCESSED | ((high & DPL_MASK) === 0 ? DPL_1 : 0);
  }
  /** LHCALL_LOAD_GDT: the first `count` descriptors. @throws Killed */
  setAll(descriptors: Int32Array): void {
    if (descriptors.length / 2 > ENTRIES) kill(`too many gdt entries ${descriptors.length / 2}`);
    for (let entry = 0; entry * 2 < descriptors.length; entry++) {
      this.set(entry, descriptors[entry * 2], descriptors[entry * 2 + 1]);
    }
  }
  /** LHCALL_LOAD_TLS: the three descriptors for threads. */
  setTls(descriptors: Int32Array): void {
    for (let entry = Entry.TLS_MIN; entry <= Entry.TLS_MAX; entry++) {
      const at = (entry - Entry.TLS_MIN) * 2;
      this.set(entry, descriptors[at], descriptors[at + 1]);
    }
  }

  /**
   * Selector and, from bit 16 on, access rights of a segment that {@link enterKernel} would load, if it is flat: 4 GiB from 0 on, of code that can
   * be read or data. Otherwise 0.
   */
  flatKernelSegment(selector: number): number {
    const at = (selector >>> 3) * 2;
    const rights = ((this.words[at + 1] ?? 0) >>> 8) & 0xf0ff;
    const isFlat = this.words[at] === FLAT_LOW && ((this.words[at + 1] ?? 0) & FLAT_MASK) === FLAT_HIGH;
    const isKernels = ((rights >> 5) & 3) === GUEST_PL && (selector & 7) === GUEST_PL;
    const isCode = (rights & Right.CODE) !== 0;
    return isFlat && isKernels && isCode === (selector === KERNEL_CS) ? selector | (rights << 16) : 0;
  }

  /** A selector's segment. The entry is taken as it is: what may be loaded, the caller checks. */
  segment(selector: number): Segment {
    const at = (selector >>> 3) * 2;
    const low = this.words[at] ?? 0;
    const high = this.words[at + 1] ?? 0;
    const raw = (low & 0xffff) | (high & 0xf0000);
    return {
      selector,
      base: BigInt(((low >>> 16) | ((high & 0xff) << 16) | (high & 0xff000000)) >>> 0),
      limit: high & 0x800000 ? ((raw << 12) | 0xfff) >>> 0 : raw,
      accessRights: (high >>> 8) & 0xf0ff,
    };
  }

  /** Load CS and SS for the guest kernel. @throws Killed for what the processor would not load */
  enterKernel(cpu: Vcpu, stackSelector: number): void {
    const code = this.segment(KERNEL_CS);
    const stack = this.segment(stackSelector);
    const dpl = (rights: number) => (rights >> 5) & 3;
    const needs = Right.S | Right.P | Right.CODE;
    if ((code.accessRights & needs) !== needs || dpl(code.accessRights) !== GUEST_PL) kill('bad kernel code segment');
    const data = Right.S | Right.P | Right.WRITABLE;
    const isStack = (stack.accessRights & (data | Right.CODE)) === data && dpl(stack.accessRights) === GUEST_PL;
    if (!isStack || (stackSelector & 7) !== GUEST_PL) kill(`bad stack segment ${stackSelector}`);
    cpu.setSegment(SegmentIndex.CS, code);
    cpu.setSegment(SegmentIndex.SS, stack);
    if (cpu.cpl !== GUEST_PL) cpu.cpl = GUEST_PL;
  }
}
