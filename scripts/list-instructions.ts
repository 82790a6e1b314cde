// Write docs/instructions.md from the encodings table: npx tsx scripts/list-instructions.ts
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { instructionListMarkdown } from '../packages/core/src/isa/index.ts';

writeFileSync(join(import.meta.dirname, '..', 'docs', 'instructions.md'), instructionListMarkdown());
