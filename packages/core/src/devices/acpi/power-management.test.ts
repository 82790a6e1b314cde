import { FakeClock } from '@polyvisor/testkit';
import { beforeEach, describe, expect, it } from 'vitest';
import { PowerManagement } from './power-management.ts';

const [STATUS, ENABLE, CONTROL, TIMER] = [0, 2, 4, 8];
const TMR = 1;

let clock: FakeClock;
let sci: boolean;
let off: number;
let block: PowerManagement;
beforeEach(() => {
  clock = new FakeClock();
  sci = false;
  off = 0;
  const line = {
    set: (asserted: boolean) => {
      sci = asserted;
    },
  };
  block = new PowerManagement({ sci: line, clock, powerOff: () => off++ });
});

describe('the power-management timer', () => {
  it('counts 3,579,545 times a second', () => {
    expect(block.readPort(TIMER, 4)).toBe(0);
    clock.advance(1_000_000_000);
    expect(block.readPort(TIMER, 4)).toBe(3_579_545);
    expect(block.readPort(TIMER + 1, 1)).toBe((3_579_545 >> 8) & 0xff);
  });

  it('sets its status each time that its highest bit toggles, and interrupts if enabled', () => {
    const half = Math.ceil((2 ** 31 * 1e9) / 3_579_545);
    clock.advance(half - 1_000);
    expect(block.readPort(STATUS, 2)).toBe(0);
    clock.advance(2_000);
    expect([block.readPort(STATUS, 2), sci]).toEqual([TMR, false]);
    block.writePort(ENABLE, 2, TMR);
    expect(sci).toBe(true);
    block.writePort(STATUS, 2, TMR);
    expect([block.readPort(STATUS, 2), sci]).toEqual([0, false]);
    clock.advance(half);
    expect([sci, block.readPort(TIMER, 4) < 2 ** 31]).toEqual([true, true]);
    block.writePort(ENABLE, 2, 0);
    expect([sci, clock.pending]).toEqual([false, 0]);
  });
});

describe('PM1 control', () => {
  it('is in ACPI mode, whatever is written', () => {
    expect(block.readPort(CONTROL, 2)).toBe(1);
    block.writePort(CONTROL, 2, 0);
    expect(block.readPort(CONTROL, 2)).toBe(1);
  });

  it('powers off for S5 alone', () => {
    for (const type of [0, 1, 2, 3, 4, 6, 7]) block.writePort(CONTROL, 2, (type << 10) | (1 << 13));
    block.writePort(CONTROL, 2, 5 << 10);
    expect(off).toBe(0);
    block.writePort(CONTROL, 2, (5 << 10) | (1 << 13));
    expect(off).toBe(1);
    expect(block.readPort(CONTROL, 2)).toBe((5 << 10) | 1);
  });

  it('takes its bytes one by one', () => {
    block.writePort(CONTROL + 1, 1, 5 << 2);
    block.writePort(CONTROL, 1, 2);
    expect([block.readPort(CONTROL, 2), off]).toEqual([(5 << 10) | 3, 0]);
    block.writePort(CONTROL + 1, 1, (5 << 2) | 0x20);
    expect(off).toBe(1);
  });
});

it('keeps only the enable bits that there are', () => {
  block.writePort(ENABLE, 2, 0xffff);
  expect(block.readPort(ENABLE, 2)).toBe(0x0721);
  expect(block.readPort(STATUS, 4)).toBe(0x0721_0000);
});
