/** What each device does with its requests. */
import type { BlockBackend, ConsolePort, NetworkBackend, ShareBackend } from '@polyvisor/plugin-api';
import { FakeConsole } from '@polyvisor/testkit';
import { describe, expect, it } from 'vitest';
import { VirtioBlock } from './block/block.ts';
import { VirtioConsole } from './console/console.ts';
import { VirtioEntropy } from './entropy/entropy.ts';
import { VirtioNet } from './net/net.ts';
import { VirtioNinep } from './ninep/ninep.ts';
import { Feature } from './spec.ts';
import { FakeDriver } from './testing/driver.ts';

const bytes = (...values: number[]) => Uint8Array.from(values);
const text = (data: Uint8Array) => new TextDecoder().decode(data);

describe('block', () => {
  const Status = { OK: 0, IO_ERROR: 1, UNSUPPORTED: 2 };
  function disk({ readOnly = false, sectors = 4 } = {}) {
    const content = Uint8Array.from({ length: sectors * 512 }, (_, at) => at >> 9);
    let flushes = 0;
    const backend: BlockBackend = {
      name: 'disk.img',
      sizeBytes: content.length,
      readOnly,
      read: (offset, into) => {
        if (offset + into.length > content.length) return false;
        into.set(content.subarray(offset, offset + into.length));
        return true;
      },
      write: (offset, data) => {
        if (readOnly || offset + data.length > content.length) return false;
        content.set(data, offset);
        return true;
      },
      flush: () => ++flushes > 0,
    };
    const model = new VirtioBlock(backend);
    return { content, model, flushes: () => flushes, driver: new FakeDriver(model).start() };
  }
  const header = (type: number, sector = 0n) => {
    const view = new DataView(new ArrayBuffer(16));
    view.setUint32(0, type, true);
    view.setBigUint64(8, sector, true);
    return { bytes: new Uint8Array(view.buffer) };
  };

  it('shows its size in sectors, and whether it can be written', () => {
    const { model } = disk();
    expect(new DataView(model.config.buffer).getBigUint64(0, true)).toBe(4n);
    expect([model.features.includes(5), disk({ readOnly: true }).model.features.includes(5)]).toEqual([false, true]);
  });

  it('reads and writes sectors, with the status in the last byte', () => {
    const { content, driver } = disk();
    const read = driver.request(0, header(0, 2n), { room: 512 }, { room: 1 });
    expect([read.written, read.data[0], read.data[511], read.data[512]]).toEqual([513, 2, 2, Status.OK]);
    const write = driver.request(0, header(1, 1n), { bytes: new Uint8Array(512).fill(9) }, { room: 1 });
    expect([write.written, write.data[0], content[512], content[1024]]).toEqual([1, Status.OK, 9, 2]);
  });

  it('flushes, and tells its name', () => {
    const { driver, flushes } = disk();
    expect(driver.request(0, header(4), { room: 1 }).data).toEqual(bytes(Status.OK));
    expect(flushes()).toBe(1);
    expect(text(driver.request(0, header(8), { room: 20 }, { room: 1 }).data.subarray(0, 8))).toBe('disk.img');
  });

  it('answers what cannot be done with a status', () => {
    const { driver } = disk();
    const status = (...parts: Parameters<FakeDriver['request']>[1][]) => driver.request(0, ...parts).data.at(-1);
    expect(status(header(0, 4n), { room: 512 }, { room: 1 })).toBe(Status.IO_ERROR);
    expect(status(header(0, 2n ** 60n), { room: 512 }, { room: 1 })).toBe(Status.IO_ERROR);
    expect(status(header(77), { room: 1 })).toBe(Status.UNSUPPORTED);
    expect(status({ bytes: bytes(0, 0, 0, 0) }, { room: 1 })).toBe(Status.IO_ERROR);
    const readOnly = disk({ readOnly: true }).driver;
    expect(readOnly.request(0, header(1), { bytes: new Uint8Array(512) }, { room: 1 }).data).toEqual(bytes(1));
    expect(driver.request(0, header(0))).toMatchObject({ written: 0 });
  });
});

