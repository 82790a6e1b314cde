import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EFAULT, EINVAL, ENOSYS, EPERM } from '../errno.ts';
import { HypercallNumber } from '../hypercall/table.ts';
import { CONSOLE_MFN, FakeDomain } from '../testing/fakeDomain.ts';

const RING = CONSOLE_MFN * 4096;
const CONSOLE_PORT = 2;
const notify = (domain: FakeDomain) =>
  domain.call(HypercallNumber.EVENT_CHANNEL_OP, 4, domain.put32(0x3000, CONSOLE_PORT));
const pending = (domain: FakeDomain) =>
  domain.memory.testAndClearBit(domain.sharedInfoGpa + domain.shared.eventsPending, CONSOLE_PORT);

/** Write as a guest does: as much as fits, then announce. */
function print(domain: FakeDomain, text: string): void {
  for (const character of text) {
    const prod = domain.memory.read32(RING + 3084);
    if ((prod - domain.memory.read32(RING + 3080)) >>> 0 === 2048) notify(domain);
    domain.memory.write8(RING + 1024 + (prod % 2048), character.charCodeAt(0));
    domain.memory.write32(RING + 3084, (prod + 1) >>> 0);
  }
  notify(domain);
}
/** Read as a guest does. */
function read(domain: FakeDomain): string {
  let text = '';
  for (;;) {
    const cons = domain.memory.read32(RING + 3072);
    if (cons === domain.memory.read32(RING + 3076)) return text;
    text += String.fromCharCode(domain.memory.read8(RING + (cons % 1024)));
    domain.memory.write32(RING + 3072, (cons + 1) >>> 0);
  }
}

describe('console ring', () => {
  it('carries any amount of output in order, across the indices’ wrap', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 0xffff_ffff }),
        fc.array(fc.string({ maxLength: 3000 })),
        (start, texts) => {
          const domain = new FakeDomain();
          domain.memory.write32(RING + 3080, start);
          domain.memory.write32(RING + 3084, start);
          const ascii = texts.map((text) => text.replace(/[^\x20-\x7e]/g, '?'));
          for (const text of ascii) print(domain, text);
          expect(domain.machine.console.output).toBe(ascii.join(''));
        },
      ),
      { seed: 1, numRuns: 20 },
    );
  });

  it('tells the guest when there is room again', () => {
    const domain = new FakeDomain();
    print(domain, 'hello\r\n');
    expect(pending(domain)).toBe(true);
    notify(domain);
    expect(pending(domain)).toBe(false);
  });

  it('brings input in pieces as the guest reads, and drops what exceeds the queue', () => {
    const domain = new FakeDomain();
    const typed = Array.from({ length: 5000 }, (_, i) => 'abcdefghijklmnopqrstuvwxyz'[i % 26]).join('');
    domain.machine.console.type(typed);
    expect(pending(domain)).toBe(true);
    let got = '';
    for (let i = 0; i < 10; i++) {
      got += read(domain);
      notify(domain);
    }
    expect(got).toBe(typed);
    domain.machine.console.type('x'.repeat(70_000));
    expect(domain.host.counters.get('console.inputDroppedBytes')).toBe(70_000 - 65_536);
  });

  it('moves nothing for indices that make no sense', () => {
    const domain = new FakeDomain();
    domain.memory.write32(RING + 3084, 4000);
    notify(domain);
    expect(domain.machine.console.output).toBe('');
    expect(domain.memory.read32(RING + 3080)).toBe(0);
    domain.memory.write32(RING + 3076, 0x8000_0000);
    domain.machine.console.type('x');
    expect(domain.memory.read32(RING + 3076)).toBe(0x8000_0000);
  });

  it('puts out at the end what was never announced', () => {
    const domain = new FakeDomain();
    domain.memory.writeBytes(RING + 1024, new TextEncoder().encode('last'));
    domain.memory.write32(RING + 3084, 4);
    domain.services.stopped();
    expect(domain.machine.console.output).toBe('last');
  });
});

describe('console_io', () => {
  it('goes to the log in whole lines', () => {
    const domain = new FakeDomain();
    const text = new TextEncoder().encode('one\ntwo\x1b[1m\nrest');
    domain.memory.writeBytes(0x4000, text);
    expect(domain.call(HypercallNumber.CONSOLE_IO, 0, text.length, 0x4000)).toBe(0n);
    expect(domain.host.logged.map(({ message }) => message)).toEqual(['(d1) one', '(d1) two[1m']);
    domain.services.stopped();
    expect(domain.host.logged.at(-1)?.message).toBe('(d1) rest');
  });

  it('refuses reading, bad pointers and endless text', () => {
    const domain = new FakeDomain();
    expect(domain.call(HypercallNumber.CONSOLE_IO, 1, 10, 0x4000)).toBe(EPERM);
    expect(domain.call(HypercallNumber.CONSOLE_IO, 2, 10, 0x4000)).toBe(ENOSYS);
    expect(domain.call(HypercallNumber.CONSOLE_IO, 0, 10, domain.memory.sizeBytes)).toBe(EFAULT);
    expect(domain.call(HypercallNumber.CONSOLE_IO, 0, 0xffff_ffff, 0x4000)).toBe(EINVAL);
  });
});
