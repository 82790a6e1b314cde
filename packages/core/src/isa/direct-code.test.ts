import { type DirectCode, Gpr } from '@polyvisor/plugin-api';
import { expect, it } from 'vitest';
import { DIRECT, Direct } from '../cpu/state.ts';
import { TestBench } from '../engine/testing/test-bench.ts';
import { Builder } from '../ir/builder.ts';
import { BuilderCode } from './direct-code.ts';

/** Puts port and size where they can be seen, and goes on behind the instruction. */
const show = (code: DirectCode) => {
  code.setRegister(Gpr.R8, code.toQuad(code.port()));
  code.setRegister(Gpr.R9, code.quad(BigInt(code.portBytes())));
  code.jump(code.nextRip());
};

it.each([
  { name: 'in al,0xf2', bytes: 'e4f2', port: 0xf2n, portBytes: 1n },
  { name: 'in eax,0xf2', bytes: 'e5f2', port: 0xf2n, portBytes: 4n },
  { name: 'in al,dx', bytes: 'ec', port: 0xfedcn, portBytes: 1n },
  { name: 'in ax,dx', bytes: '66ed', port: 0xfedcn, portBytes: 2n },
  { name: 'in eax,dx', bytes: 'ed', port: 0xfedcn, portBytes: 4n },
])('code before an IN knows its port and size: $name', ({ bytes, port, portBytes }) => {
  const bench = new TestBench({ ramBytes: 1 << 20, directCode: new Map([['in', show]]) });
  bench.memory.view.setInt32(bench.engine.base + DIRECT.offset, Direct.PLUGIN_CODE, true);
  bench.vcpu.gpr[Gpr.RDX] = 0x1234_5678_9abc_fedcn;
  bench.put(0x1000, `${bytes} f4`);
  expect(bench.run(0x1000n)).toMatchObject({ exit: 'hlt' });
  expect([bench.vcpu.gpr[Gpr.R8], bench.vcpu.gpr[Gpr.R9]]).toEqual([port, portBytes]);
});

it('has no port before another instruction', () => {
  expect(() => new BuilderCode(new Builder(), undefined).port()).toThrow('there is no IN');
});
