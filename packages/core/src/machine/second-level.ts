import type { SecondLevelAccess } from '@polyvisor/plugin-api';

/** By the number in which a page walk asks: WalkAccess, TABLE_ACCESS, TABLE_WRITE_ACCESS. */
export const SECOND_LEVEL_ACCESSES: readonly SecondLevelAccess[] = ['read', 'write', 'execute', 'table', 'tableWrite'];

/**
 * Thrown where TypeScript accesses guest memory for an instruction or an event, and the second level of translation refuses: nothing has
 * been changed yet, as with any fault. What was refused is in the vCPU.
 */
export class SecondLevelRefusal extends Error {}
