import { describe, expect, it } from 'vitest';
import { ERAS, eraOf } from './abi.ts';

describe('eras', () => {
  it('lguest_data of Linux 2.6.32 has its fields where the struct has them', () => {
    const era = eraOf('2.6.32');
    if ('reason' in era) throw new Error(era.reason);
    expect(era.data).toEqual({
      irqEnabled: 0,
      blockedInterrupts: 4,
      cr2: 8,
      seconds: 12,
      nanoseconds: 16,
      irqPending: 20,
      ringStatus: 24,
      ring: 88,
      reserveMem: 1368,
      tscKhz: 1372,
      pgdir: 1376,
      noirqStart: 1380,
      noirqEnd: 1384,
      kernelAddress: 1388,
      syscallVector: 1392,
      sizeBytes: 1396,
    });
  });

  it('of Linux 4.1 it ends with one address of an IRET, the kernel and the vector', () => {
    const { data } = ERAS[ERAS.length - 1];
    expect([data.tscKhz, data.noirqStart, data.noirqEnd, data.kernelAddress, data.sizeBytes]).toEqual([
      1372,
      1376,
      undefined,
      1380,
      1388,
    ]);
  });

  it('are found by kernel version', () => {
    const name = (version: string) => {
      const era = eraOf(version);
      return 'reason' in era ? 'none' : era.name;
    };
    const versions = [
      '2.6.23',
      '2.6.24',
      '2.6.25',
      '2.6.29',
      '2.6.30',
      '2.6.34',
      '2.6.36',
      '3.0',
      '3.1',
      '3.19',
      '4.0',
      '4.13',
      '5.0',
    ];
    expect(versions.map(name)).toEqual([
      ...[
        'none',
        '2.6.24',
        '2.6.25',
        '2.6.25',
        '2.6.30',
        '2.6.31',
        '2.6.35',
        '2.6.35',
        '3.1',
        '3.1',
        '4.0',
        '4.1',
        'none',
      ],
    ]);
    expect(ERAS.map((era) => name(era.name))).toEqual(ERAS.map((era) => era.name));
  });
});
