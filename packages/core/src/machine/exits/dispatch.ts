import { EXIT_RECORD, FAULT_ADDRESS, FAULT_ERROR_CODE, FAULT_VECTOR } from '../../cpu/state.ts';
import { ExitCode } from '../../engine/exit-code.ts';
import { exitNumber } from '../../isa/instruction-exit.ts';
import { SECOND_LEVEL_FAULT } from '../../memory/walk.ts';
import type { Breakpoints, WatchedStep } from '../breakpoints/breakpoints.ts';
import { instructionExit } from '../instruction-exits.ts';
import { type NativeAnswer, type NativeFault, undefinedOpcode, Vector } from '../native/answer.ts';
import type { NativeMachine } from '../native/context.ts';
import { nativeInstructions } from '../native/instructions.ts';
import { SecondLevelRefusal } from '../second-level.ts';
import type { MachineVcpu } from '../vcpu.ts';
import type { Ask } from './ask.ts';
import type { Exceptions } from './exceptions.ts';
import type { ExitCounts } from './exit-counts.ts';

const VMCALL = exitNumber('vmcall');
const IRET = exitNumber('iret');
const SYSCALL = exitNumber('syscall');
const SYSRET = exitNumber('sysret');
const SOFTWARE_INTERRUPTS: ReadonlySet<number> = new Set(
  (['softwareInterrupt', 'int3', 'into'] as const).map(exitNumber),
);
const PORT_INSTRUCTIONS: ReadonlySet<number> = new Set((['in', 'out', 'ins', 'outs'] as const).map(exitNumber));
/** An instruction that the engine has carried out. */
const NO_DETAIL = -1;

/** What dispatching needs of the machine. */
export interface DispatchHost {
  readonly ask: Ask;
  readonly counts: ExitCounts;
  readonly exceptions: Exceptions;
  readonly breakpoints: Breakpoints;
  readonly native: NativeMachine;
  /** A VMCALL at CPL 0; true: it was the machine's own, and is done. */
  kernelCall(vcpu: MachineVcpu): boolean;
  hasEnded(): boolean;
}

/** Decides what becomes of an exit: an exception, an instruction for TypeScript, or the end of a single step. */
export class ExitDispatch {
  readonly #host: DispatchHost;
  readonly #ask: Ask;
  readonly #counts: ExitCounts;
  readonly #exceptions: Exceptions;
  readonly #breakpoints: Breakpoints;

  constructor(host: DispatchHost) {
    this.#host = host;
    this.#ask = host.ask;
    this.#counts = host.counts;
    this.#exceptions = host.exceptions;
    this.#breakpoints = host.breakpoints;
  }

