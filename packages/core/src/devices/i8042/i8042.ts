import type { IrqLine, PortDevice } from '../../bus/device.ts';
import { Command, CommandByte, INPUT_PORT, INTERFACE_TEST_PASSED, OutputPort, SELF_TEST_PASSED, Status } from './spec.ts';

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
    if (command >= Command.pulseOutputPort) {
      if (!(command & OutputPort.notReset)) this.#wiring.reset();
      return;
    }
    if ((command & 0xe0) === Command.readMemory) return this.#answer(this.#memory[command & 0x1f]);
    if ((command & 0xe0) === Command.writeMemory) {
      this.#awaitsData = command;
      return;
    }
    switch (command) {
      case Command.disableAuxiliary:
        return this.#setCommandByte(this.#memory[0] | CommandByte.auxiliaryDisabled);
      case Command.enableAuxiliary:
        return this.#setCommandByte(this.#memory[0] & ~CommandByte.auxiliaryDisabled);
      case Command.disableKeyboard:
        return this.#setCommandByte(this.#memory[0] | CommandByte.keyboardDisabled);
      case Command.enableKeyboard:
        return this.#setCommandByte(this.#memory[0] & ~CommandByte.keyboardDisabled);
      case Command.selfTest:
        this.#setCommandByte(this.#memory[0] | CommandByte.systemFlag);
        return this.#answer(SELF_TEST_PASSED);
      case Command.testAuxiliary:
      case Command.testKeyboard:
        return this.#answer(INTERFACE_TEST_PASSED);
      case Command.readInputPort:
        return this.#answer(INPUT_PORT);
      case Command.readOutputPort:
        return this.#answer(this.#outputPort);
      case Command.writeOutputPort:
      case Command.writeKeyboardBuffer:
      case Command.writeAuxiliaryBuffer:
      case Command.writeAuxiliary:
        this.#awaitsData = command;
        return;
      default:
    }
  }

  #commandData(command: number, value: number): void {
    if ((command & 0xe0) === Command.writeMemory) {
      if ((command & 0x1f) === 0) this.#setCommandByte(value);
      else this.#memory[command & 0x1f] = value;
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
