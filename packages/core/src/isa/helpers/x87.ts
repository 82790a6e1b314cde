import type { Helper } from './types.ts';

/** Helpers of x87 semantics, by the names that IR uses. */
export const x87Helpers: Record<string, Helper> = {};
