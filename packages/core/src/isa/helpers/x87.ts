import type { Helper } from './types.ts';
import { x87EnvironmentHelpers } from './x87-environment.ts';
import { x87OperateHelpers } from './x87-operate.ts';
import { x87TranscendentalHelpers } from './x87-transcendental.ts';
import { x87TransferHelpers } from './x87-transfer.ts';

/** Helpers of x87 semantics, by the names that IR uses. */
export const x87Helpers: Record<string, Helper> = {
  ...x87OperateHelpers,
  ...x87TransferHelpers,
  ...x87EnvironmentHelpers,
  ...x87TranscendentalHelpers,
};
