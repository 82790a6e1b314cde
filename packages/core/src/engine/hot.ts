/**
 * Instructions whose handlers stand inline in the dispatch loop, most executed first: an example encoding
 * of each shape (64-bit mode). Measured with `scripts/measure-hot.ts`; it decides speed alone.
 */
export const HOT_INSTRUCTIONS: readonly string[] = [];
