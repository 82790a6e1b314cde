/**
 * Instructions whose handlers stand inline in the dispatch loop: an example encoding of each shape (64-bit mode),
 * `q:` for the variant whose arithmetic flags nobody sees. Measured with scripts/measure-hot.ts; it decides speed alone.
 */
// biome-ignore format: a table
export const HOT_INSTRUCTIONS: readonly string[] = [
  '39c2', // CMP Ev,Gv|39 /r|long64|32|a64|rm32,reg32
  '4889f7', // MOV Ev,Gv|89 /r|long64|64|a64|rm64,reg64
  '4839d0', // CMP Ev,Gv|39 /r|long64|64|a64|rm64,reg64
  '4531c9', // XOR Ev,Gv|31 /r|long64|32|a64|rm32,reg32
  '7314', // JNB Jb|73|long64|64|a64|rel
  'eb09', // JMP Jb|EB|long64|64|a64|rel
  'ffc5', // INC Ev|FF /0|long64|32|a64|rm32
  'q:48ffc0', // INC Ev|FF /0|long64|64|a64|rm64
  'q:4c01e3', // ADD Ev,Gv|01 /r|long64|64|a64|rm64,reg64
  '4154', // PUSH Zv|50+r|long64|64|a64|reg64
  '415b', // POP Zv|58+r|long64|64|a64|reg64
  '4c0faff2', // IMUL Gv,Ev|0F AF /r|long64|64|a64|reg64,rm64
  '488b250020b8ff', // MOV Gv,Ev|8B /r|long64|64|a64|reg64,mem8.base
  '89d0', // MOV Ev,Gv|89 /r|long64|32|a64|rm32,reg32
  '48c1ef0c', // SHR Ev,Ib|C1 /5|long64|64|a64|rm64,imm8
  '48892de4592900', // MOV Ev,Gv|89 /r|long64|64|a64|mem8.base,reg64
  '4829ca', // SUB Ev,Gv|29 /r|long64|64|a64|rm64,reg64
  '4863ff', // MOVSXD Gv,Ez|63 /r|long64|64|a64|reg64,rm32
  '488b14fd60cb4182', // MOV Gv,Ev|8B /r|long64|64|a64|reg64,mem8.full
  'c3', // RET|C3|long64|64|a64|
  'e8bfa40000', // CALL Jz|E8|long64|64|a64|rel
  '741c', // JZ Jb|74|long64|64|a64|rel
  'f3aa', // STOSB|AA|long64|8|a64||rep
  'q:48c1ef0c', // SHR Ev,Ib|C1 /5|long64|64|a64|rm64,imm8
  '83c301', // ADD Ev,sIb|83 /0|long64|32|a64|rm32,imm32
  '4b8d443701', // LEA Gv,M|8D /r|long64|64|a64|reg64,mem0.full
  '400f92c5', // SETB Eb|0F 92 /r|long64|8|a64|rm8
  'q:48c1e006', // SHL Ev,Ib|C1 /4|long64|64|a64|rm64,imm8
  '0fb6d3', // MOVZX Gv,Eb|0F B6 /r|long64|32|a64|reg32,rm8
  '4c01e3', // ADD Ev,Gv|01 /r|long64|64|a64|rm64,reg64
  '480f43c3', // CMOVNB Gv,Ev|0F 43 /r|long64|64|a64|reg64,rm64
  'q:4c0faff2', // IMUL Gv,Ev|0F AF /r|long64|64|a64|reg64,rm64
  '0f85c0dd95fe', // JNZ Jz|0F 85|long64|64|a64|rel
  '4811ce', // ADC Ev,Gv|11 /r|long64|64|a64|rm64,reg64
  'f348ab', // STOS|AB|long64|64|a64||rep
  '66662e0f1f840000000000', // NOP Ev|0F 1F /r|long64|32|a64|mem4.full
  '0fb65302', // MOVZX Gv,Eb|0F B6 /r|long64|32|a64|reg32,mem1.base
  '4584f6', // TEST Eb,Gb|84 /r|long64|8|a64|rm8,reg8
  '8b4030', // MOV Gv,Ev|8B /r|long64|32|a64|reg32,mem4.base
  'q:83c301', // ADD Ev,sIb|83 /0|long64|32|a64|rm32,imm32
  '0f841f060000', // JZ Jz|0F 84|long64|64|a64|rel
  '85c0', // TEST Ev,Gv|85 /r|long64|32|a64|rm32,reg32
  '4883c101', // ADD Ev,sIb|83 /0|long64|64|a64|rm64,imm64
  'e9dbb6d800', // JMP Jz|E9|long64|64|a64|rel
  'q:4821d0', // AND Ev,Gv|21 /r|long64|64|a64|rm64,reg64
  'q:4883c101', // ADD Ev,sIb|83 /0|long64|64|a64|rm64,imm64
  '4885ff', // TEST Ev,Gv|85 /r|long64|64|a64|rm64,reg64
  'b9010100c0', // MOV Zv,Iv|B8+r|long64|32|a64|reg32,imm32
  '488d4805', // LEA Gv,M|8D /r|long64|64|a64|reg64,mem0.base
  '4889040a', // MOV Ev,Gv|89 /r|long64|64|a64|mem8.full,reg64
  '48f7d2', // NOT Ev|F7 /2|long64|64|a64|rm64
  '4803057e7ca001', // ADD Gv,Ev|03 /r|long64|64|a64|reg64,mem8.base
  'q:4829ca', // SUB Ev,Gv|29 /r|long64|64|a64|rm64,reg64
  '790d', // JNS Jb|79|long64|64|a64|rel
  '4883f920', // CMP Ev,sIb|83 /7|long64|64|a64|rm64,imm64
  'q:01f0', // ADD Ev,Gv|01 /r|long64|32|a64|rm32,reg32
  '480304fd60cb4182', // ADD Gv,Ev|03 /r|long64|64|a64|reg64,mem8.full
  '4183fa05', // CMP Ev,sIb|83 /7|long64|32|a64|rm32,imm32
  '7253', // JB Jb|72|long64|64|a64|rel
  '01f0', // ADD Ev,Gv|01 /r|long64|32|a64|rm32,reg32
  'q:4531c9', // XOR Ev,Gv|31 /r|long64|32|a64|rm32,reg32
  '803dfbc1f50000', // CMP Eb,Ib|80 /7|long64|8|a64|mem1.base,imm8
  '44894c2404', // MOV Ev,Gv|89 /r|long64|32|a64|mem4.base,reg32
  '6690', // NOP|90|long64|32|a64|
  '48baffffffffffffff3f', // MOV Zv,Iv|B8+r|long64|64|a64|reg64,imm64
  '83e201', // AND Ev,sIb|83 /4|long64|32|a64|rm32,imm32
  'q:4809c7', // OR Ev,Gv|09 /r|long64|64|a64|rm64,reg64
  'q:c1ce0c', // ROR Ev,Ib|C1 /1|long64|32|a64|rm32,imm8
  '4883ec08', // SUB Ev,sIb|83 /5|long64|64|a64|rm64,imm64
  'f605b20bb5ff40', // TEST Eb,Ib|F6 /0|long64|8|a64|mem1.base,imm8
  'q:4881e200feffff', // AND Ev,Iz|81 /4|long64|64|a64|rm64,imm64
  '483b3d0164c101', // CMP Gv,Ev|3B /r|long64|64|a64|reg64,mem8.base
  'q:4983d400', // ADC Ev,sIb|83 /2|long64|64|a64|rm64,imm64
  '48c1e006', // SHL Ev,Ib|C1 /4|long64|64|a64|rm64,imm8
  '0f95c0', // SETNZ Eb|0F 95 /r|long64|8|a64|rm8
  '48c7c000400483', // MOV Ev,Iz|C7 /0|long64|64|a64|rm64,imm64
  '3c0e', // CMP AL,Ib|3C|long64|8|a64|@0.8,imm8
  'q:83e201', // AND Ev,sIb|83 /4|long64|32|a64|rm32,imm32
  '8d57ff', // LEA Gv,M|8D /r|long64|32|a64|reg32,mem0.base
  '4809c7', // OR Ev,Gv|09 /r|long64|64|a64|rm64,reg64
  '0f82f5000000', // JB Jz|0F 82|long64|64|a64|rel
  'q:41c1c010', // ROL Ev,Ib|C1 /0|long64|32|a64|rm32,imm8
  '48c705c8279affb042a481', // MOV Ev,Iz|C7 /0|long64|64|a64|mem8.base,imm64
  '4821d0', // AND Ev,Gv|21 /r|long64|64|a64|rm64,reg64
  '0fb61407', // MOVZX Gv,Eb|0F B6 /r|long64|32|a64|reg32,mem1.full
  '7e02', // JLE Jb|7E|long64|64|a64|rel
  'c600e9', // MOV Eb,Ib|C6 /0|long64|8|a64|mem1.base,imm8
  'q:4883e1fd', // AND Ev,sIb|83 /4|long64|64|a64|rm64,imm64
  '486333', // MOVSXD Gv,Ez|63 /r|long64|64|a64|reg64,mem4.base
  'q:482500f0ffff', // AND rAX,Iz|25|long64|64|a64|@0.64,imm64
  '3a1406', // CMP Gb,Eb|3A /r|long64|8|a64|reg8,mem1.full
  '08d0', // OR Eb,Gb|08 /r|long64|8|a64|rm8,reg8
  '7822', // JS Jb|78|long64|64|a64|rel
  '4c393424', // CMP Ev,Gv|39 /r|long64|64|a64|mem8.base,reg64
  '88831c010000', // MOV Eb,Gb|88 /r|long64|8|a64|mem1.base,reg8
  '480f44e8', // CMOVZ Gv,Ev|0F 44 /r|long64|64|a64|reg64,rm64
  '8b0402', // MOV Gv,Ev|8B /r|long64|32|a64|reg32,mem4.full
  'f7d8', // NEG Ev|F7 /3|long64|32|a64|rm32
  '771e', // JNBE Jb|77|long64|64|a64|rel
  '7602', // JBE Jb|76|long64|64|a64|rel
  'q:4803057e7ca001', // ADD Gv,Ev|03 /r|long64|64|a64|reg64,mem8.base
  '397714', // CMP Ev,Gv|39 /r|long64|32|a64|mem4.base,reg32
  'q:48c1f83f', // SAR Ev,Ib|C1 /7|long64|64|a64|rm64,imm8
  '48d1fa', // SAR Ev,1|D1 /7|long64|64|a64|rm64,one1
  'f348a5', // MOVS|A5|long64|64|a64||rep
  'c705c47a39ff01000000', // MOV Ev,Iz|C7 /0|long64|32|a64|mem4.base,imm32
  'q:4883ec08', // SUB Ev,sIb|83 /5|long64|64|a64|rm64,imm64
  '4080ff0e', // CMP Eb,Ib|80 /7|long64|8|a64|rm8,imm8
  'c1ce0c', // ROR Ev,Ib|C1 /1|long64|32|a64|rm32,imm8
  '4881f9ff010000', // CMP Ev,Iz|81 /7|long64|64|a64|rm64,imm64
  '29c2', // SUB Ev,Gv|29 /r|long64|32|a64|rm32,reg32
  'a801', // TEST AL,Ib|A8|long64|8|a64|@0.8,imm8
  '3b5d08', // CMP Gv,Ev|3B /r|long64|32|a64|reg32,mem4.base
  '48f7742408', // DIV Ev|F7 /6|long64|64|a64|mem8.base
  '480f42c1', // CMOVB Gv,Ev|0F 42 /r|long64|64|a64|reg64,rm64
  '48633402', // MOVSXD Gv,Ez|63 /r|long64|64|a64|reg64,mem4.full
  '0f8794000000', // JNBE Jz|0F 87|long64|64|a64|rel
  '0f8392000000', // JNB Jz|0F 83|long64|64|a64|rel
  'f6c402', // TEST Eb,Ib|F6 /0|long64|8|a64|rm8,imm8
  '41c1c010', // ROL Ev,Ib|C1 /0|long64|32|a64|rm32,imm8
  '4883ba40dda48200', // CMP Ev,sIb|83 /7|long64|64|a64|mem8.base,imm64
  'q:49d1ee', // SHR Ev,1|D1 /5|long64|64|a64|rm64,one1
  '65ff0daad4ff7e', // DEC Ev|FF /1|long64|32|a64|mem4.full
  '81e2ff010000', // AND Ev,Iz|81 /4|long64|32|a64|rm32,imm32
  '0f86aefdffff', // JBE Jz|0F 86|long64|64|a64|rel
  '65482b042528000000', // SUB Gv,Ev|2B /r|long64|64|a64|reg64,mem8.full
  '83ea01', // SUB Ev,sIb|83 /5|long64|32|a64|rm32,imm32
  'q:83ea01', // SUB Ev,sIb|83 /5|long64|32|a64|rm32,imm32
  '0f8f52010000', // JNLE Jz|0F 8F|long64|64|a64|rel
  'q:19c0', // SBB Ev,Gv|19 /r|long64|32|a64|rm32,reg32
  '41f7c4ff0f0000', // TEST Ev,Iz|F7 /0|long64|32|a64|rm32,imm32
  '0fb7740dfe', // MOVZX Gv,Ew|0F B7 /r|long64|32|a64|reg32,mem2.full
  '480500000080', // ADD rAX,Iz|05|long64|64|a64|@0.64,imm64
  'q:c1ed03', // SHR Ev,Ib|C1 /5|long64|32|a64|rm32,imm8
  '83ce04', // OR Ev,sIb|83 /1|long64|32|a64|rm32,imm32
  '0f94c0', // SETZ Eb|0F 94 /r|long64|8|a64|rm8
  '438d042c', // LEA Gv,M|8D /r|long64|32|a64|reg32,mem0.full
  'a900000004', // TEST rAX,Iz|A9|long64|32|a64|@0.32,imm32
  '0f88d0000000', // JS Jz|0F 88|long64|64|a64|rel
  '65ff05edd4ff7e', // INC Ev|FF /0|long64|32|a64|mem4.full
  '0fbec0', // MOVSX Gv,Eb|0F BE /r|long64|32|a64|reg32,rm8
  'ff15ff1e9f01', // CALL Ev|FF /2|long64|64|a64|mem8.base
  'q:29c2', // SUB Ev,Gv|29 /r|long64|32|a64|rm32,reg32
  'q:21e8', // AND Ev,Gv|21 /r|long64|32|a64|rm32,reg32
  '81fa00000080', // CMP Ev,Iz|81 /7|long64|32|a64|rm32,imm32
  'f3a4', // MOVSB|A4|long64|8|a64||rep
  'q:81e2ff010000', // AND Ev,Iz|81 /4|long64|32|a64|rm32,imm32
  '4981c40000a182', // ADD Ev,Iz|81 /0|long64|64|a64|rm64,imm64
  'c1ed03', // SHR Ev,Ib|C1 /5|long64|32|a64|rm32,imm8
  '41c6040700', // MOV Eb,Ib|C6 /0|long64|8|a64|mem1.full,imm8
  '65f60425c1130300ff', // TEST Eb,Ib|F6 /0|long64|8|a64|mem1.full,imm8
  '48f7009fffffff', // TEST Ev,Iz|F7 /0|long64|64|a64|mem8.base,imm64
  '41ffcd', // DEC Ev|FF /1|long64|32|a64|rm32
  '0f31', // RDTSC|0F 31|long64|32|a64|
  '4881e200feffff', // AND Ev,Iz|81 /4|long64|64|a64|rm64,imm64
  '89441328', // MOV Ev,Gv|89 /r|long64|32|a64|mem4.full,reg32
  '48ffc0', // INC Ev|FF /0|long64|64|a64|rm64
  '0fb713', // MOVZX Gv,Ew|0F B7 /r|long64|32|a64|reg32,mem2.base
  'q:f7d8', // NEG Ev|F7 /3|long64|32|a64|rm32
  'q:65ff05edd4ff7e', // INC Ev|FF /0|long64|32|a64|mem4.full
  'q:4831d8', // XOR Ev,Gv|31 /r|long64|64|a64|rm64,reg64
  '4038fe', // CMP Eb,Gb|38 /r|long64|8|a64|rm8,reg8
  'q:250000000c', // AND rAX,Iz|25|long64|32|a64|@0.32,imm32
  '3342e0', // XOR Gv,Ev|33 /r|long64|32|a64|reg32,mem4.base
  '0f9581802cc482', // SETNZ Eb|0F 95 /r|long64|8|a64|mem1.base
  'q:09fe', // OR Ev,Gv|09 /r|long64|32|a64|rm32,reg32
  '483d0f100000', // CMP rAX,Iz|3D|long64|64|a64|@0.64,imm64
  '21e8', // AND Ev,Gv|21 /r|long64|32|a64|rm32,reg32
  'q:48233de55ebbff', // AND Gv,Ev|23 /r|long64|64|a64|reg64,mem8.base
  '4831d8', // XOR Ev,Gv|31 /r|long64|64|a64|rm64,reg64
  '0faee8', // LFENCE|NP 0F AE /5 reg|long64|32|a64|
  'q:ffc5', // INC Ev|FF /0|long64|32|a64|rm32
  'f390', // PAUSE|F3 90|long64|32|a64|
  '034f04', // ADD Gv,Ev|03 /r|long64|32|a64|reg32,mem4.base
  '4233048a', // XOR Gv,Ev|33 /r|long64|32|a64|reg32,mem4.full
  '00e4', // ADD Eb,Gb|00 /r|long64|8|a64|rm8,reg8
  '480b3d34929cff', // OR Gv,Ev|0B /r|long64|64|a64|reg64,mem8.base
  '3d00000080', // CMP rAX,Iz|3D|long64|32|a64|@0.32,imm32
  '4883e1fd', // AND Ev,sIb|83 /4|long64|64|a64|rm64,imm64
  'q:c1e208', // SHL Ev,Ib|C1 /4|long64|32|a64|rm32,imm8
  '0f1f00', // NOP Ev|0F 1F /r|long64|32|a64|mem4.base
  '3e0fb117', // CMPXCHG Ev,Gv|0F B1 /r|long64|32|a64|mem4.base,reg32
  '0f8eb9030000', // JLE Jz|0F 8E|long64|64|a64|rel
  '48f7c29fffffff', // TEST Ev,Iz|F7 /0|long64|64|a64|rm64,imm64
  '0f93c2', // SETNB Eb|0F 93 /r|long64|8|a64|rm8
  'q:3342e0', // XOR Gv,Ev|33 /r|long64|32|a64|reg32,mem4.base
  '4883042408', // ADD Ev,sIb|83 /0|long64|64|a64|mem8.base,imm64
  'q:482b053a2339ff', // SUB Gv,Ev|2B /r|long64|64|a64|reg64,mem8.base
  'q:48d3e2', // SHL Ev,CL|D3 /4|long64|64|a64|rm64,@8.8
  '6689442406', // MOV Ev,Gv|89 /r|long64|16|a64|mem2.base,reg16
  '480fba70c00c', // BTR Ev,Ib|0F BA /6|long64|64|a64|mem8.base,imm8
  '490f48cc', // CMOVS Gv,Ev|0F 48 /r|long64|64|a64|reg64,rm64
  '833d7cb7db0001', // CMP Ev,sIb|83 /7|long64|32|a64|mem4.base,imm32
  '403879ff', // CMP Eb,Gb|38 /r|long64|8|a64|mem1.base,reg8
  'f3ab', // STOS|AB|long64|32|a64||rep
  'q:480b3d34929cff', // OR Gv,Ev|0B /r|long64|64|a64|reg64,mem8.base
  'q:48f7d8', // NEG Ev|F7 /3|long64|64|a64|rm64
  '480fce', // BSWAP Zv|0F C8+r|long64|64|a64|reg64
  'q:48d3e8', // SHR Ev,CL|D3 /5|long64|64|a64|rm64,@8.8
  '49d1ee', // SHR Ev,1|D1 /5|long64|64|a64|rm64,one1
  '482b053a2339ff', // SUB Gv,Ev|2B /r|long64|64|a64|reg64,mem8.base
  '480fbe10', // MOVSX Gv,Eb|0F BE /r|long64|64|a64|reg64,mem1.base
  '817b2006000080', // CMP Ev,Iz|81 /7|long64|32|a64|mem4.base,imm32
  '9c', // PUSHF|9C|long64|64|a64|
  '480fbae039', // BT Ev,Ib|0F BA /4|long64|64|a64|rm64,imm8
  '684160a481', // PUSH Iz|68|long64|64|a64|imm64
  '8cd0', // MOV Rv/Mw,Sw|8C /r|long64|32|a64|rm32,segment2
  '8cc8', // MOV Rv/Mw,Sw|8C /r|long64|32|a64|rm32,segment1
  '48cf', // IRET|CF|long64|64|a64|
  '83430401', // ADD Ev,sIb|83 /0|long64|32|a64|mem4.base,imm32
  '48c1f83f', // SAR Ev,Ib|C1 /7|long64|64|a64|rm64,imm8
  '6683f801', // CMP Ev,sIb|83 /7|long64|16|a64|rm16,imm16
  '482d00900783', // SUB rAX,Iz|2D|long64|64|a64|@0.64,imm64
  'e461', // IN AL,Ib|E4|long64|8|a64|@0.8,imm8
  '4881eca8000000', // SUB Ev,Iz|81 /5|long64|64|a64|rm64,imm64
  'f3a5', // MOVS|A5|long64|32|a64||rep
  '450fb7f6', // MOVZX Gv,Ew|0F B7 /r|long64|32|a64|reg32,rm16
  'q:480500000080', // ADD rAX,Iz|05|long64|64|a64|@0.64,imm64
  '4898', // CBW|98|long64|64|a64|
  '0f8c69010000', // JL Jz|0F 8C|long64|64|a64|rel
  'q:034f04', // ADD Gv,Ev|03 /r|long64|32|a64|reg32,mem4.base
  '0f05', // SYSCALL|0F 05|long64|32|a64|
  'f744240438020000', // TEST Ev,Iz|F7 /0|long64|32|a64|mem4.base,imm32
  '482500f0ffff', // AND rAX,Iz|25|long64|64|a64|@0.64,imm64
  '0f44c6', // CMOVZ Gv,Ev|0F 44 /r|long64|32|a64|reg32,rm32
  '480fa30424', // BT Ev,Gv|0F A3 /r|long64|64|a64|mem8.base,reg64
  '4c016310', // ADD Ev,Gv|01 /r|long64|64|a64|mem8.base,reg64
  '0f0d8f80050000', // PREFETCHW Mb|0F 0D /r|long64|32|a64|mem1.base
  '0f4fd0', // CMOVNLE Gv,Ev|0F 4F /r|long64|32|a64|reg32,rm32
  '83a81814000001', // SUB Ev,sIb|83 /5|long64|32|a64|mem4.base,imm32
  '19c0', // SBB Ev,Gv|19 /r|long64|32|a64|rm32,reg32
  '0f188e40010000', // PREFETCH Ev|0F 18 /1|long64|32|a64|mem4.base
  '48ff03', // INC Ev|FF /0|long64|64|a64|mem8.base
  '220d985d1b01', // AND Gb,Eb|22 /r|long64|8|a64|reg8,mem1.base
  '09fe', // OR Ev,Gv|09 /r|long64|32|a64|rm32,reg32
  '664139c5', // CMP Ev,Gv|39 /r|long64|16|a64|rm16,reg16
  '0fbe5001', // MOVSX Gv,Eb|0F BE /r|long64|32|a64|reg32,mem1.base
  '7d0f', // JNL Jb|7D|long64|64|a64|rel
  '03540500', // ADD Gv,Ev|03 /r|long64|32|a64|reg32,mem4.full
  '0f48d0', // CMOVS Gv,Ev|0F 48 /r|long64|32|a64|reg32,rm32
  '83f101', // XOR Ev,sIb|83 /6|long64|32|a64|rm32,imm32
  '428a0423', // MOV Gb,Eb|8A /r|long64|8|a64|reg8,mem1.full
  'q:483383b8000000', // XOR Gv,Ev|33 /r|long64|64|a64|reg64,mem8.base
  '65480fc70f', // CMPXCHG16B M|W1 0F C7 /1|long64|64|a64|mem0.full
  '81c6ff0f0000', // ADD Ev,Iz|81 /0|long64|32|a64|rm32,imm32
  'q:83430401', // ADD Ev,sIb|83 /0|long64|32|a64|mem4.base,imm32
  '3e480fb11d9fc5ed02', // CMPXCHG Ev,Gv|0F B1 /r|long64|64|a64|mem8.base,reg64
  'q:4181f07f520e51', // XOR Ev,Iz|81 /6|long64|32|a64|rm32,imm32
  '664585d2', // TEST Ev,Gv|85 /r|long64|16|a64|rm16,reg16
  '250000000c', // AND rAX,Iz|25|long64|32|a64|@0.32,imm32
  '0f0d0c03', // PREFETCHW Mb|0F 0D /r|long64|32|a64|mem1.full
  '66817f050fb9', // CMP Ev,Iz|81 /7|long64|16|a64|mem2.base,imm16
  'c1e208', // SHL Ev,Ib|C1 /4|long64|32|a64|rm32,imm8
  '490fba2e0c', // BTS Ev,Ib|0F BA /5|long64|64|a64|mem8.base,imm8
  '48233de55ebbff', // AND Gv,Ev|23 /r|long64|64|a64|reg64,mem8.base
  '4c0f47fa', // CMOVNBE Gv,Ev|0F 47 /r|long64|64|a64|reg64,rm64
  'd1f8', // SAR Ev,1|D1 /7|long64|32|a64|rm32,one1
  '0fc8', // BSWAP Zv|0F C8+r|long64|32|a64|reg32
  '44880c17', // MOV Eb,Gb|88 /r|long64|8|a64|mem1.full,reg8
  'q:83a81814000001', // SUB Ev,sIb|83 /5|long64|32|a64|mem4.base,imm32
  'q:4233048a', // XOR Gv,Ev|33 /r|long64|32|a64|reg32,mem4.full
  '7f0c', // JNLE Jb|7F|long64|64|a64|rel
  'q:d1c0', // ROL Ev,1|D1 /0|long64|32|a64|rm32,one1
  'q:480304fd60cb4182', // ADD Gv,Ev|03 /r|long64|64|a64|reg64,mem8.full
  '8a05e1c7baff', // MOV Gb,Eb|8A /r|long64|8|a64|reg8,mem1.base
  'q:48d3f8', // SAR Ev,CL|D3 /7|long64|64|a64|rm64,@8.8
  '7c35', // JL Jb|7C|long64|64|a64|rel
  '4883ca02', // OR Ev,sIb|83 /1|long64|64|a64|rm64,imm64
  'q:4883daff', // SBB Ev,sIb|83 /3|long64|64|a64|rm64,imm64
  '48d3e8', // SHR Ev,CL|D3 /5|long64|64|a64|rm64,@8.8
  '48ffc9', // DEC Ev|FF /1|long64|64|a64|rm64
  '48295310', // SUB Ev,Gv|29 /r|long64|64|a64|mem8.base,reg64
  '48f7d8', // NEG Ev|F7 /3|long64|64|a64|rm64
  'q:d3e0', // SHL Ev,CL|D3 /4|long64|32|a64|rm32,@8.8
  '48a9fdffffff', // TEST rAX,Iz|A9|long64|64|a64|@0.64,imm64
  '480f45d6', // CMOVNZ Gv,Ev|0F 45 /r|long64|64|a64|reg64,rm64
  'd3ed', // SHR Ev,CL|D3 /5|long64|32|a64|rm32,@8.8
  '834b5402', // OR Ev,sIb|83 /1|long64|32|a64|mem4.base,imm32
  '480f442d3fabe902', // CMOVZ Gv,Ev|0F 44 /r|long64|64|a64|reg64,mem8.base
  '3e490fc18508030000', // XADD Ev,Gv|0F C1 /r|long64|64|a64|mem8.base,reg64
  '015d70', // ADD Ev,Gv|01 /r|long64|32|a64|mem4.base,reg32
  '6548ff4218', // INC Ev|FF /0|long64|64|a64|mem8.full
  'q:83ce04', // OR Ev,sIb|83 /1|long64|32|a64|rm32,imm32
  '80e702', // AND Eb,Ib|80 /4|long64|8|a64|rm8,imm8
  '480f4ed1', // CMOVLE Gv,Ev|0F 4E /r|long64|64|a64|reg64,rm64
  'f7d0', // NOT Ev|F7 /2|long64|32|a64|rm32
  '664189740ffe', // MOV Ev,Gv|89 /r|long64|16|a64|mem2.full,reg16
  'f00fb117', // CMPXCHG Ev,Gv|0F B1 /r|long64|32|a64|mem4.base,reg32|lock
  '480fbec0', // MOVSX Gv,Eb|0F BE /r|long64|64|a64|reg64,rm8
  '48d3e2', // SHL Ev,CL|D3 /4|long64|64|a64|rm64,@8.8
  '2b150a02ec00', // SUB Gv,Ev|2B /r|long64|32|a64|reg32,mem4.base
  '663d8680', // CMP rAX,Iz|3D|long64|16|a64|@0.16,imm16
  '804d0420', // OR Eb,Ib|80 /1|long64|8|a64|mem1.base,imm8
  'ff442440', // INC Ev|FF /0|long64|32|a64|mem4.base
  'f366ab', // STOS|AB|long64|16|a64||rep
  '48397c0b10', // CMP Ev,Gv|39 /r|long64|64|a64|mem8.full,reg64
  '403a7101', // CMP Gb,Eb|3A /r|long64|8|a64|reg8,mem1.base
  '0f46d8', // CMOVBE Gv,Ev|0F 46 /r|long64|32|a64|reg32,rm32
  '48c704c2ffffffff', // MOV Ev,Iz|C7 /0|long64|64|a64|mem8.full,imm64
  '4188d9', // MOV Eb,Gb|88 /r|long64|8|a64|rm8,reg8
  '48237cc500', // AND Gv,Ev|23 /r|long64|64|a64|reg64,mem8.full
  '0f45f7', // CMOVNZ Gv,Ev|0F 45 /r|long64|32|a64|reg32,rm32
  '69f17b140000', // IMUL Gv,Ev,Iz|69 /r|long64|32|a64|reg32,rm32,imm32
  '423b540f14', // CMP Gv,Ev|3B /r|long64|32|a64|reg32,mem4.full
  '48012cfd807df683', // ADD Ev,Gv|01 /r|long64|64|a64|mem8.full,reg64
  'd3e0', // SHL Ev,CL|D3 /4|long64|32|a64|rm32,@8.8
  'q:80755006', // XOR Eb,Ib|80 /6|long64|8|a64|mem1.base,imm8
  'd1c0', // ROL Ev,1|D1 /0|long64|32|a64|rm32,one1
  '80340236', // XOR Eb,Ib|80 /6|long64|8|a64|mem1.full,imm8
  'c9', // LEAVE|C9|long64|64|a64|
  '41814d2880000000', // OR Ev,Iz|81 /1|long64|32|a64|mem4.base,imm32
  '4983d400', // ADC Ev,sIb|83 /2|long64|64|a64|rm64,imm64
  '4883ac248800000001', // SUB Ev,sIb|83 /5|long64|64|a64|mem8.base,imm64
  '418165307fffffff', // AND Ev,Iz|81 /4|long64|32|a64|mem4.base,imm32
  '4181f07f520e51', // XOR Ev,Iz|81 /6|long64|32|a64|rm32,imm32
  '3e41ff4c2434', // DEC Ev|FF /1|long64|32|a64|mem4.base
  'q:c1f908', // SAR Ev,Ib|C1 /7|long64|32|a64|rm32,imm8
  '48833cc54020218300', // CMP Ev,sIb|83 /7|long64|64|a64|mem8.full,imm64
  '6566448b3504bcff7e', // MOV Gv,Ev|8B /r|long64|16|a64|reg16,mem2.full
  '8354246000', // ADC Ev,sIb|83 /2|long64|32|a64|mem4.base,imm32
  '8325a768b7fffe', // AND Ev,sIb|83 /4|long64|32|a64|mem4.base,imm32
  '6681fa0233', // CMP Ev,Iz|81 /7|long64|16|a64|rm16,imm16
  'f0490fb36c2428', // BTR Ev,Gv|0F B3 /r|long64|64|a64|mem8.base,reg64|lock
  'q:662500b0', // AND rAX,Iz|25|long64|16|a64|@0.16,imm16
  'q:f3480fbcc9', // BSF Gv,Ev|0F BC /r|long64|64|a64|reg64,rm64
  'f0480fb113', // CMPXCHG Ev,Gv|0F B1 /r|long64|64|a64|mem8.base,reg64|lock
  '6a00', // PUSH sIb|6A|long64|64|a64|imm64
  '483383b8000000', // XOR Gv,Ev|33 /r|long64|64|a64|reg64,mem8.base
  '48813d94ef9e01a0cda282', // CMP Ev,Iz|81 /7|long64|64|a64|mem8.base,imm64
  '480f4dd3', // CMOVNL Gv,Ev|0F 4D /r|long64|64|a64|reg64,rm64
  '0f9444241b', // SETZ Eb|0F 94 /r|long64|8|a64|mem1.base
  'q:4883ca02', // OR Ev,sIb|83 /1|long64|64|a64|rm64,imm64
  'q:231dea4b9401', // AND Gv,Ev|23 /r|long64|32|a64|reg32,mem4.base
  '8025281e290001', // AND Eb,Ib|80 /4|long64|8|a64|mem1.base,imm8
  'q:83f101', // XOR Ev,sIb|83 /6|long64|32|a64|rm32,imm32
  'q:4530ed', // XOR Eb,Gb|30 /r|long64|8|a64|rm8,reg8
  '0f8d8f010000', // JNL Jz|0F 8D|long64|64|a64|rel
  '81c9ffff0000', // OR Ev,Iz|81 /1|long64|32|a64|rm32,imm32
  '486bee18', // IMUL Gv,Ev,sIb|6B /r|long64|64|a64|reg64,rm64,imm64
  'q:486bee18', // IMUL Gv,Ev,sIb|6B /r|long64|64|a64|reg64,rm64,imm64
  'f0ff4360', // INC Ev|FF /0|long64|32|a64|mem4.base|lock
  '0f8921010000', // JNS Jz|0F 89|long64|64|a64|rel
  'q:3e490fc18508030000', // XADD Ev,Gv|0F C1 /r|long64|64|a64|mem8.base,reg64
  '48f7e2', // MUL Ev|F7 /4|long64|64|a64|rm64
  'f0804b4702', // OR Eb,Ib|80 /1|long64|8|a64|mem1.base,imm8|lock
  '4c3b34f560f61583', // CMP Gv,Ev|3B /r|long64|64|a64|reg64,mem8.full
  'q:4883042408', // ADD Ev,sIb|83 /0|long64|64|a64|mem8.base,imm64
  'q:c0e805', // SHR Eb,Ib|C0 /5|long64|8|a64|rm8,imm8
  '480fb317', // BTR Ev,Gv|0F B3 /r|long64|64|a64|mem8.base,reg64
  'q:4981c40000a182', // ADD Ev,Iz|81 /0|long64|64|a64|rm64,imm64
  'q:00e4', // ADD Eb,Gb|00 /r|long64|8|a64|rm8,reg8
  '6683e720', // AND Ev,sIb|83 /4|long64|16|a64|rm16,imm16
  '480fab2c24', // BTS Ev,Gv|0F AB /r|long64|64|a64|mem8.base,reg64
  'q:3e0fb117', // CMPXCHG Ev,Gv|0F B1 /r|long64|32|a64|mem4.base,reg32
  '3e480fba2cc50081048400', // BTS Ev,Ib|0F BA /5|long64|64|a64|mem8.full,imm8
  '83d600', // ADC Ev,sIb|83 /2|long64|32|a64|rm32,imm32
  'q:48c1c010', // ROL Ev,Ib|C1 /0|long64|64|a64|rm64,imm8
  '440f4de2', // CMOVNL Gv,Ev|0F 4D /r|long64|32|a64|reg32,rm32
  '80cd10', // OR Eb,Ib|80 /1|long64|8|a64|rm8,imm8
  '0faf5318', // IMUL Gv,Ev|0F AF /r|long64|32|a64|reg32,mem4.base
  '0f4cd0', // CMOVL Gv,Ev|0F 4C /r|long64|32|a64|reg32,rm32
  'q:48012cfd807df683', // ADD Ev,Gv|01 /r|long64|64|a64|mem8.full,reg64
  'c1f908', // SAR Ev,Ib|C1 /7|long64|32|a64|rm32,imm8
  'q:480fb317', // BTR Ev,Gv|0F B3 /r|long64|64|a64|mem8.base,reg64
  '0d00000080', // OR rAX,Iz|0D|long64|32|a64|@0.32,imm32
  'q:4c016310', // ADD Ev,Gv|01 /r|long64|64|a64|mem8.base,reg64
  '66834f4820', // OR Ev,sIb|83 /1|long64|16|a64|mem2.base,imm16
  '3e816f0401000080', // SUB Ev,Iz|81 /5|long64|32|a64|mem4.base,imm32
  '294504', // SUB Ev,Gv|29 /r|long64|32|a64|mem4.base,reg32
  'q:4881eca8000000', // SUB Ev,Iz|81 /5|long64|64|a64|rm64,imm64
  '480facd020', // SHRD Ev,Gv,Ib|0F AC /r|long64|64|a64|rm64,reg64,imm8
  'f7f3', // DIV Ev|F7 /6|long64|32|a64|rm32
  '6681cdf540', // OR Ev,Iz|81 /1|long64|16|a64|rm16,imm16
  'ef', // OUT DX,eAX|EF|long64|32|a64|@16.16,@0.32
  'ed', // IN eAX,DX|ED|long64|32|a64|@0.32,@16.16
  '66833b00', // CMP Ev,sIb|83 /7|long64|16|a64|mem2.base,imm16
  '440f47e8', // CMOVNBE Gv,Ev|0F 47 /r|long64|32|a64|reg32,rm32
  '480f4fc8', // CMOVNLE Gv,Ev|0F 4F /r|long64|64|a64|reg64,rm64
  '4869d2295c8f02', // IMUL Gv,Ev,Iz|69 /r|long64|64|a64|reg64,rm64,imm64
  '480f46c1', // CMOVBE Gv,Ev|0F 46 /r|long64|64|a64|reg64,rm64
  '6501356168f77e', // ADD Ev,Gv|01 /r|long64|32|a64|mem4.full,reg32
  '410f42f5', // CMOVB Gv,Ev|0F 42 /r|long64|32|a64|reg32,rm32
  'q:650fc115bd21ce7e', // XADD Ev,Gv|0F C1 /r|long64|32|a64|mem4.full,reg32
  'b0ff', // MOV Zb,Ib|B0+r|long64|8|a64|reg8,imm8
  '3567c6086b', // XOR rAX,Iz|35|long64|32|a64|@0.32,imm32
  '231dea4b9401', // AND Gv,Ev|23 /r|long64|32|a64|reg32,mem4.base
  'q:3e440fc12d1075e902', // XADD Ev,Gv|0F C1 /r|long64|32|a64|mem4.base,reg32
  'q:4883ac248800000001', // SUB Ev,sIb|83 /5|long64|64|a64|mem8.base,imm64
  '0f45442410', // CMOVNZ Gv,Ev|0F 45 /r|long64|32|a64|reg32,mem4.base
  'q:d3f8', // SAR Ev,CL|D3 /7|long64|32|a64|rm32,@8.8
  'q:6bd2c0', // IMUL Gv,Ev,sIb|6B /r|long64|32|a64|reg32,rm32,imm32
  '0f2900', // MOVAPS Wx,Vx|NP 0F 29 /r|long64|32|a64|mem16.base,xreg
  '660f74e0', // PCMPEQB Vx,Wx|66 0F 74 /r|long64|32|a64|xreg,xrm
  'fa', // CLI|FA|long64|32|a64|
  '9d', // POPF|9D|long64|64|a64|
  '0f180c03', // PREFETCH Ev|0F 18 /1|long64|32|a64|mem4.full
  '3e480fc74e20', // CMPXCHG16B M|W1 0F C7 /1|long64|64|a64|mem0.base
  'f0834424fc00', // ADD Ev,sIb|83 /0|long64|32|a64|mem4.base,imm32|lock
  '4983acc65001000001', // SUB Ev,sIb|83 /5|long64|64|a64|mem8.full,imm64
  '498384c15001000001', // ADD Ev,sIb|83 /0|long64|64|a64|mem8.full,imm64
  '83ac84a800000001', // SUB Ev,sIb|83 /5|long64|32|a64|mem4.full,imm32
  '6681e28000', // AND Ev,Iz|81 /4|long64|16|a64|rm16,imm16
  '410f49c1', // CMOVNS Gv,Ev|0F 49 /r|long64|32|a64|reg32,rm32
  'q:66c1e80f', // SHR Ev,Ib|C1 /5|long64|16|a64|rm16,imm8
  'q:8374241001', // XOR Ev,sIb|83 /6|long64|32|a64|mem4.base,imm32
  'q:48f7f1', // DIV Ev|F7 /6|long64|64|a64|rm64
  'q:6681e28000', // AND Ev,Iz|81 /4|long64|16|a64|rm16,imm16
  'q:015d70', // ADD Ev,Gv|01 /r|long64|32|a64|mem4.base,reg32
  '660fefc0', // PXOR Vx,Wx|66 0F EF /r|long64|32|a64|xreg,xrm
  '41c7048000200000', // MOV Ev,Iz|C7 /0|long64|32|a64|mem4.full,imm32
  'q:66d17d10', // SAR Ev,1|D1 /7|long64|16|a64|mem2.base,one1
  '660fd7d4', // PMOVMSKB Gd,Ux|66 0F D7 /r|long64|32|a64|reg32,xrm
  '20d1', // AND Eb,Gb|20 /r|long64|8|a64|rm8,reg8
  '803c130a', // CMP Eb,Ib|80 /7|long64|8|a64|mem1.full,imm8
  'q:83d9ff', // SBB Ev,sIb|83 /3|long64|32|a64|rm32,imm32
  '480fa3d0', // BT Ev,Gv|0F A3 /r|long64|64|a64|rm64,reg64
  'q:81c9ffff0000', // OR Ev,Iz|81 /1|long64|32|a64|rm32,imm32
  '662b6c2414', // SUB Gv,Ev|2B /r|long64|16|a64|reg16,mem2.base
  'q:4819c0', // SBB Ev,Gv|19 /r|long64|64|a64|rm64,reg64
  'q:48ffc9', // DEC Ev|FF /1|long64|64|a64|rm64
  'q:48c1c813', // ROR Ev,Ib|C1 /1|long64|64|a64|rm64,imm8
  '0f97c0', // SETNBE Eb|0F 97 /r|long64|8|a64|rm8
  '662500b0', // AND rAX,Iz|25|long64|16|a64|@0.16,imm16
  'q:65ff0daad4ff7e', // DEC Ev|FF /1|long64|32|a64|mem4.full
  '8ee0', // MOV Sw,Ew|8E /r|long64|16|a64|segment4,rm16
  'q:80e702', // AND Eb,Ib|80 /4|long64|8|a64|rm8,imm8
  '480f450d3ffb7101', // CMOVNZ Gv,Ev|0F 45 /r|long64|64|a64|reg64,mem8.base
  'q:0b82a0d23183', // OR Gv,Ev|0B /r|long64|32|a64|reg32,mem4.base
  '85702c', // TEST Ev,Gv|85 /r|long64|32|a64|mem4.base,reg32
  'f30f6f20', // MOVDQU Vx,Wx|F3 0F 6F /r|long64|32|a64|xreg,mem16.base
  'q:0faff6', // IMUL Gv,Ev|0F AF /r|long64|32|a64|reg32,rm32
  'q:41ffcd', // DEC Ev|FF /1|long64|32|a64|rm32
  '48830801', // OR Ev,sIb|83 /1|long64|64|a64|mem8.base,imm64
  'q:4881042400100000', // ADD Ev,Iz|81 /0|long64|64|a64|mem8.base,imm64
  'q:0d00000080', // OR rAX,Iz|0D|long64|32|a64|@0.32,imm32
  'q:482d00900783', // SUB rAX,Iz|2D|long64|64|a64|@0.64,imm64
  'ff25ba0d1e00', // JMP Ev|FF /4|long64|64|a64|mem8.base
  'f3480fbcc9', // BSF Gv,Ev|0F BC /r|long64|64|a64|reg64,rm64
  '4c0fb64601', // MOVZX Gv,Eb|0F B6 /r|long64|64|a64|reg64,mem1.base
  '4c0fb60c16', // MOVZX Gv,Eb|0F B6 /r|long64|64|a64|reg64,mem1.full
  'q:650fb00f', // CMPXCHG Eb,Gb|0F B0 /r|long64|8|a64|mem1.full,reg8
  'q:66838491bc00000001', // ADD Ev,sIb|83 /0|long64|16|a64|mem2.full,imm16
  '66837c850000', // CMP Ev,sIb|83 /7|long64|16|a64|mem2.full,imm16
  '41ffd4', // CALL Ev|FF /2|long64|64|a64|rm64
  '480faf1401', // IMUL Gv,Ev|0F AF /r|long64|64|a64|reg64,mem8.full
  'ff742420', // PUSH Ev|FF /6|long64|64|a64|mem8.base
  'q:0fbdfa', // BSR Gv,Ev|0F BD /r|long64|32|a64|reg32,rm32
  '0f43c2', // CMOVNB Gv,Ev|0F 43 /r|long64|32|a64|reg32,rm32
  '660f6fe2', // MOVDQA Vx,Wx|66 0F 6F /r|long64|32|a64|xreg,xrm
  'q:2403', // AND AL,Ib|24|long64|8|a64|@0.8,imm8
  '0fbf00', // MOVSX Gv,Ew|0F BF /r|long64|32|a64|reg32,mem2.base
  '660b8d20150000', // OR Gv,Ev|0B /r|long64|16|a64|reg16,mem2.base
  '660febd3', // POR Vx,Wx|66 0F EB /r|long64|32|a64|xreg,xrm
  '480f4cf0', // CMOVL Gv,Ev|0F 4C /r|long64|64|a64|reg64,rm64
  '66480f6ec0', // MOVD Vx,Ey|66 0F 6E /r|long64|64|a64|xreg,rm64
  '48330cc6', // XOR Gv,Ev|33 /r|long64|64|a64|reg64,mem8.full
  '0f9fc0', // SETNLE Eb|0F 9F /r|long64|8|a64|rm8
  '660f6cc0', // PUNPCKLQDQ Vx,Wx|66 0F 6C /r|long64|32|a64|xreg,xrm
  '45396c0214', // CMP Ev,Gv|39 /r|long64|32|a64|mem4.full,reg32
];
