/**
 * Counts the address spaces that a running Linux kernel switches to, and how often it does:
 *
 *   npx vm run debian --plugin none --name guest
 *   npx vm ops load guest docs/examples/count-cr3.ts
 */
import type { OpContext, TypescriptOps } from '@polyvisor/plugin-api';

const EVERY = 1000;
let writes = 0;
const roots = new Map<bigint, number>();

/** `void write_cr3(unsigned long cr3)`; the switch itself is left to what the kernel had. */
function writeCr3(call: OpContext) {
  const root = call.arg(0) & ~0xfffn;
  roots.set(root, (roots.get(root) ?? 0) + 1);
  if (++writes % EVERY === 0) console.error(`count-cr3: ${writes} writes, ${roots.size} roots`);
  return 'previous' as const;
}

const module: TypescriptOps = {
  name: 'count-cr3',
  version: '1.0.0',
  api: '^1.2',
  guest: 'linux',
  ops: { 'mmu.write_cr3': writeCr3 },
};
export default module;
