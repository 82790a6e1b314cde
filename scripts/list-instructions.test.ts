import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { instructionListMarkdown } from '../packages/core/src/isa/index.ts';

it('docs/instructions.md is what scripts/list-instructions.ts writes', () => {
  const written = readFileSync(join(import.meta.dirname, '..', 'docs', 'instructions.md'), 'utf8');
  expect(written === instructionListMarkdown(), 'run npx tsx scripts/list-instructions.ts').toBe(true);
});
