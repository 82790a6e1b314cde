import type { MomentSteps } from '@polyvisor/core';
import { describe, expect, it } from 'vitest';
import { inSmallSteps } from './small-steps.ts';

/** A guest that comes to a moment after so many tries; what is tried before fails. */
function guest(tries: number) {
  let isMoment = false;
  return {
    isMoment: () => isMoment,
    attempt: async <T>(attempt: () => T | undefined): Promise<T | undefined> => {
      for (let i = 0; i < tries; i++) if (attempt() !== undefined) throw new Error('this was no moment');
      isMoment = true;
      const answer = attempt();
      // It runs on before anybody hears of it.
      isMoment = false;
      return answer;
    },
  };
}
const cpuNs = () => 0;

describe('small steps', () => {
  it('are taken one after the other, and answer', async () => {
    const taken: number[] = [];
    function* steps(): MomentSteps<string> {
      for (let i = 0; i < 3; i++) {
        taken.push(i);
        yield undefined;
      }
      return 'done';
    }
    const { attempt } = guest(0);
    expect(await inSmallSteps(steps(), { attempt, cpuNs })).toMatchObject({ result: 'done' });
    expect(taken).toEqual([0, 1, 2]);
  });

  it('that are for a moment are taken while it lasts', async () => {
    const { attempt, isMoment } = guest(3);
    const seen: boolean[] = [];
    function* steps(): MomentSteps<boolean> {
      seen.push(isMoment());
      yield isMoment;
      seen.push(isMoment());
      yield undefined;
      seen.push(isMoment());
      yield isMoment;
      return isMoment();
    }
    expect(await inSmallSteps(steps(), { attempt, cpuNs })).toMatchObject({ result: true });
    expect(seen).toEqual([false, true, false]);
  });

  it('end where there is no such moment', async () => {
    let ran = false;
    function* steps(): MomentSteps<string> {
      yield () => false;
      ran = true;
      return 'done';
    }
    const { result } = await inSmallSteps(steps(), { attempt: async (attempt) => attempt(), cpuNs });
    expect([result, ran]).toEqual([undefined, false]);
  });

  it('end before the next one when they are over, also while they wait for a moment', async () => {
    for (const waits of [false, true]) {
      const { attempt, isMoment } = guest(1);
      let [over, ran] = [false, false];
      function* steps(): MomentSteps<string> {
        if (!waits) over = true;
        yield waits ? isMoment : undefined;
        ran = true;
        return 'done';
      }
      const isOver = () => over;
      const answer = inSmallSteps(steps(), {
        ...{ cpuNs, isOver },
        attempt: (each) => {
          over = true;
          return attempt(each);
        },
      });
      expect([(await answer).result, ran]).toEqual([undefined, false]);
    }
  });

  it('throw what one of them throws', async () => {
    const { attempt, isMoment } = guest(0);
    function* steps(): MomentSteps<string> {
      yield isMoment;
      throw new Error('on purpose');
    }
    await expect(inSmallSteps(steps(), { attempt, cpuNs })).rejects.toThrow('on purpose');
  });

  it('tell the longest time that they took together, by both clocks', async () => {
    let ns = 0;
    const spin = () => {
      const until = performance.now() + 2;
      while (performance.now() < until);
    };
    function* steps(): MomentSteps<undefined> {
      for (const tookNs of [1e6, 5e6, 2e6]) {
        ns += tookNs;
        spin();
        yield undefined;
      }
      return undefined;
    }
    const { attempt } = guest(0);
    const { longestMs, longestCpuMs } = await inSmallSteps(steps(), { attempt, cpuNs: () => ns });
    expect(longestCpuMs).toBe(5);
    expect(longestMs).toBeGreaterThanOrEqual(2);
  });
});
