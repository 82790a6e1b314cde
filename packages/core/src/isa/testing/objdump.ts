import type { EncodingRow } from '../encodings/row.ts';
import type { DecodeResult } from '../types.ts';

const PREFIX_WORDS = /^(?:(?:rep[a-z]*|lock|[c-g]s|ss|data16|addr32|rex\S*|bnd|notrack|xacquire|xrelease)\s+)*/;

/** Instructions behind CPUID bits that we do not advertise, so that our decoder must refuse them or reads them otherwise. */
const NOT_ADVERTISED =
  /^\(bad\)|^v|^k(?:mov|or|and|add|shift|unpck|not|test|xor|xnor)|^(?:palignr|pcmp[ei]str|pshufb|ph?(?:add|sub)s?[wd]$|pmaddubsw|psign|pabs|pmulhrsw|aes|sha|pclmul|crc32|movbe|rd(?:rand|seed|pkru|ssp)|wrpkru|inc?ssp|xsave|xrstor|xabort|xbegin|xend|xtest|tpause|umonitor|umwait|blend|pblend|round|pmin|pmax|ptest|pinsr|pextr|insertps|extractps|mpsad|pmul|pmov[sz]x|packusdw|phmin|dpp|lddqu|movddup|movs[lh]dup|haddp|hsubp|addsubp|fisttp|andn|bextr|bls|bzhi|mulx|pdep|pext|rorx|sarx|shlx|shrx|adcx|adox|gf2|encl|clwb|clflushopt|serialize|femms|pf|monitorx|mwaitx|clac|stac|ud)/;

/** x87 and MMX: what is not implemented may be refused. */
const MAY_BE_REFUSED = /^f(?!xsave|xrstor)|^emms/;

/** AT&T mnemonics that are not ours with a size letter. */
const SYNONYMS: Record<string, RegExp> = {
  CBW: /^c[wblt]+t[wlq]?/,
  CWD: /^c(?:wt|lt|qt)[dlo]$/,
  NOP: /^(?:nop|xchg|endbr|rdssp)/,
  MOVSXD: /^movsl/,
  MOVSX: /^movs/,
  MOVZX: /^movz/,
  BSF: /^(?:bsf|tzcnt)/,
  BSR: /^(?:bsr|lzcnt)/,
  PREFETCH: /^prefetch/,
  PREFETCHW: /^prefetch/,
  MOVD: /^mov[dq]/,
  MOVQ: /^movq/,
  SAL: /^s[ah]l/,
  RETF: /^lret/,
  FWAIT: /^f?wait/,
  VMMCALL: /^vm/,
  MOVSB: /^movs/,
  STOSB: /^stos/,
  LODSB: /^lods/,
  SCASB: /^scas/,
  CMPSB: /^cmps/,
  INSB: /^ins/,
  OUTSB: /^outs/,
  JRCXZ: /^j[er]?cxz/,
  JMP: /^l?jmp/,
  CALL: /^l?call/,
  INT1: /^(?:int1|icebp)/,
  CMPPS: /^cmp/,
  CMPPD: /^cmp/,
  CMPSS: /^cmp/,
  CMPSD: /^cmp/,
  XLAT: /^xlat/,
  UD1: /^ud1/,
  UD0: /^ud0/,
};
/** Condition codes under the names that objdump prints. */
const CONDITIONS: Record<string, string> = { NB: 'ae', Z: 'e', NZ: 'ne', NBE: 'a', NL: 'ge', NLE: 'g' };

function agrees(fullMnemonic: string, word: string): boolean {
  const [mnemonic] = fullMnemonic.split(' ');
  // AT&T syntax has the two the wrong way round for some operands.
  const reversible = /^F(SUB|DIV)R?P?$/.exec(mnemonic);
  if (reversible) return word.startsWith(`f${reversible[1].toLowerCase()}`);
  const synonym = SYNONYMS[mnemonic];
  if (synonym) return synonym.test(word);
  const conditional = /^(J|SET|CMOV)(NB|Z|NZ|NBE|NL|NLE)$/.exec(mnemonic);
  const expected = conditional ? conditional[1] + CONDITIONS[conditional[2]] : mnemonic;
  return word.startsWith(expected.toLowerCase());
}

/** Decode the bytes of a disassembly by objdump (`-d -w --insn-width=16`), and say where the two disagree. */
export function compareWithObjdump(
  disassembly: string,
  decode: (bytes: readonly number[]) => DecodeResult,
): { checked: number; disagreements: string[] } {
  const disagreements: string[] = [];
  let checked = 0;
  for (const line of disassembly.split('\n')) {
    const match = /^\s*[0-9a-f]+:\t((?:[0-9a-f]{2} )+)\s*\t(.*)$/.exec(line);
    if (!match) continue;
    const word = match[2].replace(PREFIX_WORDS, '').split(/\s/)[0];
    if (word === '' || NOT_ADVERTISED.test(word)) continue;
    const bytes = match[1]
      .trim()
      .split(' ')
      .map((byte) => Number.parseInt(byte, 16));
    const result = decode(bytes);
    checked++;
    if (!result.ok && MAY_BE_REFUSED.test(word)) continue;
    if (!result.ok) disagreements.push(`${line}: ${result.reason}`);
    else if (result.instruction.lengthBytes !== bytes.length)
      disagreements.push(`${line}: ${result.instruction.lengthBytes} bytes`);
    else if (!agrees((result.instruction.shape.encoding as EncodingRow).mnemonic, word)) {
      disagreements.push(`${line}: ${result.instruction.shape.encoding.name}`);
    }
  }
  return { checked, disagreements };
}
