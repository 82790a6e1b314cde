/** What the bench measures: one row a load, in the order of the table's columns. */
import { createHash } from 'node:crypto';

export interface Load {
  /** As it stands in the marker lines of loads.sh and guests/integer. */
  readonly name: string;
  readonly title: string;
  /** What the closing marker must say; a fast wrong answer is no answer. */
  readonly result: string;
}

const hashedBytes = 8 << 20;

/** What `yes polyvisor | head -c 8388608` prints. */
function hashedText(): Buffer {
  return Buffer.alloc(hashedBytes, 'polyvisor\n');
}

export const loads: readonly Load[] = [
  { name: 'shell', title: 'to shell', result: 'ok' },
  { name: 'awk', title: 'awk loop', result: '44999850000' },
  { name: 'sha256', title: 'sha256 8 MB', result: createHash('sha256').update(hashedText()).digest('hex') },
  { name: 'forkexec', title: '200 × fork+exec', result: '200' },
  { name: 'dd', title: 'dd bs=1 × 100k', result: '100000+0' },
  { name: 'xorshift', title: 'xorshift loop', result: '1aaf2557171febe4' },
  { name: 'alu', title: 'ALU loop', result: 'b9d45857c3824bfc' },
];
