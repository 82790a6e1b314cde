import { type DirectCode, Gpr } from '@polyvisor/plugin-api';
import type { XenDomain, XenVcpu } from '../domain.ts';
import { Cell } from './cells.ts';
import { kernelIoplOk } from './io.ts';

/** CPL of a PV32 guest's kernel; that of a PV64 guest runs at its user mode's. */
const RING_1 = 1;

/**
 * IN of a guest's kernel, as {@link onIo}: ones. Linux looks for an interval timer with 100,000 of them before it knows that it has none.
 */
export function buildInput(code: DirectCode): void {
  const inKernel = code.or(code.equal(code.level(), code.word(RING_1)), code.lowWord(code.cell(Cell.KERNEL_MODE)));
  code.when(code.and(inKernel, code.lowWord(code.cell(Cell.READS_PORTS))), () => {
    const bytes = code.portBytes();
    const ones = code.quad((1n << BigInt(bytes * 8)) - 1n);
    code.setRegister(Gpr.RAX, bytes === 4 ? ones : code.or(code.register(Gpr.RAX), ones));
    code.jump(code.nextRip());
  });
}

/** Before guest code is entered. */
export function updatePorts(domain: XenDomain, vcpu: XenVcpu): void {
  vcpu.cpu.directState.cells[2 * Cell.READS_PORTS] = kernelIoplOk(domain, vcpu) ? 1 : 0;
}
