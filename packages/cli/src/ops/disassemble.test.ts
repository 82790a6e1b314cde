import { expect, it } from 'vitest';
import { disassemble } from './disassemble.ts';

it('shows what the kernel has put at a site, and a call that fills it', () => {
  expect(disassemble('fa0f1f440000', 64, 0xffffffff81000000n).map((line) => line.replace(/ +/g, ' '))).toEqual([
    'fa cli',
    expect.stringMatching(/^0f 1f 44 00 00 nop/),
  ]);
  const [call, ...more] = disassemble('2ee8fa0f0000', 64, 0xffffffff81000000n);
  expect(more).toEqual([]);
  expect(call).toMatch(/^2e e8 fa 0f 00 00 +call +.*81001000/i);
  expect(disassemble('2ee8fa0f0000', 32, 0xc1000000n)[0]).toMatch(/call +.*c1001000/i);
});

it('shows bytes that are no instruction', () => {
  expect(disassemble('0f', 64, 0n)).toHaveLength(1);
  expect(disassemble('', 64, 0n)).toEqual([]);
});
