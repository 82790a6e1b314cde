import { helpers as divisionHelpers } from './division.ts';
import { sseHelpers } from './sse.ts';
import type { Helper } from './types.ts';
import { x87Helpers } from './x87.ts';

export type { Helper } from './types.ts';

/** Every part of an instruction that is done in TypeScript, by the name that the IR calls it. */
export const helpers: Readonly<Record<string, Helper>> = { ...divisionHelpers, ...sseHelpers, ...x87Helpers };
