import { describe, expect, it } from 'vitest';
import { TEST_MEMORY, TestExit, TestIrqLines, TestMemory, TestWord } from './test-device.ts';

describe('the test device', () => {
  it('keeps four bytes at ports, read and written in any width', () => {
    const word = new TestWord();
    word.writePort(0, 4, 0x11223344);
    word.writePort(2, 1, 0xaa);
    expect([word.readPort(0, 4), word.readPort(2, 2), word.readPort(3, 1)]).toEqual([0x11aa3344, 0x11aa, 0x11]);
    word.writePort(0, 4, 0xffffffff);
    expect(word.readPort(0, 4)).toBe(0xffffffff);
  });

  it('has memory on the bus', () => {
    const memory = new TestMemory();
    memory.writeMmio(8, 4, 0xfedcba98);
    memory.writeMmio(TEST_MEMORY.sizeBytes - 1, 1, 7);
    expect([memory.readMmio(8, 4), memory.readMmio(10, 2), memory.readMmio(TEST_MEMORY.sizeBytes - 1, 1)]).toEqual([
      0xfedcba98, 0xfedc, 7,
    ]);
  });

  it('drives the line whose port is written', () => {
    const levels: boolean[] = [];
    const lines = new TestIrqLines([undefined, { set: (asserted) => levels.push(asserted) }]);
    for (const [offset, value] of [
      [0, 1],
      [1, 1],
      [1, 0],
      [30, 1],
    ])
      lines.writePort(offset, 1, value);
    expect(levels).toEqual([true, false]);
  });

  it('ends the machine with what is written to its first port', () => {
    const statuses: number[] = [];
    const exit = new TestExit((status) => statuses.push(status));
    exit.writePort(0, 4, 63);
    exit.writePort(1, 1, 9);
    expect(statuses).toEqual([63]);
  });
});
