import { Decoder, Formatter, FormatterSyntax, Instruction } from 'iced-x86';

/** Bytes in hexadecimal as instructions at an address, a line each: bytes and text in Intel's syntax. */
export function disassemble(hex: string, bits: 32 | 64, address: bigint): string[] {
  const bytes = Buffer.from(hex, 'hex');
  const decoder = new Decoder(bits, bytes, 0);
  const formatter = new Formatter(FormatterSyntax.Intel);
  const instruction = new Instruction();
  const lines: string[] = [];
  try {
    decoder.ip = address;
    while (decoder.canDecode) {
      const at = decoder.position;
      decoder.decodeOut(instruction);
      const own = bytes.toString('hex', at, decoder.position).replace(/..(?=.)/g, '$& ');
      lines.push(`${own.padEnd(24)} ${formatter.format(instruction)}`);
    }
    return lines;
  } finally {
    // They are memory of a WebAssembly module, which nobody else frees.
    for (const each of [instruction, formatter, decoder]) each.free();
  }
}