  /**
   * The engine has stopped with `code`, which is not `budget`.
   * @param stepping RFLAGS.TF was set when guest code was entered
   */
  dispatch(vcpu: MachineVcpu, code: number, stepping: boolean, watched: WatchedStep | undefined): void {
    try {
      this.#dispatch(vcpu, code, stepping, watched);
    } catch (error) {
      if (!(error instanceof SecondLevelRefusal)) throw error;
      this.#breakpoints.abandon(vcpu);
      this.#exceptions.refused(vcpu);
    }
  }
  #dispatch(vcpu: MachineVcpu, code: number, stepping: boolean, watched: WatchedStep | undefined): void {
    if (code === ExitCode.fault) {
      this.#breakpoints.abandon(vcpu);
      const fault = recordedFault(vcpu);
      if (fault.vector === SECOND_LEVEL_FAULT) this.#exceptions.refused(vcpu);
      else this.#exceptions.raise(vcpu, fault);
      return;
    }
    if (code === ExitCode.stop) {
      this.#endOfInstruction(vcpu, NO_DETAIL, stepping, watched);
      return;
    }
    const detail = vcpu.engine.exitDetail;
    const { assist } = vcpu;
    const done = this.#instruction(vcpu);
    // Another world's flags and registers now: what was to come after the instruction is the plug-in's to see to.
    if (vcpu.assist !== assist) return;
    // For these RFLAGS.TF counts as it is afterwards (SDM vol. 2B, SYSCALL and SYSRET).
    if (detail === SYSCALL || detail === SYSRET) this.#endOfInstruction(vcpu, detail, vcpu.singleStep, watched);
    else if (done) this.#endOfInstruction(vcpu, detail, stepping, watched);
    else if (SOFTWARE_INTERRUPTS.has(detail)) this.#endOfInstruction(vcpu, detail, false, watched);
    else this.#breakpoints.abandon(vcpu);
  }

  /** RFLAGS.TF was set before the instruction that is now done, or a breakpoint watches it (SDM vol. 3B, 18.3.1). */
  #endOfInstruction(vcpu: MachineVcpu, detail: number, singleStep: boolean, watched: WatchedStep | undefined): void {
    if (!(singleStep || watched) || this.#host.hasEnded()) return;
    const port = PORT_INSTRUCTIONS.has(detail) ? { number: vcpu.arg32(0), sizeBytes: vcpu.arg32(1) } : undefined;
    const after = { singleStep, ...(port && { port }), loadsFlags: detail === IRET };
    if (!this.#breakpoints.trapsAfter(vcpu, watched, after)) return;
    // Behind HLT, too: it is over.
    vcpu.wake();
    this.#exceptions.raise(vcpu, { vector: Vector.DB });
  }

  /** An instruction for TypeScript. False: it ended in an exception or interrupt. */
  #instruction(vcpu: MachineVcpu): boolean {
    const { engine } = vcpu;
    engine.rewindToRecord();
    const lengthBytes = engine.exitLengthBytes;
    const detail = engine.exitDetail;
    const { name, exit } = instructionExit(detail, lengthBytes, vcpu);
    vcpu.ripMoved = false;
    this.#counts.instruction(detail, name, exit?.kind);
    // A guest of the guest's has nothing to ask of the machine.
    if (detail === VMCALL && vcpu.cpl === 0 && !vcpu.assist && this.#host.kernelCall(vcpu)) return true;
    const answer = exit ? this.#ask(vcpu, exit) : 'pass';
    if (answer === 'handled') {
      if (!vcpu.ripMoved) vcpu.stepOver(lengthBytes);
      return exit?.kind !== 'softwareInterrupt';
    }
    if (typeof answer === 'object') {
      this.#exceptions.raiseAnswer(vcpu, answer);
      return false;
    }
    if (exit?.kind === 'softwareInterrupt') {
      const { rip } = vcpu;
      vcpu.stepOver(lengthBytes);
      this.#exceptions.softwareInterrupt(vcpu, exit.vector, rip, name === 'softwareInterrupt');
      return false;
    }
    const native = nativeInstructions[name];
    const done: NativeAnswer = native
      ? native({ vcpu, machine: this.#host.native, lengthBytes, privileged: answer === 'common' })
      : undefinedOpcode;
    if (done === 'next') vcpu.stepOver(lengthBytes);
    else if (done !== 'done') this.#exceptions.raise(vcpu, done);
    return typeof done === 'string';
  }
}

/** The exception that generated code has met, with RIP at its instruction. */
function recordedFault({ engine }: MachineVcpu): NativeFault {
  const { base } = engine;
  const { view } = engine.memory;
  if (view.getUint32(base + EXIT_RECORD.offset, true) !== 0) engine.rewindToRecord();
  const vector = view.getInt32(base + FAULT_VECTOR.offset, true);
  const errorCode = view.getInt32(base + FAULT_ERROR_CODE.offset, true);
  return {
    vector,
    ...(errorCode >= 0 ? { errorCode } : {}),
    ...(vector === Vector.PF ? { cr2: view.getBigUint64(base + FAULT_ADDRESS.offset, true) } : {}),
  };
}
