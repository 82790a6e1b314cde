import type { DebugRegister, DeliveredEvent } from '@polyvisor/plugin-api';
import { DR, EFLAGS_SYSTEM, KERNEL_GS_BASE, PDPTE } from '../cpu/state.ts';
import { Flag } from '../isa/flags.ts';
import { StateBlock } from './state-block.ts';

/** What a processor keeps between two instructions beside its registers, and registers that nothing follows from here. */
export class EventState extends StateBlock {
  /** Waits to be delivered before the next instruction. */
  pending: DeliveredEvent | undefined;
  /** STI has set IF, or SS has been loaded: interrupts wait for one more instruction (SDM vol. 2B, STI; vol. 3A, 6.8.3). */
  interruptShadow = false;
  /** SS has been loaded: debug exceptions other than general detect wait, too. */
  debugShadow = false;
  /** Of the instruction that is carried out: by what interrupts have waited for its end. */
  instructionShadow: 'sti' | 'stackSegment' | undefined;
  /** What the latest #DB is about, and DR6 before it. */
  latestDebug = { conditions: 0, dr6: 0n };
  /** Bits of DR6 of traps that wait for the end of the instruction behind MOV SS or POP SS. */
  heldTraps = 0;

  /** Leave after each instruction: RFLAGS.TF is set. */
  get singleStep(): boolean {
    return (this.slot32(EFLAGS_SYSTEM) & Flag.TF) !== 0;
  }
  /** Before an instruction: whether it is behind STI or a load of SS. */
  takeShadow(): boolean {
    const shadow = this.interruptShadow;
    this.instructionShadow = shadow ? (this.debugShadow ? 'stackSegment' : 'sti') : undefined;
    this.interruptShadow = false;
    return shadow;
  }

  debugRegister(index: DebugRegister): bigint {
    return this.slot64(DR[index]);
  }
  setDebugRegister(index: DebugRegister, value: bigint): void {
    this.setSlot64(DR[index], value);
  }
  get kernelGsBase(): bigint {
    return this.slot64(KERNEL_GS_BASE);
  }
  set kernelGsBase(value: bigint) {
    this.setSlot64(KERNEL_GS_BASE, value);
  }
  /** PAE paging: as they were loaded. */
  get pdptes(): readonly bigint[] {
    return PDPTE.map((slot) => this.slot64(slot));
  }
}
