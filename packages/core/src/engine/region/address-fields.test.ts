import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decode } from '../../isa/decoder.ts';
import { evaluationRecord } from '../../isa/evaluation-record.ts';
import type { CpuMode } from '../../isa/modes.ts';
import { hex } from '../testing/test-bench.ts';
import { addressFields } from './address-fields.ts';

const KERNEL = 0xffffffff81234000n;
const KERNEL32 = 0xc1234000n;
const IN_PAGE = 0x100;

/** Fields of an instruction at 0x100 of a page. */
function fieldsOf(code: string | Uint8Array, pageBase = KERNEL, mode: CpuMode = 'long64') {
  const bytes = typeof code === 'string' ? hex(code) : code;
  const result = decode((i) => bytes[i] ?? -1, mode);
  if (!result.ok) throw new Error(`${code}: no instruction`);
  const { ripRelative, shape } = result.instruction;
  const { imm, disp } = evaluationRecord(BigInt(IN_PAGE), result.instruction);
  const branches = shape.operands.some((operand) => operand.kind === 'rel');
  return addressFields({ bytes, mode, pageBase, pageOffset: IN_PAGE, imm, disp, ripRelative, branches });
}
const at = (field: string, firstByte: number, sizeBytes = 4, direction = 1) => ({
  field,
  firstByte: IN_PAGE + firstByte,
  sizeBytes,
  direction,
});

describe('addresses in instructions that move with the code', () => {
  it.each([
    ['mov rdi, sym', '48c7c7 78563481', [at('imm', 3)]],
    ['mov edi, sym', 'bf 78563481', [at('imm', 1)]],
    ['movabs rdi, sym', '48bf 78563481ffffffff', [at('imm', 2, 8)]],
    ['mov rax, [sym+rdi*8]', '488b04fd 78563481', [at('disp', 4)]],
    ['movabs rax, [sym]', '48a1 78563481ffffffff', [at('disp', 2, 8)]],
    ['mov qword [sym], sym', '48c70425 78563481 80563481', [at('disp', 4), at('imm', 8)]],
    ['cmp byte [sym+rax], 7', '80b8 78563481 07', [at('disp', 2)]],
    ['mov rax, gs:[0x1000], counted from rip', '65488b05 f8cedc7e', [at('disp', 4, 4, -1)]],
    ['mov rax, [rip+0x100]', '488b05 00010000', []],
    ['mov rdi, 5', '48c7c7 05000000', []],
    ['mov rdi, -1', '48c7c7 ffffffff', []],
    ['mov rdi, far away', '48c7c7 78563491', []],
    ['mov rax, gs:[0x28]', '65488b042528000000', []],
    ['call', 'e8 78563481', []],
    ['pop [rsp+sym], counted from where rsp comes to be', '8f8424 78563481', []],
  ])('%s', (_name, code, fields) => {
    expect(fieldsOf(code)).toEqual(fields);
  });

  it('are in kernels of 32 bits too, and not below the middle of the address space', () => {
    expect(fieldsOf('b8 785634c1', KERNEL32, 'flat32')).toEqual([at('imm', 1)]);
    expect(fieldsOf('a1 785634c1', KERNEL32, 'flat32')).toEqual([at('disp', 1)]);
    expect(fieldsOf('b8 78563408', 0x8048000n, 'flat32')).toEqual([]);
    expect(fieldsOf('bf 78560000', 0x4000n)).toEqual([]);
    expect(fieldsOf('48c7c7 78563481', 0x401000n)).toEqual([]);
  });

  it('are the bits of the field and no others, for any instruction and place', () => {
    const code = fc.constantFrom(
      '48c7c7',
      'bf',
      '488b04fd',
      '80b8',
      '48c70425',
      '4881c0',
      '69c0',
      '0f84',
      '488d05',
      '8f8424',
    );
    fc.assert(
      fc.property(code, fc.uint8Array({ minLength: 10, maxLength: 10 }), fc.nat(1 << 26), (start, tail, near) => {
        const view = new DataView(tail.buffer);
        view.setUint32(0, Number(KERNEL & 0xffffffffn) + near - (1 << 25), true);
        const all = Uint8Array.from([...hex(start), ...tail]);
        const whole = decode((i) => all[i] ?? -1, 'long64');
        if (!whole.ok) return;
        const bytes = all.slice(0, whole.instruction.lengthBytes);
        for (const { field, firstByte, sizeBytes, direction } of fieldsOf(bytes)) {
          const before = recordOf(bytes);
          const moved = bytes.slice();
          const place = new DataView(moved.buffer);
          place.setInt32(firstByte - IN_PAGE, place.getInt32(firstByte - IN_PAGE, true) + 0x200000, true);
          const after = recordOf(moved);
          expect([sizeBytes, direction]).toEqual([4, field === 'disp' && start === '488d05' ? -1 : 1]);
          expect(after).toEqual({ ...before, [field]: before[field] + 0x200000n });
        }
      }),
    );
  });
});

function recordOf(bytes: Uint8Array) {
  const result = decode((i) => bytes[i] ?? -1, 'long64');
  if (!result.ok) throw new Error('no instruction');
  return evaluationRecord(BigInt(IN_PAGE), result.instruction);
}
