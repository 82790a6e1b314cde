import { describe, expect, it } from 'vitest';
import { E2BIG, EFAULT, EINVAL, ENOSYS, EPERM } from '../errno.ts';
import { FakeDomain } from '../testing/fakeDomain.ts';
import { HypercallNumber } from './table.ts';

const ARGUMENT = 0x2000;

describe('dispatchHypercall', () => {
  it('counts and traces by name', () => {
    const domain = new FakeDomain();
    expect(domain.call(HypercallNumber.XEN_VERSION, 0)).toBe((4n << 16n) | 17n);
    expect(domain.host.counters.get('hypercall.xen_version')).toBe(1);
    const traced = domain.host.traced.filter(({ channel }) => channel === 'hypercalls');
    expect(traced[0].event).toMatchObject({ name: 'xen_version', result: '262161' });
  });

  it('answers -ENOSYS for what nobody knows', () => {
    const domain = new FakeDomain();
    for (const number of [11, 43, 1000, -1, Number.NaN]) expect(domain.call(number)).toBe(ENOSYS);
    expect(domain.host.counters.get('hypercall.unknown')).toBe(5);
  });

  it('answers -ENOSYS and counts for a known call without a handler', () => {
    const domain = new FakeDomain();
    expect(domain.call(1)).toBe(ENOSYS);
    expect(domain.host.counters.get('hypercall.notimpl.mmu_update')).toBe(1);
  });

  it('refuses what is the control domain’s, by operation', () => {
    const domain = new FakeDomain();
    expect(domain.call(HypercallNumber.PLATFORM_OP, 17)).toBe(EPERM);
    expect(domain.call(HypercallNumber.DOMCTL, 0)).toBe(EPERM);
    expect(domain.host.counters.get('hypercall.notimpl.platform_op.17')).toBe(1);
  });
});

describe('multicall', () => {
  const entry = (domain: FakeDomain, index: number, op: number, ...args: number[]) =>
    domain.put64(ARGUMENT + index * 64, op, 0xdead, ...args);

  it('runs entries in order and stores each result', () => {
    const domain = new FakeDomain();
    entry(domain, 0, HypercallNumber.XEN_VERSION, 0);
    entry(domain, 1, 999);
    entry(domain, 2, HypercallNumber.XEN_VERSION, 7);
    expect(domain.call(HypercallNumber.MULTICALL, ARGUMENT, 3)).toBe(0n);
    expect(domain.memory.read64(ARGUMENT + 8)).toBe((4n << 16n) | 17n);
    expect(BigInt.asIntN(64, domain.memory.read64(ARGUMENT + 64 + 8))).toBe(ENOSYS);
    expect(domain.memory.read64(ARGUMENT + 128 + 8)).toBe(4096n);
  });

  it('does not nest', () => {
    const domain = new FakeDomain();
    entry(domain, 0, HypercallNumber.MULTICALL, ARGUMENT, 1);
    expect(domain.call(HypercallNumber.MULTICALL, ARGUMENT, 1)).toBe(0n);
    expect(BigInt.asIntN(64, domain.memory.read64(ARGUMENT + 8))).toBe(EINVAL);
  });

  it('stops at memory that is not there, and refuses endless lists', () => {
    const domain = new FakeDomain();
    expect(domain.call(HypercallNumber.MULTICALL, domain.memory.sizeBytes - 8, 1)).toBe(EFAULT);
    expect(domain.call(HypercallNumber.MULTICALL, ARGUMENT, 0xffff_ffff)).toBe(E2BIG);
  });
});
