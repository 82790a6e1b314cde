import { spawnSync } from 'node:child_process';
import { Reader, Writer } from '../bytes.ts';
import { type CpuImage, type ExpandedCase, MODES, type Outcome, type Patch } from '../case.ts';
import { REGIONS } from '../layout.ts';

/** The image's x87 and SSE state in FXSAVE's layout (SDM vol. 1, 10.5.1). */
function putFxsave(writer: Writer, image: CpuImage): void {
  const bytes = new Uint8Array(512);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, image.x87Control, true);
  view.setUint16(2, image.x87Status, true);
  bytes[4] = image.x87Tag;
  view.setUint32(24, image.mxcsr, true);
  view.setUint32(28, 0xffff, true);
  for (let i = 0; i < 8; i++) bytes.set(image.st.subarray(i * 10, i * 10 + 10), 32 + i * 16);
  bytes.set(image.xmm, 160);
  writer.bytes(bytes);
}

function takeFxsave(reader: Reader): Pick<CpuImage, 'x87Control' | 'x87Status' | 'x87Tag' | 'mxcsr' | 'st' | 'xmm'> {
  const bytes = reader.bytes(512);
  const view = new DataView(bytes.buffer);
  const st = new Uint8Array(80);
  for (let i = 0; i < 8; i++) st.set(bytes.subarray(32 + i * 16, 42 + i * 16), i * 10);
  return {
    x87Control: view.getUint16(0, true),
    x87Status: view.getUint16(2, true),
    x87Tag: bytes[4],
    mxcsr: view.getUint32(24, true),
    st,
    xmm: bytes.slice(160, 416),
  };
}

function putCase(writer: Writer, expanded: ExpandedCase): void {
  const { image, patches, input } = expanded;
  writer.u32(MODES.indexOf(input.mode));
  writer.u32(patches.length);
  writer.u64(image.rip);
  writer.u64(BigInt(image.rflags));
  for (const value of image.gpr) writer.u64(value);
  writer.u64(image.fsBase);
  writer.u64(image.gsBase);
  putFxsave(writer, image);
  for (const patch of patches) {
    writer.u64(BigInt(patch.address));
    writer.u32(patch.bytes.length);
    writer.u32(0);
    writer.bytes(patch.bytes);
  }
}

function takeOutcome(reader: Reader): Outcome {
  const vector = reader.u32();
  const errorCode = reader.u32();
  const cr2 = reader.u64();
  const rip = reader.u64();
  const rflags = Number(reader.u64());
  const gpr = Array.from({ length: 16 }, () => reader.u64());
  const fsBase = reader.u64();
  const gsBase = reader.u64();
  const image = { gpr, rip: vector === 3 ? rip - 1n : rip, rflags, fsBase, gsBase, ...takeFxsave(reader) };
  const changeCount = reader.u32();
  reader.u32();
  const changes: Patch[] = [];
  for (let i = 0; i < changeCount; i++) {
    const address = Number(reader.u64());
    const sizeBytes = reader.u32();
    reader.u32();
    changes.push({ address, bytes: reader.bytes(sizeBytes) });
  }
  return { vector, errorCode, cr2, image, changes };
}

const CASES_PER_PROCESS = 4000;

/** Run cases on this machine's processor. `program`: the built oracle. */
export function runOracle(program: string, cases: readonly ExpandedCase[]): Outcome[] {
  const outcomes: Outcome[] = [];
  for (let from = 0; from < cases.length; from += CASES_PER_PROCESS) {
    outcomes.push(...runBatch(program, cases.slice(from, from + CASES_PER_PROCESS)));
  }
  return outcomes;
}

function runBatch(program: string, cases: readonly ExpandedCase[]): Outcome[] {
  const writer = new Writer();
  writer.u32(REGIONS.length);
  writer.u32(cases.length);
  for (const region of REGIONS) {
    writer.u64(BigInt(region.address));
    writer.u32(region.bytes.length);
    writer.u32(region.rights);
    writer.bytes(region.bytes);
  }
  for (const one of cases) putCase(writer, one);
  const { status, signal, stdout, stderr } = spawnSync(program, { input: writer.view(), maxBuffer: 1 << 30 });
  if (status !== 0) throw new Error(`the oracle ended with ${signal ?? status}: ${stderr}`);
  const reader = new Reader(new Uint8Array(stdout.buffer, stdout.byteOffset, stdout.byteLength));
  if (reader.u32() !== 1) throw new Error('this kernel gives no LDT: FS and GS of compatibility mode have no bases');
  return cases.map(() => takeOutcome(reader));
}
