import { expect, it } from 'vitest';
import { ResetControl } from './reset-control.ts';

it('resets when RCPU goes up, and only then', () => {
  let resets = 0;
  const register = new ResetControl(() => resets++);
  const after = (value: number) => {
    register.writePort(0, 1, value);
    return [register.readPort(), resets];
  };
  expect(after(0x02)).toEqual([0x02, 0]);
  expect(after(0x06)).toEqual([0x06, 1]);
  expect(after(0x06)).toEqual([0x06, 1]);
  expect(after(0xf8)).toEqual([0x00, 1]);
  expect(after(0x04)).toEqual([0x04, 2]);
});