describe('net', () => {
  function card(...features: number[]) {
    const sent: Uint8Array[] = [];
    let take: (frame: Uint8Array) => boolean = () => false;
    let resumed = 0;
    const nic: NetworkBackend = {
      mac: bytes(2, 0, 0, 0, 0, 1),
      mtu: 1500,
      send: (frame) => sent.push(frame),
      onReceive: (taker) => {
        take = taker;
      },
      resume: () => {
        resumed++;
      },
    };
    const driver = new FakeDriver(new VirtioNet(nic), features).start();
    return { sent, driver, receive: (frame: Uint8Array) => take(frame), resumed: () => resumed };
  }
  const frame = Uint8Array.from({ length: 60 }, (_, at) => at);

  it.each([
    ['1.x', [Feature.VERSION_1], 12],
    ['0.9.5', [], 10],
  ] as const)('has a header before each frame as drivers of %s know it', (_version, features, headerBytes) => {
    const { driver, sent, receive } = card(...features);
    driver.request(1, { bytes: new Uint8Array(headerBytes) }, { bytes: frame });
    expect(sent).toEqual([frame]);
    driver.add(0, { room: headerBytes }, { room: 1514 });
    expect(receive(frame)).toBe(true);
    const [{ written, data }] = driver.collect(0);
    expect([written, data.subarray(headerBytes)]).toEqual([headerBytes + 60, frame]);
    expect(data[10] === 1).toBe(headerBytes === 12);
  });

  it('leaves frames with the link while there is no buffer, and asks for them when there is', () => {
    const { driver, receive, resumed } = card(Feature.VERSION_1);
    expect(receive(frame)).toBe(false);
    driver.add(0, { room: 2000 });
    driver.kick(0);
    expect([resumed(), receive(frame)]).toEqual([1, true]);
  });

  it('finishes a checksum that was left to it', () => {
    const { driver, sent } = card(Feature.VERSION_1, 0);
    const header = new Uint8Array(12);
    header[0] = 1;
    header[6] = 54;
    header[8] = 2;
    driver.request(1, { bytes: header }, { bytes: bytes(...frame.subarray(0, 54), 0x12, 0x34, 0, 0, 0xab, 0xcd) });
    const sum = 0x1234 + 0xabcd;
    expect([...sent[0].subarray(56, 58)]).toEqual([(~sum >> 8) & 255, ~sum & 255]);
  });

  it('drops frames that are too long, too short, segmented, or have a checksum outside', () => {
    const { driver, sent } = card(Feature.VERSION_1, 0);
    const header = (change: Record<number, number>) => {
      const made = new Uint8Array(12);
      for (const [at, value] of Object.entries(change)) made[Number(at)] = value;
      return { bytes: made };
    };
    driver.request(1, header({}), { bytes: new Uint8Array(1515) });
    driver.request(1, header({}), { bytes: new Uint8Array(13) });
    driver.request(1, header({ 1: 1 }), { bytes: frame });
    driver.request(1, header({ 0: 1, 6: 59, 8: 1 }), { bytes: frame });
    expect(sent).toEqual([]);
    expect(driver.needsReset).toBe(false);
  });

  it('loses a frame that fits no buffer, and takes none after a reset', () => {
    const { driver, receive } = card(Feature.VERSION_1);
    driver.add(0, { room: 20 });
    expect(receive(frame)).toBe(true);
    expect(driver.collect(0)).toMatchObject([{ written: 0 }]);
    driver.core.status = 0;
    expect(receive(frame)).toBe(true);
    expect(driver.collect(0)).toEqual([]);
  });
});

it('entropy fills what it is given, up to a bound', () => {
  const driver = new FakeDriver(new VirtioEntropy({ fill: (into) => into.fill(0x5a) })).start();
  expect(driver.request(0, { room: 3 }, { room: 2 }).data).toEqual(new Uint8Array(5).fill(0x5a));
  expect(driver.request(0, { room: 10_000 }).written).toBe(4096);
});

describe('console', () => {
  it('puts out what the guest writes, and keeps what is typed until there is a buffer', () => {
    const console = new FakeConsole();
    const driver = new FakeDriver(new VirtioConsole(console as ConsolePort)).start();
    driver.request(1, { bytes: new TextEncoder().encode('hello') });
    expect(console.output).toBe('hello');
    console.type('typed');
    driver.add(0, { room: 3 });
    driver.add(0, { room: 8 });
    driver.kick(0);
    expect(driver.collect(0).map(({ data }) => text(data))).toEqual(['typ', 'ed']);
  });
});

describe('9p', () => {
  it('carries messages to one session, which ends with the driver', () => {
    const asked: Uint8Array[] = [];
    let closed = 0;
    const share: ShareBackend = {
      tag: 'src',
      connect: () => ({
        maxMessageBytes: 8192,
        request: (message) => {
          asked.push(message);
          return bytes(7, 0, 0, 0, 109, 1, 0);
        },
        close: () => {
          closed++;
        },
      }),
    };
    const model = new VirtioNinep(share);
    expect([...model.config]).toEqual([3, 0, ...new TextEncoder().encode('src')]);
    const driver = new FakeDriver(model).start();
    const message = bytes(7, 0, 0, 0, 108, 1, 0);
    // The driver's buffer is longer than the message.
    const answer = driver.request(0, { bytes: bytes(...message, 0, 0) }, { room: 4 }, { room: 100 });
    expect([asked, answer.data]).toEqual([[message], bytes(7, 0, 0, 0, 109, 1, 0)]);
    driver.core.status = 0;
    expect(closed).toBe(1);
  });
});
