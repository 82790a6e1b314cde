import { FakeClock, FakeConsole } from '@polyvisor/testkit';
import { beforeEach, describe, expect, it } from 'vitest';
import { Uart } from './uart.ts';

/** Offsets of the registers. */
const [RBR, IER, IIR, LCR, MCR, LSR, MSR, SCR] = [0, 1, 2, 3, 4, 5, 6, 7];
const FCR = IIR;
const OUT2 = 0x08;

let clock: FakeClock;
let console: FakeConsole;
let uart: Uart;
let irq: boolean;
const write = (register: number, value: number) => uart.writePort(register, 1, value);
const read = (register: number) => uart.readPort(register);
const type = (text: string) => console.type(text);

beforeEach(() => {
  clock = new FakeClock();
  console = new FakeConsole();
  irq = false;
  const line = {
    set: (asserted: boolean) => {
      irq = asserted;
    },
  };
  uart = new Uart({ irq: line, clock, console });
});

describe('the transmitter', () => {
  it('sends to the console, when flushed', () => {
    for (const character of 'hello') write(RBR, character.charCodeAt(0));
    expect(console.output).toBe('');
    uart.flush();
    uart.flush();
    expect(console.output).toBe('hello');
    expect(read(LSR)).toBe(0x60);
  });

  it('hands on a line at its end, and those of the millisecond after it later', () => {
    const send = (text: string) => {
      for (const character of text) write(RBR, character.charCodeAt(0));
    };
    send('a\nb\nc');
    expect(console.output).toBe('a\n');
    clock.advance(999_999);
    send('d\n');
    expect(console.output).toBe('a\n');
    clock.advance(1);
    send('e\nf\n');
    expect(console.output).toBe('a\nb\ncd\ne\n');
  });

  it('hands on what fills its buffer without waiting', () => {
    for (let i = 0; i < 1500; i++) write(RBR, 0x2e);
    expect(console.output).toHaveLength(1024);
  });

  it('interrupts when enabled and after each character; reading IIR clears it', () => {
    write(MCR, OUT2);
    write(IER, 2);
    expect([irq, read(IIR), irq, read(IIR)]).toEqual([true, 0x02, false, 0x01]);
    write(RBR, 65);
    expect(irq).toBe(true);
    write(IER, 0);
    expect([irq, read(IIR)]).toEqual([false, 0x01]);
    write(IER, 2);
    expect(irq).toBe(true);
  });

  it('interrupts only through the gate that OUT2 opens', () => {
    write(IER, 2);
    expect(irq).toBe(false);
    write(MCR, OUT2);
    expect(irq).toBe(true);
    write(MCR, OUT2 | 0x10);
    expect(irq).toBe(false);
  });
});

describe('the receiver', () => {
  it('holds one character without FIFOs; more come as they are taken, at the pace of the line', () => {
    type('abc');
    expect([read(LSR) & 1, read(RBR), read(LSR) & 1]).toEqual([1, 97, 0]);
    clock.advance(86_000);
    expect(read(LSR) & 1).toBe(0);
    clock.advance(1_000);
    expect([read(RBR), read(LSR) & 1]).toEqual([98, 0]);
  });

  it('does not lose what comes while nobody reads', () => {
    write(FCR, 1);
    const text = Array.from({ length: 100 }, (_, i) => String.fromCharCode(33 + (i % 90))).join('');
    type(text);
    let got = '';
    for (let i = 0; i < 200; i++) {
      clock.advance(100_000);
      while (read(LSR) & 1) got += String.fromCharCode(read(RBR));
    }
    expect(got).toBe(text);
  });

  it.each([
    [0x01, 1],
    [0x41, 4],
    [0x81, 8],
    [0xc1, 14],
  ])('FIFO control %#x: the trigger level is %i, below it the timeout interrupts', (control, level) => {
    write(MCR, OUT2);
    write(IER, 1);
    write(FCR, control);
    type('x'.repeat(level - 1));
    expect(read(IIR)).toBe(level > 1 ? 0xcc : 0xc1);
    type('x');
    clock.advance(2_000_000);
    expect([irq, read(IIR)]).toEqual([true, 0xc4]);
    for (let i = 0; i < level; i++) read(RBR);
    expect([irq, read(IIR)]).toEqual([false, 0xc1]);
  });

  it('loses its characters when the FIFO is cleared or switched', () => {
    write(FCR, 1);
    type('abc');
    write(FCR, 3);
    expect(read(LSR) & 1).toBe(0);
  });

  it('comes before the transmitter in IIR', () => {
    write(IER, 3);
    type('a');
    expect(read(IIR)).toBe(0x04);
    read(RBR);
    expect(read(IIR)).toBe(0x02);
  });
});

describe('loopback', () => {
  it('leads the transmitter to the receiver, and an overrun is told once, first of all', () => {
    write(IER, 7);
    write(MCR, 0x10);
    write(RBR, 0x41);
    expect([read(IIR), read(RBR)]).toEqual([0x04, 0x41]);
    write(RBR, 0x42);
    write(RBR, 0x43);
    expect(read(IIR)).toBe(0x06);
    expect([read(LSR), read(LSR), read(RBR)]).toEqual([0x63, 0x61, 0x42]);
    uart.flush();
    expect(console.output).toBe('');
  });

  it.each([
    [0x11, 0x20],
    [0x12, 0x10],
    [0x14, 0x40],
    [0x18, 0x80],
    [0x1a, 0x90],
  ])('leads the modem outputs %#x to the inputs %#x', (outputs, inputs) => {
    write(MCR, outputs);
    expect(read(MSR) & 0xf0).toBe(inputs);
  });

  it('shows which modem input has changed, and interrupts for it', () => {
    expect(read(MSR)).toBe(0xb0);
    write(MCR, 0x14);
    write(IER, 8);
    expect([read(IIR), read(MSR), read(IIR)]).toEqual([0x00, 0x4b, 0x01]);
    write(MCR, 0x10);
    expect(read(MSR)).toBe(0x04);
  });
});

it('keeps divisor, line control and scratch', () => {
  write(LCR, 0x83);
  write(RBR, 0x0c);
  write(IER, 0x01);
  expect([read(RBR), read(IER)]).toEqual([0x0c, 0x01]);
  write(LCR, 0x03);
  write(SCR, 0x5a);
  expect([read(LCR), read(IER), read(SCR), read(MCR)]).toEqual([0x03, 0, 0x5a, 0]);
  write(MCR, 0xff);
  expect(read(MCR)).toBe(0x1f);
});
