import { describe, expect, it } from 'vitest';
import { Lifecycle } from './lifecycle.ts';

function setup() {
  const calls: string[] = [];
  const lifecycle = new Lifecycle({ freeze: () => calls.push('freeze'), thaw: () => calls.push('thaw') });
  return { calls, lifecycle };
}

function deferred() {
  let resolve = () => {};
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

describe('the life of a machine', () => {
  it('stands still from a pause to the next resume, however often either is asked for', async () => {
    const { calls, lifecycle } = setup();
    lifecycle.pause();
    lifecycle.pause();
    expect(lifecycle.paused).toBe(true);
    const { goesOn } = lifecycle;
    lifecycle.resume();
    lifecycle.resume();
    await goesOn;
    expect(lifecycle.paused).toBe(false);
    expect(lifecycle.goesOn).toBeUndefined();
    expect(calls).toEqual(['freeze', 'thaw']);
  });

  it('stands still while it is held, paused or not, until all work is done', async () => {
    const { calls, lifecycle } = setup();
    const work = [0, 1].map(() => deferred());
    for (const { promise } of work) lifecycle.hold(promise);
    expect([lifecycle.paused, lifecycle.standsStill]).toEqual([false, true]);
    const { goesOn } = lifecycle;
    lifecycle.pause();
    lifecycle.resume();
    work[0].resolve();
    await work[0].promise;
    expect([lifecycle.standsStill, calls]).toEqual([true, ['freeze']]);
    lifecycle.pause();
    work[1].resolve();
    await work[1].promise;
    expect([lifecycle.paused, lifecycle.standsStill, calls]).toEqual([true, true, ['freeze']]);
    lifecycle.resume();
    await goesOn;
    expect([lifecycle.standsStill, calls]).toEqual([false, ['freeze', 'thaw']]);
  });

  it('does not go on from work that fails', async () => {
    const { lifecycle } = setup();
    lifecycle.hold(Promise.reject(new Error('of ours')));
    await expect(lifecycle.goesOn).rejects.toThrow('of ours');
    expect(lifecycle.standsStill).toBe(true);
  });

  it('waits for nothing any more when it has ended', async () => {
    const { lifecycle } = setup();
    lifecycle.hold(new Promise(() => {}));
    const { goesOn } = lifecycle;
    lifecycle.finish({ reason: { kind: 'stopped' } });
    await goesOn;
    lifecycle.hold(new Promise(() => {}));
    expect(lifecycle.standsStill).toBe(false);
  });

  it('ends once', () => {
    const { lifecycle } = setup();
    expect(lifecycle.hasEnded).toBe(false);
    lifecycle.finish({ reason: { kind: 'reboot' } });
    lifecycle.finish({ reason: { kind: 'stopped' } });
    expect(lifecycle.end).toEqual({ reason: { kind: 'reboot' } });
  });

  it('cannot be paused after its end', () => {
    const { calls, lifecycle } = setup();
    lifecycle.finish({ reason: { kind: 'poweroff' } });
    lifecycle.pause();
    expect(lifecycle.paused).toBe(false);
    expect(calls).toEqual([]);
  });
});
