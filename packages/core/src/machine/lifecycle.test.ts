import { describe, expect, it } from 'vitest';
import { Lifecycle } from './lifecycle.ts';

function setup() {
  const calls: string[] = [];
  const lifecycle = new Lifecycle({ freeze: () => calls.push('freeze'), thaw: () => calls.push('thaw') });
  return { calls, lifecycle };
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
