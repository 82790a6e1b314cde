import { fxsaveHelpers } from './fxsave.ts';
import { sseFloatHelpers } from './sse-float.ts';
import type { Helper } from './types.ts';

/** Helpers of SSE semantics, by the names that IR uses. */
export const sseHelpers: Record<string, Helper> = { ...fxsaveHelpers, ...sseFloatHelpers };
