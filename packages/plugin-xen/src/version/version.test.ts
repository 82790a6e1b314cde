import { describe, expect, it } from 'vitest';
import { EFAULT, EINVAL, ENOSYS, EPERM } from '../errno.ts';
import { HypercallNumber } from '../hypercall/table.ts';
import { FakeDomain } from '../testing/fakeDomain.ts';

const BUFFER = 0x3000;
const version = (domain: FakeDomain, cmd: number, pointer = BUFFER) =>
  domain.call(HypercallNumber.XEN_VERSION, cmd, pointer);
function text(domain: FakeDomain): string {
  return new TextDecoder().decode(domain.memory.readBytes(BUFFER, 64)).split('\0')[0];
}

describe('xen_version', () => {
  it('says what it is', () => {
    const domain = new FakeDomain();
    expect(version(domain, 1)).toBe(0n);
    expect(text(domain)).toBe('.0-polyvisor');
    expect(version(domain, 3)).toBe(0n);
    expect(text(domain)).toContain('xen-3.0-x86_64');
    expect(version(domain, 4)).toBe(0n);
    expect(text(domain)).toBe('<denied>');
    expect(version(domain, 5)).toBe(0n);
    expect(domain.memory.read64(BUFFER)).toBe(0xffff_8000_0000_0000n);
    expect(version(domain, 7, 0)).toBe(4096n);
    expect(version(domain, 10)).toBe(EPERM);
    expect(version(domain, 50)).toBe(ENOSYS);
  });

  it('offers features in submap 0 only', () => {
    const domain = new FakeDomain();
    domain.put32(BUFFER, 0, 0);
    expect(version(domain, 6)).toBe(0n);
    const before = domain.memory.read32(BUFFER + 4);
    expect(before & (1 << 5)).not.toBe(0);
    expect(before & 1).toBe(0);
    domain.vmAssist = 1 << 3;
    version(domain, 6);
    expect(domain.memory.read32(BUFFER + 4)).toBe(before | (1 << 4));
    domain.put32(BUFFER, 1, 0);
    expect(version(domain, 6)).toBe(EINVAL);
  });

  it('refuses bad pointers', () => {
    const domain = new FakeDomain();
    for (const cmd of [1, 2, 3, 4, 5, 6, 8, 9]) expect(version(domain, cmd, domain.memory.sizeBytes)).toBe(EFAULT);
  });
});
