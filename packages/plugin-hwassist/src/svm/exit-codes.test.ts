import { expect, it } from 'vitest';
import { ExitCode, exitName } from './exit-codes.ts';

it('exit codes have the numbers of appendix C', () => {
  const { RDTSC, IOIO, VMRUN, RDPRU, INVPCID, NPF } = ExitCode;
  expect([RDTSC, IOIO, VMRUN, RDPRU, INVPCID, NPF]).toEqual([0x6e, 0x7b, 0x80, 0x8e, 0xa2, 0x400]);
  expect(BigInt.asUintN(64, BigInt(ExitCode.INVALID))).toBe(0xffff_ffff_ffff_ffffn);
});

it.each([
  [0x00, 'CR0_READ'],
  [0x18, 'CR8_WRITE'],
  [0x27, 'DR7_READ'],
  [0x4e, 'EXCP14'],
  [0x78, 'HLT'],
  [0x94, 'CR4_WRITE_TRAP'],
  [-1, 'INVALID'],
  [0x3ff, '0x3ff'],
])('exit code %i is called %s', (code, name) => {
  expect(exitName(code)).toBe(name);
});

it('no two exit codes are the same', () => {
  const codes = Object.values(ExitCode);
  expect(new Set(codes).size).toBe(codes.length);
});
