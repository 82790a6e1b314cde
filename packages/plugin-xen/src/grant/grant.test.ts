import { describe, expect, it } from 'vitest';
import { EBUSY, EFAULT, EINVAL, ENOSYS } from '../errno.ts';
import { HypercallNumber } from '../hypercall/table.ts';
import { CONSOLE_MFN, FakeDomain, STORE_MFN } from '../testing/fakeDomain.ts';
import { GrantStatus } from './status.ts';

const ARGUMENT = 0x3000;
const LIST = 0x4000;
const SELF = 0x7ff0;
const grant = (domain: FakeDomain, cmd: number, count = 1) =>
  domain.call(HypercallNumber.GRANT_TABLE_OP, cmd, ARGUMENT, count);
const status16 = (domain: FakeDomain, gpa: number) => (domain.memory.read16(gpa) << 16) >> 16;

function setup(domain: FakeDomain, frames: number, domid = SELF): number {
  domain.put32(ARGUMENT, domid, frames, 0, 0, LIST, 0);
  expect(grant(domain, 2)).toBe(0n);
  return status16(domain, ARGUMENT + 8);
}
function setVersion(domain: FakeDomain, version: number) {
  domain.put32(ARGUMENT, version);
  return grant(domain, 8);
}

describe('grant_table_op', () => {
  it('hands out shared frames with the rings’ grants in the first', () => {
    const domain = new FakeDomain();
    expect(setup(domain, 3)).toBe(GrantStatus.OKAY);
    const frames = [0, 1, 2].map((i) => Number(domain.memory.read64(LIST + i * 8)));
    expect(new Set(frames).size).toBe(3);
    for (const mfn of frames) expect(domain.sharedFrames.has(mfn)).toBe(true);
    expect(domain.memory.read32(frames[0] * 4096)).toBe(1);
    expect(domain.memory.read32(frames[0] * 4096 + 4)).toBe(CONSOLE_MFN);
    expect(domain.memory.read32(frames[0] * 4096 + 12)).toBe(STORE_MFN);
    domain.put32(ARGUMENT, SELF, 0, 0, 0);
    expect(grant(domain, 6)).toBe(0n);
    expect([domain.memory.read32(ARGUMENT + 4), domain.memory.read32(ARGUMENT + 8)]).toEqual([3, 64]);
  });

  it('has limits, and no other domain’s table', () => {
    const domain = new FakeDomain();
    expect(setup(domain, 65)).toBe(GrantStatus.GENERAL_ERROR);
    expect(setup(domain, 0xffff_ffff)).toBe(GrantStatus.GENERAL_ERROR);
    expect(setup(domain, 1, 0)).toBe(GrantStatus.PERMISSION_DENIED);
    expect(setup(domain, 1, 7)).toBe(GrantStatus.BAD_DOMAIN);
    domain.put32(ARGUMENT, SELF, 1, 0, 0, domain.memory.sizeBytes, 0);
    expect(grant(domain, 2)).toBe(0n);
    expect(status16(domain, ARGUMENT + 8)).toBe(GrantStatus.BAD_VIRT_ADDR);
    expect(grant(domain, 2, 2)).toBe(EINVAL);
    expect(grant(domain, 3)).toBe(ENOSYS);
    expect(grant(domain, 6, -1)).toBe(EINVAL);
    expect(domain.call(HypercallNumber.GRANT_TABLE_OP, 0, domain.memory.sizeBytes, 1)).toBe(EFAULT);
  });

  it('changes version and back, keeping the reserved grants only', () => {
    const domain = new FakeDomain();
    setup(domain, 1);
    const frame = Number(domain.memory.read64(LIST)) * 4096;
    domain.memory.write32(frame + 9 * 8, 0xffff_ffff);
    expect(setVersion(domain, 2)).toBe(0n);
    expect(domain.memory.read64(frame + 8)).toBe(BigInt(CONSOLE_MFN));
    expect(domain.memory.read32(frame + 9 * 8)).toBe(0);
    domain.put32(ARGUMENT, 1, SELF, LIST, 0);
    expect(grant(domain, 9)).toBe(0n);
    expect(status16(domain, ARGUMENT + 6)).toBe(GrantStatus.OKAY);
    expect(domain.sharedFrames.has(Number(domain.memory.read64(LIST)))).toBe(true);
    const status = Number(domain.memory.read64(LIST));
    domain.mappedFrames.add(status);
    expect(setVersion(domain, 1)).toBe(EBUSY);
    expect(domain.sharedFrames.has(status)).toBe(true);
    domain.mappedFrames.clear();
    expect(setVersion(domain, 1)).toBe(0n);
    expect(domain.sharedFrames.has(status)).toBe(false);
    expect(domain.memory.read32(frame + 4)).toBe(CONSOLE_MFN);
    expect(setVersion(domain, 3)).toBe(EINVAL);
    expect(domain.memory.read32(ARGUMENT)).toBe(1);
  });

  it('copies between the guest’s own frames and own grants', () => {
    const domain = new FakeDomain();
    setup(domain, 1);
    const frame = Number(domain.memory.read64(LIST)) * 4096;
    domain.put32(frame + 8 * 8, (1 << 16) | 1, 41);
    domain.memory.write32(40 * 4096 + 16, 0x1234_5678);
    // From frame 40 at 16 to reference 8 at 100, 4 bytes.
    domain.put64(ARGUMENT, 40, SELF | (16 << 16), 8, 1 | (100 << 16), 4 | (2 << 16));
    expect(grant(domain, 5)).toBe(0n);
    expect(status16(domain, ARGUMENT + 36)).toBe(GrantStatus.OKAY);
    expect(domain.memory.read32(41 * 4096 + 100)).toBe(0x1234_5678);
    expect(domain.writable.get(41)).toBe(0);
    domain.put64(ARGUMENT, 40, SELF | (4095 << 16), 8, 1, 4 | (2 << 16));
    expect(grant(domain, 5)).toBe(0n);
    expect(status16(domain, ARGUMENT + 36)).toBe(GrantStatus.BAD_COPY_ARG);
    domain.put64(ARGUMENT, 200, SELF, 8, 1, 4 | (2 << 16));
    grant(domain, 5);
    expect(status16(domain, ARGUMENT + 36)).toBe(GrantStatus.BAD_PAGE);
  });

  it('has nothing foreign to map', () => {
    const domain = new FakeDomain();
    domain.put32(ARGUMENT, 0x5000, 0, 2, 8, 0);
    expect(grant(domain, 0)).toBe(0n);
    expect(status16(domain, ARGUMENT + 18)).toBe(GrantStatus.GENERAL_ERROR);
    domain.put32(ARGUMENT, 0x5000, 0, 2, 512, 0);
    grant(domain, 0);
    expect(status16(domain, ARGUMENT + 18)).toBe(GrantStatus.BAD_GNTREF);
    domain.put32(ARGUMENT, 0x5000, 0, 2, 8, 3);
    grant(domain, 0);
    expect(status16(domain, ARGUMENT + 18)).toBe(GrantStatus.BAD_DOMAIN);
    expect(grant(domain, 1)).toBe(0n);
    expect(status16(domain, ARGUMENT + 20)).toBe(GrantStatus.BAD_HANDLE);
  });
});
