import { beforeEach, describe, expect, it } from 'vitest';
import { KeyboardController } from './i8042.ts';

let controller: KeyboardController;
let calls: string[];
const line = (name: string) => ({
  set: (asserted: boolean) => {
    if (asserted) calls.push(name);
  },
});
const command = (value: number) => controller.commandPort.writePort(0, 1, value);
const data = (value: number) => controller.dataPort.writePort(0, 1, value);
const status = () => controller.commandPort.readPort(0, 1);
const take = () => controller.dataPort.readPort(0, 1);

beforeEach(() => {
  calls = [];
  const reset = () => calls.push('reset');
  controller = new KeyboardController({ keyboardIrq: line('irq1'), auxiliaryIrq: line('irq12'), reset });
});

describe('the keyboard controller', () => {
  it.each([
    ['self-test', 0xaa, 0x55],
    ['keyboard interface test', 0xab, 0x00],
    ['mouse interface test', 0xa9, 0x00],
    ['input port', 0xc0, 0xb0],
    ['output port', 0xd0, 0xcf],
  ])('answers the command %s', (_name, code, answer) => {
    expect(status() & 1).toBe(0);
    command(code);
    expect([status() & 0x21, take(), status() & 1]).toEqual([1, answer, 0]);
  });

  it('keeps its command byte, and what the commands change of it', () => {
    command(0x60);
    data(0x45);
    const read = () => {
      command(0x20);
      return take();
    };
    expect(read()).toBe(0x45);
    for (const [code, byte] of [
      [0xad, 0x55],
      [0xa7, 0x75],
      [0xae, 0x65],
      [0xa8, 0x45],
    ]) {
      command(code);
      expect(read()).toBe(byte);
    }
  });

  it('keeps its other memory', () => {
    command(0x7f);
    data(0x12);
    command(0x3f);
    expect(take()).toBe(0x12);
  });

  it('interrupts for what stands in its buffer, as the command byte allows', () => {
    command(0xd2);
    data(0x1c);
    expect(calls).toEqual([]);
    command(0x60);
    data(0x03);
    expect(calls).toEqual(['irq1']);
    expect([status() & 0x21, take()]).toEqual([0x01, 0x1c]);
    command(0xd3);
    data(0xfa);
    expect(calls).toEqual(['irq1', 'irq12']);
    expect([status() & 0x21, take()]).toEqual([0x21, 0xfa]);
  });

  it('resets the processor by its pulse and by its output port, and not otherwise', () => {
    for (const code of [0xff, 0xf1, 0xfd]) command(code);
    command(0xd1);
    data(0xdf);
    expect(calls).toEqual([]);
    command(0xfe);
    command(0xd1);
    data(0xde);
    expect(calls).toEqual(['reset', 'reset']);
  });

  it('shows whether command or data came last', () => {
    command(0x60);
    expect(status() & 8).toBe(8);
    data(0x00);
    expect(status() & 8).toBe(0);
  });

  it('hears nothing from a keyboard or a mouse', () => {
    data(0xf2);
    command(0xd4);
    data(0xf2);
    expect(status() & 1).toBe(0);
  });
});
