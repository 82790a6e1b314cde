import { describe, expect, it } from 'vitest';
import { VcpuInfo } from '../abi/sharedPages.ts';
import { EFAULT, EINVAL, ENOENT, ENOSPC, ENOSYS, ENXIO, EPERM, ESRCH } from '../errno.ts';
import { HypercallNumber } from '../hypercall/table.ts';
import { FakeDomain } from '../testing/fakeDomain.ts';

const ARGUMENT = 0x3000;
const PORTS = 0x3800;
const sched = (domain: FakeDomain, cmd: number) => domain.call(HypercallNumber.SCHED_OP, cmd, ARGUMENT);
const vcpuOp = (domain: FakeDomain, cmd: number, vcpu = 0) => domain.call(HypercallNumber.VCPU_OP, cmd, vcpu, ARGUMENT);

function bindIpi(domain: FakeDomain): number {
  domain.call(HypercallNumber.EVENT_CHANNEL_OP, 7, domain.put32(ARGUMENT, 0, 0));
  return domain.memory.read32(ARGUMENT + 4);
}
function send(domain: FakeDomain, port: number): void {
  expect(domain.callAs(1, HypercallNumber.EVENT_CHANNEL_OP, 4, domain.put32(ARGUMENT, port))).toBe(0n);
}

describe('sched_op', () => {
  it('block unmasks and waits until an event comes', () => {
    const domain = new FakeDomain();
    const port = bindIpi(domain);
    const [vcpu] = domain.vcpus;
    expect(sched(domain, 1)).toBe(0n);
    expect(vcpu.cpu.blocked).toBe(true);
    expect(domain.memory.read8(vcpu.vcpuInfoGpa + VcpuInfo.UPCALL_MASK)).toBe(0);
    send(domain, port);
    expect(vcpu.cpu.blocked).toBe(false);
    expect(sched(domain, 1)).toBe(0n);
    expect(vcpu.cpu.blocked).toBe(false);
  });

  it('poll waits for its port with upcalls masked, or for its time', () => {
    const domain = new FakeDomain();
    const [vcpu] = domain.vcpus;
    const port = bindIpi(domain);
    domain.memory.write8(vcpu.vcpuInfoGpa, 1);
    domain.put32(PORTS, port);
    domain.put64(ARGUMENT, PORTS, 1, 0);
    expect(sched(domain, 3)).toBe(0n);
    expect(vcpu.cpu.blocked).toBe(true);
    send(domain, port);
    expect(vcpu.cpu.blocked).toBe(false);
    domain.put64(ARGUMENT, PORTS, 1, 0);
    expect(sched(domain, 3)).toBe(0n);
    expect(vcpu.cpu.blocked).toBe(false);
    domain.put64(ARGUMENT, 0, 0, 5_000);
    expect(sched(domain, 3)).toBe(0n);
    expect(vcpu.cpu.blocked).toBe(true);
    domain.clock.advance(5_000);
    expect(vcpu.cpu.blocked).toBe(false);
  });

  it('poll refuses nonsense and leaves the vCPU running', () => {
    const domain = new FakeDomain();
    domain.put64(ARGUMENT, PORTS, 129, 0);
    expect(sched(domain, 3)).toBe(EINVAL);
    domain.put64(ARGUMENT, domain.memory.sizeBytes, 1, 0);
    expect(sched(domain, 3)).toBe(EFAULT);
    domain.put32(PORTS, 0xffff_ffff);
    domain.put64(ARGUMENT, PORTS, 1, 0);
    expect(sched(domain, 3)).toBe(EINVAL);
    expect(domain.vcpus[0].cpu.blocked).toBe(false);
  });

  it('shuts down by reason; a reason announced before wins', () => {
    const kinds = ['poweroff', 'reboot', 'suspend', 'crash', 'watchdog', 'softReset', 'crash'];
    kinds.forEach((kind, reason) => {
      const domain = new FakeDomain();
      domain.put32(ARGUMENT, reason);
      expect(sched(domain, 2)).toBe(0n);
      expect(domain.machine.ended?.kind).toBe(kind);
    });
    const domain = new FakeDomain();
    domain.put32(ARGUMENT, 1);
    expect(sched(domain, 5)).toBe(0n);
    expect(domain.machine.ended).toBeUndefined();
    domain.put32(ARGUMENT, 0);
    sched(domain, 2);
    expect(domain.machine.ended?.kind).toBe('reboot');
  });

  it('watchdogs are two, and bite when not fed', () => {
    const domain = new FakeDomain();
    domain.put32(ARGUMENT, 0, 5);
    expect(sched(domain, 6)).toBe(1n);
    expect(sched(domain, 6)).toBe(2n);
    expect(sched(domain, 6)).toBe(ENOSPC);
    domain.put32(ARGUMENT, 2, 0);
    expect(sched(domain, 6)).toBe(0n);
    domain.clock.advance(4e9);
    domain.put32(ARGUMENT, 1, 5);
    expect(sched(domain, 6)).toBe(0n);
    domain.clock.advance(4e9);
    expect(domain.machine.ended).toBeUndefined();
    domain.clock.advance(1e9);
    expect(domain.machine.ended).toEqual({ kind: 'watchdog' });
  });

  it('refuses as Xen does', () => {
    const domain = new FakeDomain();
    domain.put32(ARGUMENT, 9, 0);
    expect(sched(domain, 4)).toBe(ESRCH);
    domain.put32(ARGUMENT, 1, 0);
    expect(sched(domain, 4)).toBe(EPERM);
    expect(sched(domain, 7)).toBe(EPERM);
    expect(sched(domain, 99)).toBe(ENOSYS);
    expect(domain.call(HypercallNumber.SCHED_OP_COMPAT, 2, 0)).toBe(0n);
    expect(domain.machine.ended).toEqual({ kind: 'poweroff' });
  });
});

