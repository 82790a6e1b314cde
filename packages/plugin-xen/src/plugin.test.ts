import { expect, it } from 'vitest';
import { boot } from './testing/guest.ts';

it('passes on a wish to power off while there is a guest, and only then', () => {
  const { host } = boot();
  expect(host.call('requestPoweroff')).toEqual([true]);
  host.call('shutdown', { kind: 'poweroff' });
  expect(host.call('requestPoweroff')).toEqual([undefined]);
});
