/** Ports and commands of the keyboard controller (IBM PC AT Technical Reference, March 1986, 1-38 to 1-55). */
export const DATA_PORT = 0x60;
export const COMMAND_PORT = 0x64;

export const Status = {
  outputFull: 1,
  systemFlag: 4,
  lastWasCommand: 8,
  keyboardUnlocked: 0x10,
  auxiliary: 0x20,
} as const;

export const Command = {
  /** 0x20 to 0x3f read, 0x60 to 0x7f write a byte of the controller's memory; byte 0 is the command byte. */
  readMemory: 0x20,
  writeMemory: 0x60,
  disableAuxiliary: 0xa7,
  enableAuxiliary: 0xa8,
  testAuxiliary: 0xa9,
  selfTest: 0xaa,
  testKeyboard: 0xab,
  disableKeyboard: 0xad,
  enableKeyboard: 0xae,
  readInputPort: 0xc0,
  readOutputPort: 0xd0,
  writeOutputPort: 0xd1,
  writeKeyboardBuffer: 0xd2,
  writeAuxiliaryBuffer: 0xd3,
  writeAuxiliary: 0xd4,
  /** 0xf0 to 0xff pulse those lines of the output port whose bits are 0. */
  pulseOutputPort: 0xf0,
} as const;

export const SELF_TEST_PASSED = 0x55;
export const INTERFACE_TEST_PASSED = 0x00;
/** Bits of the command byte. */
export const CommandByte = {
  keyboardInterrupt: 1,
  auxiliaryInterrupt: 2,
  systemFlag: 4,
  keyboardDisabled: 0x10,
  auxiliaryDisabled: 0x20,
} as const;
/** Bits of the output port: low resets the processor; address line 20. */
export const OutputPort = { notReset: 1, a20: 2, fixed: 0xcc } as const;
/** Input port: keyboard not locked, no jumper set. */
export const INPUT_PORT = 0xb0;
