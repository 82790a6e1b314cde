import { expect, it } from 'vitest';
import { type CodeSize, instructionInformation } from './instruction-information.ts';

const LONG: CodeSize = { isLong: true, addressBits: 64 };
const [CODE32, CODE16] = [32, 16].map(
  (addressBits): CodeSize => ({ isLong: false, addressBits: addressBits as 16 | 32 }),
);
const NEXT_RIP = 0x1_0000n;
const bytes = (text: string) => Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
const NO = { BASE: 1 << 27, INDEX: 1 << 22 };
const base = (register: number) => register << 23;
const index = (register: number) => register << 18;
const segment = (register: number) => register << 15;
const size = (code: 0 | 1 | 2) => code << 7;
const [SS, DS, FS] = [2, 3, 4];

it.each<[what: string, code: string, size: CodeSize, information: number, displacement: bigint]>([
  ['vmptrld [rax]', '0fc730', LONG, (6 << 28) | base(0) | NO.INDEX | segment(DS) | size(2), 0n],
  ['vmptrld [rsp+8]', '0fc7742408', LONG, (6 << 28) | base(4) | NO.INDEX | segment(SS) | size(2), 8n],
  ['vmptrld [rbp-1]', '0fc775ff', LONG, (6 << 28) | base(5) | NO.INDEX | segment(SS) | size(2), (1n << 64n) - 1n],
  [
    'vmptrld [r13+r14*8+0x100]',
    '430fc7b4f500010000',
    LONG,
    (6 << 28) | base(13) | index(14) | segment(DS) | size(2) | 3,
    0x100n,
  ],
  [
    'vmptrld [rip+0x10]',
    '0fc73510000000',
    LONG,
    (6 << 28) | NO.BASE | NO.INDEX | segment(DS) | size(2),
    NEXT_RIP + 0x10n,
  ],
  ['vmptrld [0x1000]', '0fc7342500100000', LONG, (6 << 28) | NO.BASE | NO.INDEX | segment(DS) | size(2), 0x1000n],
  ['vmxon fs:[eax]', '6467f30fc730', LONG, (6 << 28) | base(0) | NO.INDEX | segment(FS) | size(1), 0n],
  ['vmread rcx, rbx', '0f78d9', LONG, (3 << 28) | (1 << 3) | (1 << 10), 0n],
  ['vmread r9, r10', '450f78d1', LONG, (10 << 28) | (9 << 3) | (1 << 10), 0n],
  ['invept rcx, [rdx]', '660f38800a', LONG, (1 << 28) | base(2) | NO.INDEX | segment(DS) | size(2), 0n],
  ['vmptrld [ebx+esi]', '0fc73433', CODE32, (6 << 28) | base(3) | index(6) | segment(DS) | size(1), 0n],
  ['vmptrld [bp+di+4]', '0fc77304', CODE16, (6 << 28) | base(5) | index(7) | segment(SS) | size(0), 4n],
  ['vmptrld [0x1234]', '0fc7363412', CODE16, (6 << 28) | NO.BASE | NO.INDEX | segment(DS) | size(0), 0x1234n],
])('of %s', (_what, code, codeSize, information, displacement) => {
  expect(instructionInformation(bytes(code), codeSize, NEXT_RIP)).toEqual({
    information: information >>> 0,
    displacement,
  });
});
