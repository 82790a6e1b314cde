import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DriverLink, VirtioModel } from './model.ts';
import { DescriptorFlag, Feature } from './spec.ts';
import { FakeDriver } from './testing/driver.ts';

const SIZE = 8;
const bytes = (...values: number[]) => Uint8Array.from(values);

/** A device that answers each request with its own readable bytes, reversed. */
class Mirror implements VirtioModel {
  readonly name = 'mirror';
  readonly type = 2;
  readonly classCode = 0;
  readonly features = [];
  readonly queueSizes = [SIZE];
  readonly config = new Uint8Array(0);
  link: DriverLink | undefined;
  served = 0;

  start(link: DriverLink): void {
    this.link = link;
  }
  stop(): void {
    this.link = undefined;
  }
  notify(): void {
    const queue = this.link?.queues[0];
    for (let chain = queue?.pop(); chain !== undefined; chain = queue?.pop()) {
      this.served++;
      queue?.push(chain, chain.write(0, chain.read(0, chain.readableBytes).reverse()));
    }
    this.link?.signal(0);
  }
}

function started(...features: number[]) {
  const mirror = new Mirror();
  return { mirror, driver: new FakeDriver(mirror, [Feature.VERSION_1, ...features]).start() };
}

describe('a queue', () => {
  it('hands over a request cut into pieces anywhere, and gives it back with what was written', () => {
    const { driver } = started();
    const { written, data } = driver.request(0, { bytes: bytes(1, 2) }, { bytes: bytes(3) }, { room: 1 }, { room: 9 });
    expect([written, data]).toEqual([3, bytes(3, 2, 1)]);
    expect(driver.signals).toEqual([0]);
  });

  it('writes no more than there is room for', () => {
    const { driver } = started();
    expect(driver.request(0, { bytes: bytes(1, 2, 3, 4) }, { room: 2 }).data).toEqual(bytes(4, 3));
  });

  it('goes round', () => {
    const { driver, mirror } = started();
    for (let turn = 0; turn < 3 * SIZE; turn++) {
      driver.setDescriptor(0, 0, { gpa: 0x8_0000, sizeBytes: 1, flags: 0 });
      driver.offer(0, 0);
      driver.kick(0);
    }
    expect([mirror.served, driver.collect(0).length]).toEqual([3 * SIZE, 3 * SIZE]);
  });

  it('follows a table of indirect descriptors', () => {
    const { driver } = started(Feature.RING_INDIRECT_DESC);
    const data = driver.allocate(64);
    driver.memory.writeBytes(data, bytes(5, 6));
    const table = driver.allocate(32);
    driver.writeDescriptor(table, { gpa: data, sizeBytes: 2, flags: DescriptorFlag.NEXT, next: 1 });
    driver.writeDescriptor(table + 16, { gpa: data + 32, sizeBytes: 2, flags: DescriptorFlag.WRITE });
    driver.setDescriptor(0, 3, { gpa: table, sizeBytes: 32, flags: DescriptorFlag.INDIRECT });
    driver.offer(0, 3);
    driver.kick(0);
    expect(driver.collect(0)).toMatchObject([{ head: 3, written: 2 }]);
    expect(driver.memory.readBytes(data + 32, 2)).toEqual(bytes(6, 5));
  });
});

describe('telling the driver', () => {
  it('is left out when the flag says so', () => {
    const { driver } = started();
    driver.setAvailableFlags(0, 1);
    driver.request(0, { bytes: bytes(1) });
    expect(driver.signals).toEqual([]);
  });

  it('waits for the event index', () => {
    const { driver } = started(Feature.RING_EVENT_IDX);
    driver.setUsedEvent(0, 1);
    driver.request(0, { bytes: bytes(1) });
    expect(driver.signals).toEqual([]);
    driver.request(0, { bytes: bytes(1) });
    expect([driver.signals, driver.availableEvent(0)]).toEqual([[0], 2]);
    driver.request(0, { bytes: bytes(1) });
    expect(driver.signals).toEqual([0]);
  });
});

