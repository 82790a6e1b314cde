import { describe, expect, it } from 'vitest';
import type { DirectPrograms } from '../ir/builder.ts';
import { MemoryKeeper } from './testing/memory-keeper.ts';
import { TestBench } from './testing/test-bench.ts';

/** Notes what is asked for by name. */
class NamingKeeper extends MemoryKeeper {
  readonly byName = new Map<string, Uint8Array>();
  override named(name: string, generate: () => Uint8Array): WebAssembly.Module {
    const bytes = generate();
    this.byName.set(name, bytes);
    return this.compile(bytes);
  }
}

// mov eax,5 ; add eax,7 ; bswap eax ; vmcall
const CODE = 'b805000000 83c007 0fc8 0f01c1';

describe('modules of handlers', () => {
  const run = (directCode: DirectPrograms, hot: readonly string[] = []) => {
    const codeKeeper = new NamingKeeper();
    const bench = new TestBench({ ramBytes: 1 << 20, codeKeeper, directCode, hot });
    bench.put(0x1000, CODE);
    expect(bench.run(0x1000n)).toMatchObject({ exit: 'vmcall' });
    expect(bench.vcpu.gpr[0]).toBe(0x0c000000n);
    return codeKeeper.byName;
  };
  const namesOf = (named: ReadonlyMap<string, Uint8Array>) => [...named.keys()].join('\n');

  it('are the same by the same name', () => {
    const [first, second] = [run(new Map()), run(new Map())];
    expect(first.size).toBeGreaterThan(1);
    expect(first).toEqual(second);
    expect(namesOf(first)).toMatch(/^interpreter/);
    expect(namesOf(first)).toContain('VMCALL');
    expect(namesOf(run(new Map(), ['0fc8']))).not.toBe(namesOf(first));
  });

  it('have no name if a plug-in has built some of their code', () => {
    const built: DirectPrograms = new Map([['hypercall', () => {}]]);
    expect(namesOf(run(built))).not.toContain('VMCALL');
    expect(namesOf(run(built))).toContain('BSWAP');
  });

  it('leave out of the loop what a plug-in has built code for: it is the same loop as without it', () => {
    const built: DirectPrograms = new Map([['hypercall', () => {}]]);
    const loop = (named: ReadonlyMap<string, Uint8Array>) =>
      [...named].filter(([name]) => name.startsWith('interpreter'));
    expect(loop(run(built, ['0fc8', '0f01c1', '83c007+0f01c1']))).toEqual(loop(run(new Map(), ['0fc8', '83c007'])));
    expect(loop(run(built, ['0fc8', '0f01c1']))).not.toEqual(loop(run(new Map(), ['0fc8', '0f01c1'])));
  });
});