describe('vcpu_op', () => {
  it('knows which vCPUs there are and are up', () => {
    const domain = new FakeDomain();
    expect(vcpuOp(domain, 3, 0)).toBe(1n);
    expect(vcpuOp(domain, 3, 1)).toBe(0n);
    expect(vcpuOp(domain, 3, 2)).toBe(ENOENT);
    expect(vcpuOp(domain, 1, 1)).toBe(EINVAL);
    domain.vcpus[1].initialised = true;
    expect(vcpuOp(domain, 1, 1)).toBe(0n);
    expect(domain.vcpus[1].cpu.offline).toBe(false);
    expect(vcpuOp(domain, 2, 1)).toBe(0n);
    expect(domain.vcpus[1].cpu.offline).toBe(true);
    expect(vcpuOp(domain, 2, 0)).toBe(0n);
    expect(domain.machine.ended).toEqual({ kind: 'poweroff' });
  });

  it('moves vcpu_info once, everything pending in the new place', () => {
    const domain = new FakeDomain();
    const [vcpu] = domain.vcpus;
    domain.put64(ARGUMENT, 30, 4096 - 63);
    expect(vcpuOp(domain, 10)).toBe(ENXIO);
    domain.put64(ARGUMENT, 200, 128);
    expect(vcpuOp(domain, 10)).toBe(EINVAL);
    domain.put64(ARGUMENT, 30, 128);
    expect(vcpuOp(domain, 10)).toBe(0n);
    expect(vcpu.vcpuInfoGpa).toBe(30 * 4096 + 128);
    expect(domain.writable.get(30)).toBe(1);
    expect(domain.memory.read16(vcpu.vcpuInfoGpa)).toBe(0x0101);
    expect(domain.memory.read64(vcpu.vcpuInfoGpa + domain.shared.vcpuPendingSelector)).toBe(0xffff_ffff_ffff_ffffn);
    expect(domain.memory.read32(vcpu.vcpuInfoGpa + VcpuInfo.TIME + 24)).not.toBe(0);
    expect(vcpuOp(domain, 10)).toBe(EINVAL);
  });

  it('keeps runstate times that add up, in the registered area', () => {
    const domain = new FakeDomain();
    const area = 0x6000;
    domain.services.beforeEntry(domain.vcpus[0]);
    domain.put64(ARGUMENT, area);
    expect(vcpuOp(domain, 5)).toBe(0n);
    domain.clock.advance(1000);
    sched(domain, 1);
    domain.clock.advance(500);
    domain.call(HypercallNumber.EVENT_CHANNEL_OP, 7, domain.put32(ARGUMENT, 0, 0));
    send(domain, domain.memory.read32(ARGUMENT + 4));
    domain.services.beforeEntry(domain.vcpus[0]);
    expect(domain.memory.read32(area)).toBe(0);
    expect([0, 1, 2, 3].map((i) => domain.memory.read64(area + 16 + i * 8))).toEqual([1000n, 0n, 500n, 0n]);
    expect(domain.memory.read64(area + 8)).toBe(1500n);
  });

  it('wakes a waiting vCPU for an NMI', () => {
    const domain = new FakeDomain();
    sched(domain, 1);
    expect(domain.call(HypercallNumber.VCPU_OP, 11, 0, 0)).toBe(0n);
    expect(domain.vcpus[0].nmiPending).toBe(true);
    expect(domain.vcpus[0].cpu.blocked).toBe(false);
  });
});