describe('a queue that makes no sense stops the device until it is reset', () => {
  const cases: Record<string, (driver: FakeDriver) => void> = {
    'more requests than entries': (driver) => {
      for (let i = 0; i <= SIZE; i++) driver.offer(0, 0);
    },
    'a head beyond the table': (driver) => driver.offer(0, SIZE),
    'a loop of descriptors': (driver) => {
      driver.setDescriptor(0, 0, { gpa: 0x8_0000, sizeBytes: 1, flags: DescriptorFlag.NEXT, next: 0 });
      driver.offer(0, 0);
    },
    'an address outside memory': (driver) => {
      driver.setDescriptor(0, 0, { gpa: 1 << 20, sizeBytes: 1, flags: 0 });
      driver.offer(0, 0);
    },
    'an address beyond every number': (driver) => {
      driver.setDescriptor(0, 0, { gpa: 0xffff_ffff_ffff_f000n, sizeBytes: 0xffff_ffff, flags: 0 });
      driver.offer(0, 0);
    },
    'a readable descriptor after a writable one': (driver) => {
      driver.setDescriptor(0, 0, {
        gpa: 0x8_0000,
        sizeBytes: 1,
        flags: DescriptorFlag.NEXT | DescriptorFlag.WRITE,
        next: 1,
      });
      driver.setDescriptor(0, 1, { gpa: 0x8_0000, sizeBytes: 1, flags: 0 });
      driver.offer(0, 0);
    },
    'an indirect table that refers to another': (driver) => {
      driver.writeDescriptor(0x8_0000, { gpa: 0x8_0000, sizeBytes: 16, flags: DescriptorFlag.INDIRECT });
      driver.setDescriptor(0, 0, { gpa: 0x8_0000, sizeBytes: 16, flags: DescriptorFlag.INDIRECT });
      driver.offer(0, 0);
    },
    'an indirect table of part of a descriptor': (driver) => {
      driver.setDescriptor(0, 0, { gpa: 0x8_0000, sizeBytes: 24, flags: DescriptorFlag.INDIRECT });
      driver.offer(0, 0);
    },
    'a request of more bytes than any needs': (driver) => {
      for (let i = 0; i < SIZE; i++) {
        driver.writeDescriptor(0x8_0000 + i * 16, {
          gpa: 0,
          sizeBytes: 1 << 20,
          flags: DescriptorFlag.NEXT,
          next: i + 1,
        });
      }
      for (let i = SIZE; i < 32; i++) {
        driver.writeDescriptor(0x8_0000 + i * 16, {
          gpa: 0,
          sizeBytes: 1 << 20,
          flags: i < 31 ? DescriptorFlag.NEXT : 0,
          next: i + 1,
        });
      }
      driver.setDescriptor(0, 0, { gpa: 0x8_0000, sizeBytes: 32 * 16, flags: DescriptorFlag.INDIRECT });
      driver.offer(0, 0);
    },
  };
  it.each(Object.keys(cases))('%s', (name) => {
    const { driver, mirror } = started();
    cases[name](driver);
    driver.kick(0);
    expect([driver.needsReset, driver.configSignals, driver.logged.length, mirror.link]).toEqual([
      true,
      1,
      1,
      undefined,
    ]);
    driver.kick(0);
    expect(driver.logged).toHaveLength(1);
    driver.core.status = 0;
    expect([driver.core.status, driver.core.queues[0].enabled]).toEqual([0, false]);
  });

  it('rings outside memory', () => {
    const driver = new FakeDriver(new Mirror());
    driver.core.queues[0].available = 0x10_0000;
    driver.core.queues[0].enabled = true;
    driver.core.status |= 4;
    expect(driver.needsReset).toBe(true);
  });
});

it('features that were not offered are refused', () => {
  const driver = new FakeDriver(new Mirror(), [Feature.VERSION_1, 50]);
  expect(driver.core.status & 8).toBe(0);
});

it('whatever the guest writes into its rings, the device ends and touches nothing outside', () => {
  const number16 = fc.oneof(fc.nat(10), fc.nat(0xffff));
  const descriptor = fc.record({
    gpa: fc.oneof(fc.nat(0xf_ffff), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })),
    sizeBytes: fc.oneof(fc.nat(64), fc.nat(0xffff), fc.constant(0xffff_ffff)),
    flags: fc.nat(7),
    next: fc.oneof(fc.nat(SIZE), number16),
  });
  fc.assert(
    fc.property(
      fc.array(descriptor, { minLength: SIZE, maxLength: SIZE }),
      fc.array(number16, { maxLength: 12 }),
      fc.boolean(),
      (descriptors, heads, eventIndex) => {
        const { driver, mirror } = started(Feature.RING_INDIRECT_DESC, ...(eventIndex ? [Feature.RING_EVENT_IDX] : []));
        descriptors.forEach((fields, index) => {
          driver.setDescriptor(0, index, fields);
        });
        for (const head of heads) driver.offer(0, head);
        driver.kick(0);
        expect(mirror.served).toBeLessThanOrEqual(heads.length);
        expect(driver.needsReset || mirror.served === heads.length).toBe(true);
      },
    ),
    { numRuns: 300 },
  );
});
