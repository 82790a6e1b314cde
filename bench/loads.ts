/** What the bench measures, in the order of the table's rows. */
import { createHash } from 'node:crypto';

export interface Load {
  /** As it stands in the marker lines of loads/loads.sh and of the programs in guests/. */
  readonly name: string;
  readonly title: string;
  /** What the closing marker must say; a fast wrong answer is no answer. */
  readonly result: string;
  /** The option that brings its program; without the option it is not there. */
  readonly broughtBy?: '--coremark';
}

const hashedBytes = 8 << 20;

/** What `yes polyvisor | head -c 8388608` prints. */
function hashedText(): Buffer {
  return Buffer.alloc(hashedBytes, 'polyvisor\n');
}

/** Lines of `find -name '*7'` among file0 to file1499, six times. */
const foundFiles = 6 * 150;
/** Every seventh of 1,500 files, three times. */
const matchingFiles = 3 * 215;

/**
 * What CoreMark tells after 5,000 iterations: these, then the checksums of its seeds (0, 0, 0x66; 2,000 bytes), list, matrix
 * and state machine, which it knows itself, and of all iterations, which a real processor has computed.
 */
const coremarkResult = '5000:0xe9f5:0xe714:0x1fd7:0x8e3a:0xbd59';

export const loads: readonly Load[] = [
  { name: 'shell', title: 'to shell', result: 'ok' },
  { name: 'awk', title: 'awk loop', result: '44999850000' },
  { name: 'sha256', title: 'sha256 8 MB', result: createHash('sha256').update(hashedText()).digest('hex') },
  { name: 'forkexec', title: '200 × fork+exec (shell)', result: '200' },
  { name: 'dd', title: 'dd bs=1 × 100k', result: '100000+0' },
  { name: 'xorshift', title: 'xorshift loop', result: '1aaf2557171febe4' },
  { name: 'alu', title: 'ALU loop', result: 'b9d45857c3824bfc' },
  { name: 'mixed', title: 'list, matrix, states, CRC', result: '000000000000f3b9' },
  { name: 'coremark', title: 'CoreMark, 5,000 iterations', result: coremarkResult, broughtBy: '--coremark' },
  { name: 'lua', title: 'Lua script', result: '1616:86478:9519:11448' },
  { name: 'sqlite', title: 'sqlite in memory', result: '10286|51484032|91439|134938|5' },
  { name: 'gzip', title: 'gzip 20 MB', result: 'same' },
  { name: 'xz', title: 'xz -0 20 MB', result: 'same' },
  { name: 'tcc', title: '8 × tcc compile and link', result: '8:24-the-7-this' },
  { name: 'find', title: 'find, 6 × 1,500 files', result: `${foundFiles}` },
  { name: 'grep', title: 'grep -r, 3 × 1,500 files', result: `${matchingFiles}` },
  { name: 'null', title: '300k × getppid', result: '300000' },
  { name: 'fault', title: '50k page faults', result: '50000' },
  { name: 'map', title: '30k × mmap+munmap', result: '30000' },
  { name: 'pipe', title: '10k × pipe ping-pong', result: '10000' },
  { name: 'spawn', title: '400 × fork+exec', result: '400' },
  { name: 'k_alu', title: 'kernel: ALU mix', result: '9cbb73c3eb3d9adc' },
  { name: 'k_xorshift', title: 'kernel: xorshift', result: '5f43c72a30e4b142' },
  { name: 'k_copy', title: 'kernel: 8-byte copy', result: '672d223f18d4df80' },
  { name: 'k_sum', title: 'kernel: 8-byte sum', result: 'ee94dcd306c00000' },
  { name: 'k_histogram', title: 'kernel: byte histogram', result: '000000003c7825f8' },
  { name: 'k_sort', title: 'kernel: quicksort', result: '14768f1b8f56ef1e' },
  { name: 'k_bytecode', title: 'kernel: bytecode VM', result: '0000000000da9147' },
];

/**
 * Loads by name, separated by commas; a name that ends in `*` stands for all that begin so. Without names, all. Those whose program
 * is brought are among them if `brought` has their option.
 */
export function selectLoads(names: string | undefined, brought: readonly string[] = []): readonly Load[] {
  const available = loads.filter(({ broughtBy }) => broughtBy === undefined || brought.includes(broughtBy));
  if (names === undefined) return available;
  const chosen = names.split(',').flatMap((name) => {
    const matches = (load: Load) => (name.endsWith('*') ? load.name.startsWith(name.slice(0, -1)) : load.name === name);
    const found = available.filter(matches);
    if (found.length > 0) return found;
    const option = loads.find(matches)?.broughtBy;
    if (option)
      throw new Error(`--loads ${name}: give its program too, ${option} FILE (bench/README.md tells how to build it)`);
    throw new Error(`--loads ${name}: choose from ${available.map((load) => load.name).join(', ')}`);
  });
  return loads.filter((load) => chosen.includes(load));
}
