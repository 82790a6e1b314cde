import { describe, expect, it } from 'vitest';
import { Attempts } from './attempts.ts';

const FOR_NS = 1000;

function setup() {
  const host = { nowNs: 0, isOver: false };
  const attempts = new Attempts(() => host.nowNs);
  const add = <T>(attempt: () => T | undefined) => attempts.add(attempt, FOR_NS, () => host.isOver);
  return { host, attempts, add };
}

describe('attempts', () => {
  it('are over at once if the first try succeeds', async () => {
    const { attempts, add } = setup();
    await expect(add(() => 'done')).resolves.toBe('done');
    expect(attempts.areWaiting).toBe(false);
  });

  it('are made again until one succeeds', async () => {
    const { attempts, add } = setup();
    let tries = 0;
    const answer = add(() => (++tries === 3 ? tries : undefined));
    attempts.tryAll();
    expect(attempts.areWaiting).toBe(true);
    attempts.tryAll();
    expect(attempts.areWaiting).toBe(false);
    attempts.tryAll();
    await expect(answer).resolves.toBe(3);
    expect(tries).toBe(3);
  });

  it('end without an answer when their time is up, or the machine is', async () => {
    const { host, attempts, add } = setup();
    const late = add(() => undefined);
    host.nowNs = FOR_NS;
    attempts.tryAll();
    await expect(late).resolves.toBeUndefined();
    const stopped = add(() => undefined);
    host.isOver = true;
    attempts.tryAll();
    await expect(stopped).resolves.toBeUndefined();
    expect(attempts.areWaiting).toBe(false);
  });

  it('throw what a try throws, and leave the others waiting', async () => {
    const { attempts, add } = setup();
    let ready = false;
    const bad = add(() => {
      if (ready) throw new Error('no slot');
    });
    void add(() => undefined);
    ready = true;
    attempts.tryAll();
    await expect(bad).rejects.toThrow('no slot');
    expect(attempts.areWaiting).toBe(true);
  });
});
