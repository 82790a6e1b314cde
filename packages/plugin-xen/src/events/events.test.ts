import { describe, expect, it } from 'vitest';
import { VcpuInfo } from '../abi/sharedPages.ts';
import { EEXIST, EFAULT, EINVAL, ENOENT, ENOSYS, EOPNOTSUPP, EPERM, ESRCH } from '../errno.ts';
import { HypercallNumber } from '../hypercall/table.ts';
import { FakeDomain } from '../testing/fakeDomain.ts';

const ARGUMENT = 0x3000;
const Op = {
  BIND_INTERDOMAIN: 0,
  BIND_VIRQ: 1,
  BIND_PIRQ: 2,
  CLOSE: 3,
  SEND: 4,
  STATUS: 5,
  ALLOC_UNBOUND: 6,
  BIND_IPI: 7,
  BIND_VCPU: 8,
  UNMASK: 9,
  RESET: 10,
  INIT_CONTROL: 11,
  EXPAND_ARRAY: 12,
  SET_PRIORITY: 13,
} as const;
const SELF = 0x7ff0;

function op(domain: FakeDomain, cmd: number, ...words: number[]) {
  return domain.call(HypercallNumber.EVENT_CHANNEL_OP, cmd, domain.put32(ARGUMENT, ...words));
}
/** A loopback pair: [far end, near end]. */
function loopback(domain: FakeDomain): [number, number] {
  expect(op(domain, Op.ALLOC_UNBOUND, SELF | (SELF << 16))).toBe(0n);
  const far = domain.memory.read32(ARGUMENT + 4);
  expect(op(domain, Op.BIND_INTERDOMAIN, SELF, far)).toBe(0n);
  return [far, domain.memory.read32(ARGUMENT + 8)];
}
const pendingBit = (domain: FakeDomain, port: number) =>
  (domain.memory.read8(domain.sharedInfoGpa + domain.shared.eventsPending + (port >> 3)) >> (port & 7)) & 1;
const upcall = (domain: FakeDomain, vcpu = 0) => domain.memory.read8(domain.vcpus[vcpu].vcpuInfoGpa);

describe('2-level event channels', () => {
  it('gives the start-of-day rings ports 1 and 2, interdomain with the control domain', () => {
    const domain = new FakeDomain();
    expect(domain.services.allocateStartOfDayPorts()).toEqual({ storePort: 1, consolePort: 2 });
    expect(op(domain, Op.STATUS, SELF, 2)).toBe(0n);
    expect(domain.memory.read32(ARGUMENT + 8)).toBe(2);
    expect(domain.memory.read16(ARGUMENT + 16)).toBe(0);
  });

  it('raises pending, selector and upcall; the mask holds the upcall back', () => {
    const domain = new FakeDomain();
    const [far, near] = loopback(domain);
    expect(pendingBit(domain, near)).toBe(1);
    expect(op(domain, Op.SEND, near)).toBe(0n);
    expect(pendingBit(domain, far)).toBe(1);
    expect(domain.memory.read64(domain.vcpus[0].vcpuInfoGpa + domain.shared.vcpuPendingSelector)).toBe(1n);
    expect(upcall(domain)).toBe(1);
    expect(domain.services.upcallPending(domain.vcpus[0])).toBe(false);
    domain.memory.write8(domain.vcpus[0].vcpuInfoGpa + VcpuInfo.UPCALL_MASK, 0);
    expect(domain.services.upcallPending(domain.vcpus[0])).toBe(true);
  });

  it('delivers a masked port when it is unmasked', () => {
    const domain = new FakeDomain();
    expect(op(domain, Op.BIND_IPI, 0)).toBe(0n);
    const port = domain.memory.read32(ARGUMENT + 4);
    domain.memory.testAndSetBit(domain.sharedInfoGpa + domain.shared.eventsMask, port);
    expect(op(domain, Op.SEND, port)).toBe(0n);
    expect(upcall(domain)).toBe(0);
    expect(op(domain, Op.UNMASK, port)).toBe(0n);
    expect(upcall(domain)).toBe(1);
  });

  it('tells the vCPU a port is bound to', () => {
    const domain = new FakeDomain();
    const [far, near] = loopback(domain);
    expect(op(domain, Op.BIND_VCPU, far, 1)).toBe(0n);
    expect(op(domain, Op.SEND, near)).toBe(0n);
    expect(upcall(domain, 1)).toBe(1);
    expect(op(domain, Op.BIND_VCPU, far, 2)).toBe(ENOENT);
  });

  it('a closed end leaves the other unbound', () => {
    const domain = new FakeDomain();
    const [far, near] = loopback(domain);
    expect(op(domain, Op.CLOSE, near)).toBe(0n);
    expect(op(domain, Op.CLOSE, near)).toBe(EINVAL);
    expect(op(domain, Op.STATUS, SELF, far)).toBe(0n);
    expect(domain.memory.read32(ARGUMENT + 8)).toBe(1);
    expect(op(domain, Op.SEND, far)).toBe(0n);
  });

  it('refuses as Xen does', () => {
    const domain = new FakeDomain();
    expect(op(domain, Op.BIND_VIRQ, 24, 0)).toBe(EINVAL);
    expect(op(domain, Op.BIND_VIRQ, 3, 1)).toBe(EINVAL);
    expect(op(domain, Op.BIND_VIRQ, 0, 7)).toBe(ENOENT);
    expect(op(domain, Op.BIND_VIRQ, 0, 0)).toBe(0n);
    expect(op(domain, Op.SEND, domain.memory.read32(ARGUMENT + 8))).toBe(EINVAL);
    expect(op(domain, Op.BIND_VIRQ, 0, 0)).toBe(EEXIST);
    expect(op(domain, Op.BIND_PIRQ, 1, 0)).toBe(EPERM);
    expect(op(domain, Op.BIND_INTERDOMAIN, 5, 1)).toBe(ESRCH);
    expect(op(domain, Op.BIND_INTERDOMAIN, 0, 1)).toBe(EINVAL);
    expect(op(domain, Op.ALLOC_UNBOUND, 0)).toBe(EPERM);
    expect(op(domain, Op.EXPAND_ARRAY, 20, 0)).toBe(EOPNOTSUPP);
    expect(op(domain, Op.SET_PRIORITY, 1, 3)).toBe(ENOSYS);
    expect(op(domain, 99)).toBe(ENOSYS);
    expect(domain.call(HypercallNumber.EVENT_CHANNEL_OP, Op.SEND, domain.memory.sizeBytes)).toBe(EFAULT);
  });
});

