import { TooLarge } from './too-large.ts';

const FIRST_BYTES = 1 << 20;

/** Unpacks a bzip2 stream. Throws {@link TooLarge} for more than `limitBytes`. */
export async function unpackBzip2(bytes: Uint8Array, limitBytes: number): Promise<Uint8Array> {
  const { default: bzip } = await import('seek-bzip');
  let output = new Uint8Array(Math.min(FIRST_BYTES, limitBytes));
  let sizeBytes = 0;
  bzip.decode(bytes, {
    writeByte(byte) {
      if (sizeBytes === limitBytes) throw new TooLarge();
      if (sizeBytes === output.length) {
        const larger = new Uint8Array(Math.min(2 * output.length, limitBytes));
        larger.set(output);
        output = larger;
      }
      output[sizeBytes++] = byte;
    },
  });
  return output.subarray(0, sizeBytes);
}
