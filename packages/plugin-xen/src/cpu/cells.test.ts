import { FakeMachine } from '@polyvisor/testkit';
import { describe, expect, it } from 'vitest';
import { PV64 } from '../abi/model.ts';
import { createVcpu } from '../pvDomain.ts';
import { Cell, forgetSelectors, rememberSelectors, selectorPair } from './cells.ts';
import { KERNEL_CS, KERNEL_SS, USER_CS32 } from './segments.ts';

const user = { cs: { ...KERNEL_CS, selector: 0x33 }, ss: { ...KERNEL_SS, selector: 0x2b } };

describe('selectors that need no look at the GDT', () => {
  const vcpu = createVcpu(new FakeMachine().vcpus[0], PV64);
  const known = () => vcpu.cpu.directState.cells[2 * Cell.USER_SELECTORS];

  it('are those that have named the flat segments, until a descriptor changes', () => {
    rememberSelectors(vcpu, user.cs, user.ss);
    expect(known()).toBe(selectorPair(0x33, 0x2b));
    forgetSelectors(vcpu);
    expect(known()).toBe(0);
  });

  it.each([
    ['other rights', USER_CS32, user.ss],
    ['a limit', user.cs, { ...user.ss, limit: 0xfff }],
    ['the LDT', { ...user.cs, selector: 0x37 }, user.ss],
  ])('are not those with %s', (_what, code, stack) => {
    rememberSelectors(vcpu, user.cs, user.ss);
    rememberSelectors(vcpu, code, stack);
    expect(known()).toBe(0);
  });
});
