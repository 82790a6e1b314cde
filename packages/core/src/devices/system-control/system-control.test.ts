import { FakeClock } from '@polyvisor/testkit';
import { describe, expect, it } from 'vitest';
import { Pit } from '../pit/pit.ts';
import { SystemControlPortA, SystemControlPortB } from './system-control.ts';

describe('system control port A', () => {
  it('resets on a rising bit 0 and reports changes of A20', () => {
    const calls: string[] = [];
    const port = new SystemControlPortA(
      () => calls.push('reset'),
      (enabled) => calls.push(enabled ? 'A20 on' : 'A20 off'),
    );
    expect(port.readPort()).toBe(0x02);
    for (const value of [0x02, 0x00, 0xfc, 0x03, 0x03, 0x02, 0x01]) port.writePort(0, 1, value);
    expect(calls).toEqual(['A20 off', 'A20 on', 'reset', 'A20 off', 'reset']);
    expect(port.readPort()).toBe(0x01);
  });

  it('restoring calls nothing, and a restored bit 0 is no edge', () => {
    const calls: string[] = [];
    const make = () =>
      new SystemControlPortA(
        () => calls.push('reset'),
        () => calls.push('A20'),
      );
    const saved = make();
    saved.writePort(0, 1, 0x03);
    calls.length = 0;
    const copy = make();
    copy.restoreState(saved.saveState());
    copy.writePort(0, 1, 0x03);
    expect([calls, copy.readPort()]).toEqual([[], 0x03]);
  });
});

describe('system control port B', () => {
  const make = () => {
    const clock = new FakeClock();
    const pit = new Pit(clock, { set: () => {} });
    return { clock, pit, port: new SystemControlPortB(clock, pit) };
  };

  it('times with counter 2 as calibration loops do: mode 0, gate up, wait for OUT 2', () => {
    const { clock, pit, port } = make();
    port.writePort(0, 1, (port.readPort() & ~0x02) | 0x01);
    pit.writePort(3, 1, 0xb0);
    pit.writePort(2, 1, 59659 & 0xff);
    pit.writePort(2, 1, 59659 >> 8);
    clock.advance(50_000_000);
    expect(port.readPort() & 0x21).toBe(0x01);
    clock.advance(2_000);
    expect(port.readPort() & 0x21).toBe(0x21);
  });

  it('holds counter 2 while the gate is down', () => {
    const { clock, pit, port } = make();
    pit.writePort(3, 1, 0x90);
    pit.writePort(2, 1, 4);
    clock.advance(1_000_000);
    expect(port.readPort() & 0x20).toBe(0);
    port.writePort(0, 1, 0x01);
    clock.advance(10_000);
    expect(port.readPort() & 0x20).toBe(0x20);
  });

  it('toggles the refresh bit every 18 cycles of the timer', () => {
    const { clock, port } = make();
    const seen: number[] = [];
    for (let sample = 0; sample < 8; sample++) {
      seen.push(port.readPort() & 0x10);
      clock.advance(15_086);
    }
    expect(seen).toEqual([0, 0x10, 0, 0x10, 0, 0x10, 0, 0x10]);
  });

  it('keeps the four bits that software sets, and only those', () => {
    const { clock, pit, port } = make();
    port.writePort(0, 1, 0xff);
    const copy = new SystemControlPortB(clock, pit);
    copy.restoreState(port.saveState());
    expect([port.readPort() & 0xcf, copy.readPort() & 0xcf]).toEqual([0x0f, 0x0f]);
  });
});
