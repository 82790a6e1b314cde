import type { IrqLine, PortDevice } from '../../bus/device.ts';
import {
  Command,
  CommandByte,
  INPUT_PORT,
  INTERFACE_TEST_PASSED,
  OutputPort,
  SELF_TEST_PASSED,
  Status,
} from './spec.ts';

interface Wiring {
  readonly keyboardIrq: IrqLine;
  readonly auxiliaryIrq: IrqLine;
  /** The line to the processor's RESET. */
  reset(): void;
}

/** The keyboard controller; its two ports are devices of their own, 0x60 and 0x64. */
export class KeyboardController {
  readonly #wiring: Wiring;
  readonly #memory = new Uint8Array(32);
  #output: { readonly value: number; readonly auxiliary: boolean } | undefined;
  #outputPort = OutputPort.notReset | OutputPort.a20 | OutputPort.fixed;
  #lastWasCommand = true;
  /** The command whose data byte comes next through port 0x60. */
  #awaitsData: number | undefined;

  constructor(wiring: Wiring) {
    this.#wiring = wiring;
    this.#memory[0] = CommandByte.keyboardDisabled | CommandByte.auxiliaryDisabled | CommandByte.systemFlag;
  }

  /** Port 0x60. */
  readonly dataPort: PortDevice = {
    cycleBytes: 1,
    readPort: () => {
      const value = this.#output?.value ?? 0;
      this.#setOutput(undefined);
      return value;
    },
    writePort: (_offset, _sizeBytes, value) => {
      this.#lastWasCommand = false;
      const command = this.#awaitsData;
      this.#awaitsData = undefined;
      if (command !== undefined) this.#commandData(command, value);
    },
  };

  /** Port 0x64. */
  readonly commandPort: PortDevice = {
    cycleBytes: 1,
    readPort: () => {
      let status = Status.keyboardUnlocked | (this.#memory[0] & CommandByte.systemFlag ? Status.systemFlag : 0);
      if (this.#output) status |= Status.outputFull | (this.#output.auxiliary ? Status.auxiliary : 0);
      if (this.#lastWasCommand) status |= Status.lastWasCommand;
      return status;
    },
    writePort: (_offset, _sizeBytes, value) => {
      this.#lastWasCommand = true;
      this.#command(value);
    },
  };

  #command(command: number): void {
    this.#awaitsData = undefined;
    const change = COMMAND_BYTE_CHANGES[command];
    const answer = this.#answerTo(command);
    if (command >= Command.pulseOutputPort) {
      if (!(command & OutputPort.notReset)) this.#wiring.reset();
    } else if (AWAITS_DATA.has(command) || (command & MEMORY_COMMAND) === Command.writeMemory) {
      this.#awaitsData = command;
    } else if (change) this.#setCommandByte((this.#memory[0] & ~change.clear) | change.set);
    if (answer !== undefined) this.#answer(answer);
  }

  #answerTo(command: number): number | undefined {
    if ((command & MEMORY_COMMAND) === Command.readMemory) return this.#memory[command & ~MEMORY_COMMAND];
    switch (command) {
      case Command.selfTest:
        return SELF_TEST_PASSED;
      case Command.testAuxiliary:
      case Command.testKeyboard:
        return INTERFACE_TEST_PASSED;
      case Command.readInputPort:
        return INPUT_PORT;
      case Command.readOutputPort:
        return this.#outputPort;
      default:
        return undefined;
    }
  }

  #commandData(command: number, value: number): void {
    if ((command & MEMORY_COMMAND) === Command.writeMemory) {
      if ((command & ~MEMORY_COMMAND) === 0) this.#setCommandByte(value);
      else this.#memory[command & ~MEMORY_COMMAND] = value;
    } else if (command === Command.writeOutputPort) {
      this.#outputPort = value;
      if (!(value & OutputPort.notReset)) this.#wiring.reset();
    } else if (command === Command.writeKeyboardBuffer) this.#answer(value);
    else if (command === Command.writeAuxiliaryBuffer) this.#answer(value, true);
    // Command.writeAuxiliary: nobody is there.
  }

  #setCommandByte(value: number): void {
    this.#memory[0] = value;
    this.#updateInterrupts();
  }
  #answer(value: number, auxiliary = false): void {
    this.#setOutput({ value, auxiliary });
  }
  #setOutput(output: { value: number; auxiliary: boolean } | undefined): void {
    this.#output = output;
    this.#updateInterrupts();
  }
  #updateInterrupts(): void {
    const output = this.#output;
    const keyboard = output !== undefined && !output.auxiliary;
    this.#wiring.keyboardIrq.set(keyboard && (this.#memory[0] & CommandByte.keyboardInterrupt) !== 0);
    const auxiliary = output?.auxiliary ?? false;
    this.#wiring.auxiliaryIrq.set(auxiliary && (this.#memory[0] & CommandByte.auxiliaryInterrupt) !== 0);
  }
}

/** The bits of a memory command that are not its address. */
const MEMORY_COMMAND = 0xe0;
const AWAITS_DATA: ReadonlySet<number> = new Set([
  Command.writeOutputPort,
  Command.writeKeyboardBuffer,
  Command.writeAuxiliaryBuffer,
  Command.writeAuxiliary,
]);
const COMMAND_BYTE_CHANGES: Readonly<Record<number, { readonly set: number; readonly clear: number }>> = {
  [Command.disableAuxiliary]: { set: CommandByte.auxiliaryDisabled, clear: 0 },
  [Command.enableAuxiliary]: { set: 0, clear: CommandByte.auxiliaryDisabled },
  [Command.disableKeyboard]: { set: CommandByte.keyboardDisabled, clear: 0 },
  [Command.enableKeyboard]: { set: 0, clear: CommandByte.keyboardDisabled },
  [Command.selfTest]: { set: CommandByte.systemFlag, clear: 0 },
};
