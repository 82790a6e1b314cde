import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** State before or after an instruction: RAX, 128 bytes of memory at RDI, and a 512-byte FXSAVE64 image. */
export interface FpuState {
  rax: bigint;
  memory: Uint8Array;
  image: Uint8Array;
}
export interface FpuAnswer extends FpuState {
  rflags: bigint;
  /** Signal number, 0 if the instruction completed. */
  signal: number;
}
export interface FpuRequest extends FpuState {
  code: readonly number[];
}

const REQUEST_BYTES = 16 + 8 + 128 + 512;
const ANSWER_BYTES = 24 + 128 + 512;

let built: string | undefined;

/** Why the host cannot answer, or undefined. */
export function hostRefusal(): string | undefined {
  if (process.arch !== 'x64') return 'the host is not x86-64';
  return spawnSync('gcc', ['--version']).status === 0 ? undefined : 'there is no gcc';
}

function program(): string {
  if (built) return built;
  const path = join(mkdtempSync(join(tmpdir(), 'fpu-host-')), 'fpu-host');
  execFileSync('gcc', ['-O1', '-mno-red-zone', '-o', path, fileURLToPath(new URL('./fpu-host.c', import.meta.url))]);
  built = path;
  return path;
}

/** Run each request on its own. */
export function runOnHost(requests: readonly FpuRequest[]): FpuAnswer[] {
  const input = Buffer.alloc(requests.length * REQUEST_BYTES);
  requests.forEach((request, i) => {
    const at = i * REQUEST_BYTES;
    input[at] = request.code.length;
    input.set(request.code, at + 1);
    input.writeBigUInt64LE(BigInt.asUintN(64, request.rax), at + 16);
    input.set(request.memory, at + 24);
    input.set(request.image, at + 152);
  });
  const output = execFileSync(program(), { input, maxBuffer: requests.length * ANSWER_BYTES + 4096 });
  return requests.map((_, i) => {
    const at = i * ANSWER_BYTES;
    return {
      rax: output.readBigUInt64LE(at),
      rflags: output.readBigUInt64LE(at + 8),
      signal: Number(output.readBigUInt64LE(at + 16)),
      memory: Uint8Array.from(output.subarray(at + 24, at + 152)),
      image: Uint8Array.from(output.subarray(at + 152, at + ANSWER_BYTES)),
    };
  });
}
