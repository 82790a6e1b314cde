/** Hardware task switches (SDM vol. 3A, chapter 8; they do not exist in IA-32e mode). */
import type { Segment } from '@polyvisor/plugin-api';
import { Flag } from '../../isa/flags.ts';
import { AccessRights } from '../cpu-mode.ts';
import type { MachineVcpu } from '../vcpu.ts';
import { memoryFault, type NativeFault, protection, Vector } from './answer.ts';
import {
  codeSegmentFault,
  dplOf,
  errorCodeOf,
  isBeyondLimit,
  isFault,
  isNull,
  readDescriptor,
  SystemType,
  TSS_BUSY,
} from './descriptors.ts';
import { checkDataSegment, nullSegment, virtual8086Segment } from './segments.ts';
import { isWideTss } from './tss.ts';

/** What leads to a task: `call` and `interrupt` nest it in the present one, `return` goes back to that. */
export type TaskTransfer = 'jump' | 'call' | 'interrupt' | 'return';

const CS = 1;
const SS = 2;
const CR0_TS = 8n;
const CR0_PG = 1n << 31n;
const SUPERVISOR = { as: 'supervisor' } as const;
const { P, S } = AccessRights;

/** Where things stand in a TSS (SDM vol. 3A, figures 8-2 and 8-10). 16-bit ones have no FS, GS and CR3. */
interface TssLayout {
  readonly bytes: 2 | 4;
  readonly sizeBytes: number;
  readonly ip: number;
  readonly flags: number;
  readonly registers: number;
  readonly segments: number;
  readonly segmentCount: number;
  readonly ldt: number;
}
const TSS32: TssLayout = {
  bytes: 4,
  sizeBytes: 0x68,
  ip: 0x20,
  flags: 0x24,
  registers: 0x28,
  segments: 0x48,
  segmentCount: 6,
  ldt: 0x60,
};
const TSS16: TssLayout = {
  bytes: 2,
  sizeBytes: 0x2c,
  ip: 0x0e,
  flags: 0x10,
  registers: 0x12,
  segments: 0x22,
  segmentCount: 4,
  ldt: 0x2a,
};
const TSS32_CR3 = 0x1c;

/** The state that a TSS holds. */
interface TaskState {
  readonly link: number;
  readonly cr3: bigint | undefined;
  readonly ip: bigint;
  readonly flags: bigint;
  readonly registers: readonly bigint[];
  readonly segments: readonly number[];
  readonly ldt: number;
}

/**
 * Switch to the task of a TSS selector. The present task goes on at `nextRip` later. A fault before the switch is raised in
 * the old task with nothing changed; one of the new task's segments is raised in the new one.
 * NOT IMPLEMENTED: the debug trap of a TSS's T flag.
 */
export function switchTask(
  vcpu: MachineVcpu,
  selector: number,
  transfer: TaskTransfer,
  nextRip: bigint,
  external = 0,
): NativeFault | undefined {
  const target = availableTask(vcpu, selector, transfer, external);
  if (isFault(target)) return target;
  const state = readTask(vcpu, target);
  if (isFault(state)) return state;
  const fault = leaveTask(vcpu, target, transfer, nextRip);
  if (fault) return fault;
  return enterTask(vcpu, target, state, transfer);
}

function availableTask(
  vcpu: MachineVcpu,
  selector: number,
  transfer: TaskTransfer,
  external: number,
): Segment | NativeFault {
  const code = errorCodeOf(selector) | external;
  const wrong = { vector: transfer === 'return' ? Vector.TS : Vector.GP, errorCode: code };
  if (selector & 4 || isNull(selector)) return wrong;
  const segment = readDescriptor(vcpu, selector);
  if (isFault(segment)) return segment.vector === Vector.PF ? segment : wrong;
  const busy = transfer === 'return' ? TSS_BUSY : 0;
  const type = segment.accessRights & (S | 15);
  if (type !== (SystemType.TSS16 | busy) && type !== (SystemType.TSS32 | busy)) return wrong;
  if (!(segment.accessRights & P)) return { vector: Vector.NP, errorCode: code };
  return segment.limit < layoutOf(segment).sizeBytes - 1 ? { vector: Vector.TS, errorCode: code } : segment;
}

const layoutOf = (tss: Segment): TssLayout => (isWideTss(tss) ? TSS32 : TSS16);

function readTask(vcpu: MachineVcpu, tss: Segment): TaskState | NativeFault {
  const layout = layoutOf(tss);
  const found = vcpu.read(tss.base, layout.sizeBytes, SUPERVISOR);
  if (!found.ok) return memoryFault(found.fault);
  const view = new DataView(found.bytes.buffer);
  const field = (at: number) => (layout.bytes === 4 ? view.getUint32(at, true) : view.getUint16(at, true));
  return {
    link: view.getUint16(0, true),
    cr3: layout.bytes === 4 ? BigInt(view.getUint32(TSS32_CR3, true)) : undefined,
    ip: BigInt(field(layout.ip)),
    flags: BigInt(field(layout.flags)),
    // The upper halves of 16-bit registers are undefined; processors set them.
    registers: Array.from({ length: 8 }, (_, i) =>
      BigInt(layout.bytes === 4 ? field(layout.registers + i * 4) : field(layout.registers + i * 2) + 0xffff0000),
    ),
    segments: Array.from({ length: 6 }, (_, i) =>
      i < layout.segmentCount ? view.getUint16(layout.segments + i * layout.bytes, true) : 0,
    ),
    ldt: view.getUint16(layout.ldt, true),
  };
}

