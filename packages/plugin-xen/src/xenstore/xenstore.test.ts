import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HypercallNumber } from '../hypercall/table.ts';
import { FakeDomain, STORE_MFN } from '../testing/fakeDomain.ts';
import { decode, encode, formatMessage, parseHeader, StoreMessage, splitStrings } from './wire.ts';

const RING = STORE_MFN * 4096;
const STORE_PORT = 1;
const HOME = '/local/domain/1';

interface Reply {
  readonly type: number;
  readonly requestId: number;
  readonly text: string;
}

/** A guest's xenbus driver on the ring of a {@link FakeDomain}. */
class Client {
  readonly domain = new FakeDomain();
  #received = new Uint8Array(0);
  #requests = 0;

  notify(): void {
    this.domain.call(HypercallNumber.EVENT_CHANNEL_OP, 4, this.domain.put32(0x3000, STORE_PORT));
  }

  sendBytes(bytes: Uint8Array): void {
    const { memory } = this.domain;
    for (const byte of bytes) {
      const prod = memory.read32(RING + 2052);
      if ((prod - memory.read32(RING + 2048)) >>> 0 === 1024) this.notify();
      memory.write8(RING + (prod % 1024), byte);
      memory.write32(RING + 2052, (prod + 1) >>> 0);
    }
    this.notify();
  }

