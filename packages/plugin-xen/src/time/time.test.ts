import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VcpuInfo } from '../abi/sharedPages.ts';
import { EINVAL, ETIME } from '../errno.ts';
import { HypercallNumber } from '../hypercall/table.ts';
import { FakeDomain } from '../testing/fakeDomain.ts';
import { pvclockScale, scaleTicks } from './pvclock.ts';

const ARGUMENT = 0x3000;
const AREA = 0x5000;
const BIND_VIRQ = 1;

function bindTimer(domain: FakeDomain): number {
  domain.call(HypercallNumber.EVENT_CHANNEL_OP, BIND_VIRQ, domain.put32(ARGUMENT, 0, 0, 0));
  return domain.memory.read32(ARGUMENT + 8);
}
function takePending(domain: FakeDomain, port: number): boolean {
  return domain.memory.testAndClearBit(domain.sharedInfoGpa + domain.shared.eventsPending, port);
}
const vcpuOp = (domain: FakeDomain, cmd: number, vcpu = 0) => domain.call(HypercallNumber.VCPU_OP, cmd, vcpu, ARGUMENT);

/** System time as a guest computes it from a vcpu_time_info at `gpa`. */
function guestTime(domain: FakeDomain, gpa: number): bigint {
  const { memory, clock } = domain;
  expect(memory.read32(gpa) & 1).toBe(0);
  const scale = { multiplier: memory.read32(gpa + 24), shift: (memory.read8(gpa + 28) << 24) >> 24 };
  return memory.read64(gpa + 16) + scaleTicks(clock.tsc() - memory.read64(gpa + 8), scale);
}

describe('pvclock', () => {
  it('is exact to a part in 2^31 for any counter frequency', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1_000, max: 20_000_000_000 }), (hz) => {
        const scale = pvclockScale(hz);
        expect(scale.multiplier).toBeGreaterThanOrEqual(2 ** 31);
        expect(scale.multiplier).toBeLessThan(2 ** 32);
        const error = Math.abs(Number(scaleTicks(BigInt(hz) * 1000n, scale)) - 1e12);
        expect(error).toBeLessThanOrEqual(1e12 / 2 ** 31 + 1e6 / Math.min(hz, 1e6) + 1);
      }),
      { seed: 1 },
    );
  });

  it('gives guests the clock’s time, in vcpu_info and in a registered area, and never steps back', () => {
    const domain = new FakeDomain();
    const info = domain.vcpus[0].vcpuInfoGpa + VcpuInfo.TIME;
    domain.put64(ARGUMENT, AREA);
    expect(vcpuOp(domain, 13)).toBe(0n);
    let last = 0n;
    for (let i = 0; i < 8; i++) {
      domain.clock.advance(333_333_333);
      domain.services.beforeEntry(domain.vcpus[0]);
      const now = guestTime(domain, info);
      expect(guestTime(domain, AREA)).toBe(now);
      expect(Math.abs(Number(now) - domain.clock.nowNs())).toBeLessThan(3);
      expect(now).toBeGreaterThan(last);
      last = now;
    }
    expect(domain.memory.read32(info)).toBeGreaterThan(2);
  });

  it('sets the wall clock', () => {
    const domain = new FakeDomain();
    expect(domain.memory.read32(domain.sharedInfoGpa + domain.shared.wallclockSeconds)).toBe(1_704_067_200);
    expect(domain.memory.read32(domain.sharedInfoGpa + domain.shared.wallclockVersion) & 1).toBe(0);
  });
});

describe('timers', () => {
  it('set_timer_op fires once at its time, 0 stops it', () => {
    const domain = new FakeDomain();
    const port = bindTimer(domain);
    expect(domain.call(HypercallNumber.SET_TIMER_OP, 5_000n)).toBe(0n);
    domain.clock.advance(4_999);
    expect(takePending(domain, port)).toBe(false);
    domain.clock.advance(1);
    expect(takePending(domain, port)).toBe(true);
    domain.call(HypercallNumber.SET_TIMER_OP, 10_000n);
    domain.call(HypercallNumber.SET_TIMER_OP, 0n);
    domain.clock.advance(1_000_000);
    expect(takePending(domain, port)).toBe(false);
  });

  it('takes a wrapped deadline as 100 ms', () => {
    const domain = new FakeDomain();
    const port = bindTimer(domain);
    domain.call(HypercallNumber.SET_TIMER_OP, -1n);
    domain.clock.advance(99_999_999);
    expect(takePending(domain, port)).toBe(false);
    domain.clock.advance(1);
    expect(takePending(domain, port)).toBe(true);
  });

  it('singleshot: at once when late, -ETIME when asked to be ahead', () => {
    const domain = new FakeDomain();
    const port = bindTimer(domain);
    domain.clock.advance(1000);
    domain.put64(ARGUMENT, 10, 0);
    expect(vcpuOp(domain, 8)).toBe(0n);
    expect(takePending(domain, port)).toBe(true);
    domain.put64(ARGUMENT, 10, 1);
    expect(vcpuOp(domain, 8)).toBe(ETIME);
    expect(vcpuOp(domain, 8, 1)).toBe(EINVAL);
  });

  it('periodic: only while the vCPU runs, until stopped', () => {
    const domain = new FakeDomain();
    const port = bindTimer(domain);
    domain.put64(ARGUMENT, 999_999);
    expect(vcpuOp(domain, 6)).toBe(EINVAL);
    domain.put64(ARGUMENT, 1_000_000);
    expect(vcpuOp(domain, 6)).toBe(0n);
    domain.services.beforeEntry(domain.vcpus[0]);
    domain.clock.advance(1_000_000);
    domain.services.beforeEntry(domain.vcpus[0]);
    expect(takePending(domain, port)).toBe(true);
    expect(vcpuOp(domain, 7)).toBe(0n);
    domain.clock.advance(5_000_000);
    domain.services.beforeEntry(domain.vcpus[0]);
    expect(takePending(domain, port)).toBe(false);
    expect(domain.clock.pending).toBe(0);
  });
});