/** Save the present task and set busy bits and the link. All places are checked before the first is written. */
function leaveTask(
  vcpu: MachineVcpu,
  target: Segment,
  transfer: TaskTransfer,
  nextRip: bigint,
): NativeFault | undefined {
  const { tr, gdtr } = vcpu.tables;
  const layout = layoutOf(tr);
  const nests = transfer === 'call' || transfer === 'interrupt';
  const busyByte = (selector: number) => gdtr.base + BigInt((selector & 0xfff8) + 5);
  const saved = savedState(vcpu, layout, transfer, nextRip);
  const places: [bigint, Uint8Array][] = [[tr.base + BigInt(layout.ip), saved]];
  if (!nests) places.push([busyByte(tr.selector), Uint8Array.of(tr.accessRights & 0xff & ~TSS_BUSY)]);
  if (transfer !== 'return')
    places.push([busyByte(target.selector), Uint8Array.of((target.accessRights & 0xff) | TSS_BUSY)]);
  if (nests) places.push([target.base, Uint8Array.of(tr.selector & 0xff, tr.selector >> 8)]);
  for (const [at, bytes] of places) {
    for (const end of [at, at + BigInt(bytes.length - 1)]) {
      const found = vcpu.translate(BigInt.asUintN(32, end), 'write', SUPERVISOR);
      if (!found.ok) return memoryFault(found.fault);
    }
  }
  for (const [at, bytes] of places) vcpu.write(BigInt.asUintN(32, at), bytes, SUPERVISOR);
  return undefined;
}

/** From IP to the last segment register. */
function savedState(vcpu: MachineVcpu, layout: TssLayout, transfer: TaskTransfer, nextRip: bigint): Uint8Array {
  const end = layout.segments + layout.segmentCount * layout.bytes;
  const view = new DataView(new ArrayBuffer(end - layout.ip));
  const put = (at: number, value: bigint) => {
    const low = Number(value & 0xffffffffn);
    if (layout.bytes === 4) view.setUint32(at - layout.ip, low, true);
    else view.setUint16(at - layout.ip, low & 0xffff, true);
  };
  put(layout.ip, nextRip);
  put(layout.flags, transfer === 'return' ? vcpu.rflags & ~BigInt(Flag.NT) : vcpu.rflags);
  for (let i = 0; i < 8; i++) put(layout.registers + i * layout.bytes, vcpu.gpr[i]);
  for (let i = 0; i < layout.segmentCount; i++)
    put(layout.segments + i * layout.bytes, BigInt(vcpu.segment(i).selector));
  return new Uint8Array(view.buffer);
}

function enterTask(
  vcpu: MachineVcpu,
  target: Segment,
  state: TaskState,
  transfer: TaskTransfer,
): NativeFault | undefined {
  vcpu.tables.tr = { ...target, accessRights: target.accessRights | TSS_BUSY };
  vcpu.cr0 |= CR0_TS;
  if (state.cr3 !== undefined && vcpu.cr0 & CR0_PG && state.cr3 !== vcpu.cr3) vcpu.cr3 = state.cr3;
  const nests = transfer === 'call' || transfer === 'interrupt';
  vcpu.rflags = state.flags | (nests ? BigInt(Flag.NT) : 0n) | 2n;
  state.registers.forEach((value, i) => {
    vcpu.gpr[i] = value;
  });
  vcpu.rip = state.ip;
  // Until they have been checked, the segments are the new task's by name only.
  for (let i = 0; i < 6; i++) vcpu.setSegment(i, { ...vcpu.segment(i), selector: state.segments[i] });
  return loadLdt(vcpu, state.ldt) ?? loadSegments(vcpu, state);
}

const invalid = (errorCode: number): NativeFault => ({ vector: Vector.TS, errorCode });

function loadLdt(vcpu: MachineVcpu, selector: number): NativeFault | undefined {
  vcpu.tables.ldtr = nullSegment(selector);
  if (isNull(selector)) return undefined;
  const code = errorCodeOf(selector);
  const segment = selector & 4 ? protection(code) : readDescriptor(vcpu, selector);
  if (isFault(segment)) return segment.vector === Vector.PF ? segment : invalid(code);
  if ((segment.accessRights & (S | P | 15)) !== (P | SystemType.LDT)) return invalid(code);
  vcpu.tables.ldtr = segment;
  return undefined;
}

/** Segments are loaded with the new task's level, CS first (SDM vol. 3A, table 8-1). */
function loadSegments(vcpu: MachineVcpu, state: TaskState): NativeFault | undefined {
  const { segments } = state;
  if (state.flags & BigInt(Flag.VM)) {
    segments.forEach((selector, i) => vcpu.setSegment(i, virtual8086Segment(selector)));
    vcpu.cpl = 3;
    return undefined;
  }
  const cpl = segments[CS] & 3;
  vcpu.cpl = cpl;
  for (const register of [CS, SS, 3, 0, 4, 5]) {
    const segment =
      register === CS
        ? newCode(vcpu, segments[CS])
        : checkDataSegment(vcpu, register, segments[register], cpl, invalid);
    if (isFault(segment)) return segment;
    vcpu.setSegment(register, segment);
  }
  return isBeyondLimit(vcpu, vcpu.segment(CS), vcpu.rip) ? protection(0) : undefined;
}

function newCode(vcpu: MachineVcpu, selector: number): Segment | NativeFault {
  const code = errorCodeOf(selector);
  if (isNull(selector)) return invalid(0);
  const segment = readDescriptor(vcpu, selector);
  if (isFault(segment)) return segment.vector === Vector.PF ? segment : invalid(code);
  const fault = codeSegmentFault(vcpu, segment, dplOf(segment), true);
  if (!fault) return segment;
  return fault.vector === Vector.NP ? fault : invalid(code);
}