  /** All messages that have come. */
  receive(): Reply[] {
    const replies: Reply[] = [];
    for (;;) {
      this.#drain();
      if (this.#received.length < 16) return replies;
      const header = parseHeader(this.#received);
      const end = 16 + header.payloadBytes;
      if (this.#received.length < end) return replies;
      const text = decode(this.#received.subarray(16, end));
      replies.push({ type: header.type, requestId: header.requestId, text });
      this.#received = this.#received.slice(end);
    }
  }

  /** One request; its reply, events left for {@link receive}. */
  ask(type: number, text: string, transaction = 0): string {
    const requestId = ++this.#requests;
    this.sendBytes(formatMessage(type, requestId, transaction, encode(text)));
    const replies = this.receive();
    const reply = replies.find((one) => one.requestId === requestId);
    this.events.push(...replies.filter((one) => one.type === StoreMessage.WATCH_EVENT));
    expect(reply).toBeDefined();
    return reply?.type === StoreMessage.ERROR ? `error ${reply.text.slice(0, -1)}` : (reply?.text ?? '');
  }
  readonly events: Reply[] = [];

  read(path: string, transaction = 0): string {
    return this.ask(StoreMessage.READ, `${path}\0`, transaction);
  }
  write(path: string, value: string, transaction = 0): string {
    return this.ask(StoreMessage.WRITE, `${path}\0${value}`, transaction);
  }
  list(path: string): string[] {
    return splitStrings(encode(this.ask(StoreMessage.DIRECTORY, `${path}\0`)));
  }

  #drain(): void {
    const { memory } = this.domain;
    for (;;) {
      const cons = memory.read32(RING + 2056);
      const used = (memory.read32(RING + 2060) - cons) >>> 0;
      if (used === 0) return;
      const bytes = Array.from({ length: used }, (_, i) => memory.read8(RING + 1024 + (((cons + i) >>> 0) % 1024)));
      this.#received = Uint8Array.from([...this.#received, ...bytes]);
      memory.write32(RING + 2056, (cons + used) >>> 0);
      this.notify();
    }
  }
}

describe('the initial tree', () => {
  it('is what a PV guest looks for', () => {
    const client = new Client();
    expect(client.read('domid')).toBe('1');
    expect(client.read(`${HOME}/name`)).toBe('guest');
    expect(client.read('memory/target')).toBe('512');
    expect(client.list('device')).toEqual([]);
    expect(client.read('console/ring-ref')).toBe('11');
    expect(client.read('cpu/1/availability')).toBe('online');
    expect(client.list('')).toEqual([]);
    expect(client.list('control')).toContain('platform-feature-xs_reset_watches');
  });

  it('is the guest’s to read, and in part to write', () => {
    const client = new Client();
    expect(client.write('name', 'mine')).toBe('error EACCES');
    expect(client.write('control/feature-poweroff', '1')).toBe('OK\0');
    expect(client.write('data/a/b', 'x')).toBe('OK\0');
    expect(client.ask(StoreMessage.GET_PERMS, 'data/a/b\0')).toBe('n1\0');
    expect(client.ask(StoreMessage.GET_PERMS, 'device\0')).toBe('n0\0r1\0');
    expect(client.read('/')).toBe('error EACCES');
    expect(client.read('/local/domain/0/x')).toBe('error EACCES');
    expect(client.read('nothing')).toBe('error ENOENT');
  });
});

describe('requests', () => {
  it('write, read, list, remove', () => {
    const client = new Client();
    expect(client.write('data/a', 'va\0lue')).toBe('OK\0');
    expect(client.read('data/a')).toBe('va\0lue');
    expect(client.ask(StoreMessage.MKDIR, 'data/dir\0')).toBe('OK\0');
    expect(client.ask(StoreMessage.MKDIR, 'data/a\0')).toBe('OK\0');
    expect(client.read('data/a')).toBe('va\0lue');
    expect(client.list('data')).toEqual(['a', 'dir']);
    expect(client.ask(StoreMessage.RM, 'data/a\0')).toBe('OK\0');
    expect(client.ask(StoreMessage.RM, 'data/a\0')).toBe('OK\0');
    expect(client.ask(StoreMessage.RM, 'data/no/where\0')).toBe('error ENOENT');
    expect(client.list('data')).toEqual(['dir']);
  });

  it('says EINVAL to malformed paths', () => {
    const client = new Client();
    for (const path of ['/a//b', '/a/', 'a b', '//', `/${'x'.repeat(3100)}`, 'x'.repeat(2100)]) {
      expect(client.read(path)).toBe('error EINVAL');
    }
    expect(client.ask(StoreMessage.READ, 'no-zero')).toBe('error EINVAL');
  });

  it('permissions are the owner’s to change, ownership is not', () => {
    const client = new Client();
    client.write('data/x', '1');
    expect(client.ask(StoreMessage.SET_PERMS, 'data/x\0n1\0r0\0b5\0')).toBe('OK\0');
    expect(client.ask(StoreMessage.GET_PERMS, 'data/x\0')).toBe('n1\0r0\0b5\0');
    expect(client.ask(StoreMessage.SET_PERMS, 'data/x\0n2\0')).toBe('error EPERM');
    expect(client.ask(StoreMessage.SET_PERMS, 'data/x\0q1\0')).toBe('error EINVAL');
    expect(client.ask(StoreMessage.SET_PERMS, 'name\0n1\0')).toBe('error EACCES');
  });

  it('answers domains, unknown types, and what only the toolstack may', () => {
    const client = new Client();
    expect(client.ask(StoreMessage.GET_DOMAIN_PATH, '7\0')).toBe('/local/domain/7\0');
    expect(client.ask(StoreMessage.IS_DOMAIN_INTRODUCED, '1\0')).toBe('T\0');
    expect(client.ask(StoreMessage.IS_DOMAIN_INTRODUCED, '9\0')).toBe('F\0');
    expect(client.ask(StoreMessage.INTRODUCE, '1\x001\x001\0')).toBe('error EACCES');
    expect(client.ask(20, '\0')).toBe('error ENOSYS');
    expect(client.ask(0xffff_ffff, '')).toBe('error ENOSYS');
    expect(client.ask(StoreMessage.CONTROL, 'print\0hello\0')).toBe('OK\0');
    expect(client.domain.host.logged.at(-1)?.message).toBe('xenstore: hello');
  });

  it('lists directories too long for one reply in parts', () => {
    const client = new Client();
    const names = Array.from({ length: 300 }, (_, i) => `a-rather-long-name-${i}`);
    for (const name of names) client.write(`data/${name}`, '');
    expect(client.ask(StoreMessage.DIRECTORY, 'data\0')).toBe('error E2BIG');
    let offset = 0;
    let all = '';
    for (let i = 0; i < 10 && !all.endsWith('\0\0'); i++) {
      const part = client.ask(StoreMessage.DIRECTORY_PART, `data\0${offset}\0`);
      const rest = part.slice(part.indexOf('\0') + 1);
      all += rest;
      offset += rest.length;
    }
    expect(splitStrings(encode(all)).filter((name) => name !== '')).toEqual(names);
  });

  it('has quotas', () => {
    const client = new Client();
    expect(client.write('data/big', 'x'.repeat(2049))).toBe('error ENOSPC');
    let made = 0;
    while (made < 2000 && client.write(`data/n${made}`, '') === 'OK\0') made++;
    expect(made).toBeGreaterThan(900);
    expect(made).toBeLessThan(1000);
    client.ask(StoreMessage.RM, 'data/n0\0');
    expect(client.write('data/again', '')).toBe('OK\0');
    for (let i = 0; i < 128; i++) expect(client.ask(StoreMessage.WATCH, `data\0t${i}\0`)).toBe('OK\0');
    expect(client.ask(StoreMessage.WATCH, 'data\0more\0')).toBe('error ENOSPC');
  });
});

describe('watches', () => {
  const texts = (client: Client) => client.events.splice(0).map((event) => event.text);

  it('fire at once, then for changes below, relative as given', () => {
    const client = new Client();
    expect(client.ask(StoreMessage.WATCH, 'control/shutdown\0token\0')).toBe('OK\0');
    expect(texts(client)).toEqual(['control/shutdown\0token\0']);
    client.domain.memory.testAndClearBit(client.domain.sharedInfoGpa + client.domain.shared.eventsPending, STORE_PORT);
    client.domain.services.requestShutdown('poweroff');
    const raised = client.domain.memory.testAndClearBit(
      client.domain.sharedInfoGpa + client.domain.shared.eventsPending,
      STORE_PORT,
    );
    expect(raised).toBe(true);
    expect(client.receive().map(({ text }) => text)).toEqual(['control/shutdown\0token\0']);
    expect(client.read('control/shutdown')).toBe('poweroff');
  });

  it('see removals of what is above them, and obey their depth', () => {
    const client = new Client();
    client.write('data/a/b/c', '');
    client.ask(StoreMessage.WATCH, `${HOME}/data/a/b\0deep\0`);
    client.ask(StoreMessage.WATCH, 'data\0shallow\x000\0');
    texts(client);
    client.ask(StoreMessage.RM, 'data/a\0');
    expect(texts(client)).toEqual([`${HOME}/data/a/b\0deep\0`]);
  });

  it('end with UNWATCH and RESET_WATCHES', () => {
    const client = new Client();
    client.ask(StoreMessage.WATCH, 'data\0one\0');
    client.ask(StoreMessage.WATCH, '@introduceDomain\0two\0');
    expect(client.ask(StoreMessage.WATCH, 'data\0one\0')).toBe('error EEXIST');
    expect(client.ask(StoreMessage.UNWATCH, 'data\0two\0')).toBe('error ENOENT');
    expect(client.ask(StoreMessage.UNWATCH, 'data\0one\0')).toBe('OK\0');
    expect(client.ask(StoreMessage.RESET_WATCHES, '\0')).toBe('OK\0');
    texts(client);
    client.write('data/x', '');
    expect(texts(client)).toEqual([]);
  });
});

describe('transactions', () => {
  const start = (client: Client) => Number(client.ask(StoreMessage.TRANSACTION_START, '\0').slice(0, -1));

  it('are seen when committed, and told to watches then', () => {
    const client = new Client();
    const id = start(client);
    client.ask(StoreMessage.WATCH, 'data\0w\0');
    client.events.length = 0;
    client.write('data/t', '1', id);
    expect(client.read('data/t')).toBe('error ENOENT');
    expect(client.read('data/t', id)).toBe('1');
    expect(client.events).toEqual([]);
    expect(client.ask(StoreMessage.TRANSACTION_END, 'T\0', id)).toBe('OK\0');
    expect(client.read('data/t')).toBe('1');
    expect(client.events.map(({ text }) => text)).toEqual(['data/t\0w\0']);
    expect(client.ask(StoreMessage.TRANSACTION_END, 'T\0', id)).toBe('error ENOENT');
  });

  it('fail with EAGAIN when the store has changed, and leave nothing when abandoned', () => {
    const client = new Client();
    const id = start(client);
    client.write('data/t', '1', id);
    client.write('data/other', '1');
    expect(client.ask(StoreMessage.TRANSACTION_END, 'T\0', id)).toBe('error EAGAIN');
    const next = start(client);
    client.write('data/t', '1', next);
    expect(client.ask(StoreMessage.TRANSACTION_END, 'F\0', next)).toBe('OK\0');
    expect(client.read('data/t')).toBe('error ENOENT');
    expect(client.ask(StoreMessage.TRANSACTION_START, '\0', 5)).toBe('error EBUSY');
    for (let i = 0; i < 10; i++) start(client);
    expect(client.ask(StoreMessage.TRANSACTION_START, '\0')).toBe('error ENOSPC');
  });
});

describe('a hostile ring', () => {
  it('is cut off for indices that make no sense, with the error said', () => {
    const client = new Client();
    client.domain.memory.write32(RING + 2052, 5000);
    client.notify();
    expect(client.domain.memory.read32(RING + 2072)).toBe(2);
    client.domain.memory.write32(RING + 2052, client.domain.memory.read32(RING + 2048));
    client.sendBytes(formatMessage(StoreMessage.READ, 1, 0, encode('domid\0')).subarray(0, 900));
    expect(client.receive()).toEqual([]);
  });

  it('is cut off for a payload over the limit', () => {
    const client = new Client();
    const header = formatMessage(StoreMessage.WRITE, 1, 0, new Uint8Array(0));
    new DataView(header.buffer).setUint32(12, 4097, true);
    client.sendBytes(header);
    expect(client.domain.memory.read32(RING + 2072)).toBe(3);
  });

  it('any bytes, and any indices, leave the host standing', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ type: fc.nat(24), bytes: fc.uint8Array({ maxLength: 200 }), tx: fc.nat(3) })),
        fc.array(fc.tuple(fc.constantFrom(2048, 2052, 2056, 2060), fc.nat())),
        (messages, pokes) => {
          const client = new Client();
          for (const { type, bytes, tx } of messages) client.sendBytes(formatMessage(type, 1, tx, bytes));
          expect(client.receive().filter(({ type }) => type !== StoreMessage.WATCH_EVENT)).toHaveLength(
            messages.length,
          );
          for (const [offset, value] of pokes) {
            client.domain.memory.write32(RING + offset, value >>> 0);
            client.notify();
          }
          expect(client.domain.machine.ended).toBeUndefined();
        },
      ),
      { seed: 1, numRuns: 60 },
    );
  });
});
