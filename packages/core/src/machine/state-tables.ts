import type { DescriptorTable, DescriptorTables, Segment } from '@polyvisor/plugin-api';
import {
  GDTR_BASE,
  GDTR_LIMIT,
  IDTR_BASE,
  IDTR_LIMIT,
  LDTR_SELECTOR,
  TR_ACCESS,
  TR_BASE,
  TR_LIMIT,
  TR_SELECTOR,
} from '../cpu/state.ts';
import { RESET_LDTR, RESET_TR } from './cpu-mode.ts';

/** A table register whose base and limit stand in the state block, for SGDT and SIDT. */
class StateTable implements DescriptorTable {
  readonly #view: DataView;
  #baseAt: number;
  #limitAt: number;
  constructor(view: DataView, baseAt: number, limitAt: number) {
    this.#view = view;
    this.#baseAt = baseAt;
    this.#limitAt = limitAt;
    this.limit = 0xffff;
  }
  moveTo(baseAt: number, limitAt: number): void {
    this.#baseAt = baseAt;
    this.#limitAt = limitAt;
  }
  get base(): bigint {
    return this.#view.getBigUint64(this.#baseAt, true);
  }
  set base(value: bigint) {
    this.#view.setBigUint64(this.#baseAt, value, true);
  }
  get limit(): number {
    return this.#view.getInt32(this.#limitAt, true);
  }
  set limit(value: number) {
    this.#view.setInt32(this.#limitAt, value & 0xffff, true);
  }
}

/** GDTR, IDTR, LDTR and TR; what guest code can store of them, and generated code reads, is in the state block. */
export class StateTables implements DescriptorTables {
  readonly gdtr: StateTable;
  readonly idtr: StateTable;
  readonly #view: DataView;
  #base: number;
  #ldtr: Segment = RESET_LDTR;
  #tr: Segment = RESET_TR;
  constructor(view: DataView, base: number) {
    this.#view = view;
    this.#base = base;
    this.gdtr = new StateTable(view, base + GDTR_BASE.offset, base + GDTR_LIMIT.offset);
    this.idtr = new StateTable(view, base + IDTR_BASE.offset, base + IDTR_LIMIT.offset);
    this.tr = RESET_TR;
  }
  /** The state block begins somewhere else from now on. */
  moveTo(base: number): void {
    this.#base = base;
    this.gdtr.moveTo(base + GDTR_BASE.offset, base + GDTR_LIMIT.offset);
    this.idtr.moveTo(base + IDTR_BASE.offset, base + IDTR_LIMIT.offset);
  }
  get ldtr(): Segment {
    return this.#ldtr;
  }
  set ldtr(segment: Segment) {
    this.#ldtr = segment;
    this.#view.setInt32(this.#base + LDTR_SELECTOR.offset, segment.selector, true);
  }
  get tr(): Segment {
    return this.#tr;
  }
  set tr(segment: Segment) {
    this.#tr = segment;
    this.#view.setInt32(this.#base + TR_SELECTOR.offset, segment.selector, true);
    this.#view.setBigUint64(this.#base + TR_BASE.offset, segment.base, true);
    this.#view.setInt32(this.#base + TR_LIMIT.offset, segment.limit, true);
    this.#view.setInt32(this.#base + TR_ACCESS.offset, segment.accessRights, true);
  }
}
