import { describe, expect, it } from 'vitest';
import { CODE, enter, Selector, type TestGuest, TSS, testGuest } from '../testing/test-guest.ts';

const [RCX, RDX, RSI, RDI] = [1, 2, 6, 7];
const AT = BigInt(CODE);
const run = async (code: string, prepare?: (guest: TestGuest) => void) => {
  const guest = await testGuest({ code: { [CODE]: code }, ...(prepare ? { prepare } : {}) });
  await guest.run();
  return { guest, vcpu: guest.vcpu, memory: guest.machine.memory };
};

describe('IN and OUT', () => {
  const PORT = 0x5000;
  it('move a byte, a word or a doubleword between the port and the low bits of RAX', async () => {
    const written: [offset: number, sizeBytes: number, value: number][] = [];
    // out dx, al ; out dx, ax ; out dx, eax ; in al, dx ; mov [0x8000], rax ; in ax, dx ; mov [0x8008], rax ; in eax, dx ; inc dx ; in al, dx
    const { vcpu, memory } = await run(
      'ee 66ef ef ec 48890425 00800000 66ed 48890425 08800000 ed 48890425 10800000 66ffc2 ec f4',
      ({ machine, vcpu }) => {
        machine.claimPorts('test', PORT, 8, {
          cycleBytes: 4,
          readPort: (offset, sizeBytes) => (0x8182_8384 + offset) >>> (32 - 8 * sizeBytes),
          writePort: (offset, sizeBytes, value) => written.push([offset, sizeBytes, value >>> 0]),
        });
        vcpu.gpr[RDX] = BigInt(PORT);
        vcpu.gpr[0] = 0x1122_3344_95a6_b7c8n;
      },
    );
    expect(written).toEqual([
      [0, 1, 0xc8],
      [0, 2, 0xb7c8],
      [0, 4, 0x95a6_b7c8],
    ]);
    expect([memory.read64(0x8000), memory.read64(0x8008), memory.read64(0x8010)]).toEqual([
      0x1122_3344_95a6_b781n,
      0x1122_3344_95a6_8182n,
      0x8182_8384n,
    ]);
    expect(vcpu.gpr[0]).toBe(0x8182_8381n);
  });
});

describe('INS and OUTS', () => {
  it('move elements until the count is 0, in the direction of DF', async () => {
    // rep insw ; std ; rep outsb
    const { vcpu, memory } = await run('66f36d fd b103 f36e f4', ({ vcpu }) => {
      vcpu.gpr[RCX] = 3n;
      vcpu.gpr[RDI] = 0x8000n;
      vcpu.gpr[RSI] = 0x8100n;
    });
    expect([memory.read64(0x8000), vcpu.gpr[RDI], vcpu.gpr[RSI], vcpu.gpr[RCX]]).toEqual([
      0xffff_ffff_ffffn,
      0x8006n,
      0x80fdn,
      0n,
    ]);
  });

  it('do nothing for a count of 0, and one element without REP', async () => {
    const { vcpu } = await run('f36d 6d f4', ({ vcpu }) => {
      vcpu.gpr[RDI] = 0x8000n;
    });
    expect([vcpu.gpr[RDI], vcpu.gpr[RCX]]).toEqual([0x8004n, 0n]);
  });

  it('stop at the element whose memory faults, with everything before it done', async () => {
    const { guest, vcpu } = await run('f36d', ({ vcpu }) => {
      vcpu.gpr[RCX] = 4n;
      vcpu.gpr[RDI] = 0x3fff8n;
    });
    expect(guest.stoppedIn).toBe(14);
    expect([vcpu.cr2, vcpu.gpr[RDI], vcpu.gpr[RCX]]).toEqual([0x40000n, 0x40000n, 2n]);
    expect(guest.stack(2)).toEqual([2n, AT]);
  });

  it('take a 32-bit count and pointer with an address-size prefix', async () => {
    const { vcpu } = await run('67f36c f4', ({ vcpu }) => {
      vcpu.gpr[RCX] = 0xffff_0000_0000_0002n;
      vcpu.gpr[RDI] = 0xffff_0000_0000_8000n;
    });
    expect([vcpu.gpr[RDI], vcpu.gpr[RCX]]).toEqual([0x8002n, 0n]);
  });
});

describe('the I/O permission bitmap', () => {
  const withMap = (port: bigint, ...bytes: number[]) => {
    return (guest: TestGuest) => {
      bytes.forEach((byte, i) => {
        guest.machine.memory.write8(TSS + 0x68 + i, byte);
      });
      guest.vcpu.tables.tr = { ...guest.vcpu.tables.tr, limit: 0x68 + bytes.length - 1 };
      guest.vcpu.gpr[RDX] = port;
      enter(guest.vcpu, 3);
    };
  };
  it.each([
    ['clear bits', 'ec 0f0b', 9n, [0xff, 0xfd, 0xff], 6],
    ['a set bit', 'ec 0f0b', 8n, [0xff, 0xfd, 0xff], 13],
    ['clear bits over a byte boundary', 'ed 0f0b', 6n, [0x3f, 0xfc, 0xff], 6],
    ['one set bit of a doubleword', 'ed 0f0b', 6n, [0x3f, 0xfe, 0xff], 13],
    ['a port past the limit', 'ec 0f0b', 16n, [0, 0], 13],
  ])('with %s', async (_what, code, port, map, vector) => {
    const { guest } = await run(code, withMap(port, ...map));
    expect(guest.stoppedIn).toBe(vector);
    if (vector === 13) expect(guest.stack(3)).toEqual([0n, AT, BigInt(Selector.code3)]);
  });
});