describe('FIFO event channels', () => {
  const CONTROL_MFN = 20;
  const ARRAY_MFN = 21;
  const word = (domain: FakeDomain, port: number) => domain.memory.read32(ARRAY_MFN * 4096 + port * 4);
  const head = (domain: FakeDomain, priority: number) => domain.memory.read32(CONTROL_MFN * 4096 + 8 + priority * 4);
  const ready = (domain: FakeDomain) => domain.memory.read32(CONTROL_MFN * 4096);

  function fifo(): FakeDomain {
    const domain = new FakeDomain();
    expect(op(domain, Op.INIT_CONTROL, CONTROL_MFN, 0, 0, 0, 0, 0)).toBe(0n);
    expect(domain.memory.read8(ARGUMENT + 16)).toBe(17);
    expect(op(domain, Op.EXPAND_ARRAY, ARRAY_MFN, 0)).toBe(0n);
    return domain;
  }

  it('links ports into their queue in order', () => {
    const domain = fifo();
    const ports = [0, 1, 2].map(() => {
      expect(op(domain, Op.BIND_IPI, 0)).toBe(0n);
      return domain.memory.read32(ARGUMENT + 4);
    });
    for (const port of ports) expect(op(domain, Op.SEND, port)).toBe(0n);
    expect(head(domain, 7)).toBe(ports[0]);
    expect(word(domain, ports[0]) & 0x1ffff).toBe(ports[1]);
    expect(word(domain, ports[1]) & 0x1ffff).toBe(ports[2]);
    expect(word(domain, ports[2]) >>> 29).toBe(0b101);
    expect(ready(domain)).toBe(1 << 7);
    expect(upcall(domain)).toBe(1);
  });

  it('queues by priority, and holds masked ports back', () => {
    const domain = fifo();
    expect(op(domain, Op.BIND_IPI, 0)).toBe(0n);
    const port = domain.memory.read32(ARGUMENT + 4);
    expect(op(domain, Op.SET_PRIORITY, port, 2)).toBe(0n);
    expect(op(domain, Op.SET_PRIORITY, port, 16)).toBe(EINVAL);
    domain.memory.write32(ARRAY_MFN * 4096 + port * 4, 1 << 30);
    expect(op(domain, Op.SEND, port)).toBe(0n);
    expect(ready(domain)).toBe(0);
    expect(op(domain, Op.UNMASK, port)).toBe(0n);
    expect(ready(domain)).toBe(1 << 2);
    expect(head(domain, 2)).toBe(port);
  });

  it('carries over what was pending, and goes back on reset', () => {
    const domain = new FakeDomain();
    const [, near] = loopback(domain);
    expect(op(domain, Op.INIT_CONTROL, CONTROL_MFN, 0, 0, 0, 0, 0)).toBe(0n);
    expect(op(domain, Op.INIT_CONTROL, CONTROL_MFN, 0, 0, 0, 0, 0)).toBe(EINVAL);
    expect(op(domain, Op.EXPAND_ARRAY, ARRAY_MFN, 0)).toBe(0n);
    expect(word(domain, near) >>> 31).toBe(1);
    expect(op(domain, Op.RESET, SELF)).toBe(0n);
    expect(domain.writable.get(CONTROL_MFN)).toBe(0);
    expect(domain.writable.get(ARRAY_MFN)).toBe(0);
    expect(op(domain, Op.EXPAND_ARRAY, ARRAY_MFN, 0)).toBe(EOPNOTSUPP);
  });

  it('takes only frames of the guest, well aligned', () => {
    const domain = new FakeDomain();
    expect(op(domain, Op.INIT_CONTROL, 200, 0, 0, 0, 0, 0)).toBe(EINVAL);
    expect(op(domain, Op.INIT_CONTROL, CONTROL_MFN, 0xffff_ffff, 0, 0, 0, 0)).toBe(EINVAL);
    expect(op(domain, Op.INIT_CONTROL, CONTROL_MFN, 0, 4, 0, 0, 0)).toBe(EINVAL);
    expect(op(domain, Op.INIT_CONTROL, CONTROL_MFN, 0, 0, 9, 0, 0)).toBe(ENOENT);
  });
});
