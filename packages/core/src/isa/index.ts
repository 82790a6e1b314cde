export { decode } from './decoder.ts';
export { encodings } from './encodings/index.ts';
export type { EncodingRow } from './encodings/row.ts';
export { enumerateShapes, shapesOfRow } from './enumerate.ts';
export { type InstructionLine, instructionLines, instructionListMarkdown } from './instruction-list.ts';
export * from './types.ts';
