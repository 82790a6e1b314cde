/**
 * Instructions whose handlers stand inline in the dispatch loop: an example encoding of each shape (64-bit mode),
 * `q:` for the variant whose arithmetic flags nobody sees. Measured with scripts/measure-hot.ts; it decides speed alone.
 */
// biome-ignore format: a table
export const HOT_INSTRUCTIONS: readonly string[] = [
  '4889f7', // MOV Ev,Gv|89 /r|long64|64|a64|rm64,reg64
  '753c', // JNZ Jb|75|long64|64|a64|rel
  '89d0', // MOV Ev,Gv|89 /r|long64|32|a64|rm32,reg32
  '39c2', // CMP Ev,Gv|39 /r|long64|32|a64|rm32,reg32
  '4839d0', // CMP Ev,Gv|39 /r|long64|64|a64|rm64,reg64
  '4531c9', // XOR Ev,Gv|31 /r|long64|32|a64|rm32,reg32
  '4154', // PUSH Zv|50+r|long64|64|a64|reg64
  'f3aa', // STOSB|AA|long64|8|a64||rep
  '415b', // POP Zv|58+r|long64|64|a64|reg64
  '7314', // JNB Jb|73|long64|64|a64|rel
  '488b250020b8ff', // MOV Gv,Ev|8B /r|long64|64|a64|reg64,mem8.base
  'eb09', // JMP Jb|EB|long64|64|a64|rel
  'q:4c01e3', // quiet ADD Ev,Gv|01 /r|long64|64|a64|rm64,reg64
  'q:48ffc0', // quiet INC Ev|FF /0|long64|64|a64|rm64
  'ffc5', // INC Ev|FF /0|long64|32|a64|rm32
  'c3', // RET|C3|long64|64|a64|
  'e8bfa40000', // CALL Jz|E8|long64|64|a64|rel
  '741c', // JZ Jb|74|long64|64|a64|rel
  '48892de4592900', // MOV Ev,Gv|89 /r|long64|64|a64|mem8.base,reg64
  'q:4531c9', // quiet XOR Ev,Gv|31 /r|long64|32|a64|rm32,reg32
  '8b4030', // MOV Gv,Ev|8B /r|long64|32|a64|reg32,mem4.base
  'q:48c1e006', // quiet SHL Ev,Ib|C1 /4|long64|64|a64|rm64,imm8
  'q:4831d8', // quiet XOR Ev,Gv|31 /r|long64|64|a64|rm64,reg64
  '4c0faff2', // IMUL Gv,Ev|0F AF /r|long64|64|a64|reg64,rm64
  '488b14fd60cb4182', // MOV Gv,Ev|8B /r|long64|64|a64|reg64,mem8.full
  '48c1ef0c', // SHR Ev,Ib|C1 /5|long64|64|a64|rm64,imm8
  '488d4805', // LEA Gv,M|8D /r|long64|64|a64|reg64,mem0.base
  'q:21e8', // quiet AND Ev,Gv|21 /r|long64|32|a64|rm32,reg32
  '4885ff', // TEST Ev,Gv|85 /r|long64|64|a64|rm64,reg64
  'q:01f0', // quiet ADD Ev,Gv|01 /r|long64|32|a64|rm32,reg32
  '0f841f060000', // JZ Jz|0F 84|long64|64|a64|rel
  'q:48c1ef0c', // quiet SHR Ev,Ib|C1 /5|long64|64|a64|rm64,imm8
  'q:41c1c010', // quiet ROL Ev,Ib|C1 /0|long64|32|a64|rm32,imm8
  'q:c1ce0c', // quiet ROR Ev,Ib|C1 /1|long64|32|a64|rm32,imm8
  '4883c101', // ADD Ev,sIb|83 /0|long64|64|a64|rm64,imm64
  '0f85c0dd95fe', // JNZ Jz|0F 85|long64|64|a64|rel
  '01f0', // ADD Ev,Gv|01 /r|long64|32|a64|rm32,reg32
  '4829ca', // SUB Ev,Gv|29 /r|long64|64|a64|rm64,reg64
  '4183fa05', // CMP Ev,sIb|83 /7|long64|32|a64|rm32,imm32
  '0fb6d3', // MOVZX Gv,Eb|0F B6 /r|long64|32|a64|reg32,rm8
  '4863ff', // MOVSXD Gv,Ez|63 /r|long64|64|a64|reg64,rm32
  'e9dbb6d800', // JMP Jz|E9|long64|64|a64|rel
  '44894c2404', // MOV Ev,Gv|89 /r|long64|32|a64|mem4.base,reg32
  '483b3d0164c101', // CMP Gv,Ev|3B /r|long64|64|a64|reg64,mem8.base
  '4c01e3', // ADD Ev,Gv|01 /r|long64|64|a64|rm64,reg64
  '83c301', // ADD Ev,sIb|83 /0|long64|32|a64|rm32,imm32
  '66662e0f1f840000000000', // NOP Ev|0F 1F /r|long64|32|a64|mem4.full
  '4883f920', // CMP Ev,sIb|83 /7|long64|64|a64|rm64,imm64
  '4b8d443701', // LEA Gv,M|8D /r|long64|64|a64|reg64,mem0.full
  '83ea01', // SUB Ev,sIb|83 /5|long64|32|a64|rm32,imm32
  'f348ab', // STOS|AB|long64|64|a64||rep
  '400f92c5', // SETB Eb|0F 92 /r|long64|8|a64|rm8
  'c1ce0c', // ROR Ev,Ib|C1 /1|long64|32|a64|rm32,imm8
  '0fb65302', // MOVZX Gv,Eb|0F B6 /r|long64|32|a64|reg32,mem1.base
  '480f43c3', // CMOVNB Gv,Ev|0F 43 /r|long64|64|a64|reg64,rm64
  'q:4c0faff2', // quiet IMUL Gv,Ev|0F AF /r|long64|64|a64|reg64,rm64
  'q:48c1c010', // quiet ROL Ev,Ib|C1 /0|long64|64|a64|rm64,imm8
  '0fba64240c0a', // BT Ev,Ib|0F BA /4|long64|32|a64|mem4.base,imm8
  '85c0', // TEST Ev,Gv|85 /r|long64|32|a64|rm32,reg32
  '4883ec08', // SUB Ev,sIb|83 /5|long64|64|a64|rm64,imm64
  '7253', // JB Jb|72|long64|64|a64|rel
  '4811ce', // ADC Ev,Gv|11 /r|long64|64|a64|rm64,reg64
  'b9010100c0', // MOV Zv,Iv|B8+r|long64|32|a64|reg32,imm32
  'q:83c301', // quiet ADD Ev,sIb|83 /0|long64|32|a64|rm32,imm32
  '03540500', // ADD Gv,Ev|03 /r|long64|32|a64|reg32,mem4.full
  '803dfbc1f50000', // CMP Eb,Ib|80 /7|long64|8|a64|mem1.base,imm8
  'q:250000000c', // quiet AND rAX,Iz|25|long64|32|a64|@0.32,imm32
  '4584f6', // TEST Eb,Gb|84 /r|long64|8|a64|rm8,reg8
  '4889040a', // MOV Ev,Gv|89 /r|long64|64|a64|mem8.full,reg64
  '438d042c', // LEA Gv,M|8D /r|long64|32|a64|reg32,mem0.full
  'c1ed03', // SHR Ev,Ib|C1 /5|long64|32|a64|rm32,imm8
  'q:4883c101', // quiet ADD Ev,sIb|83 /0|long64|64|a64|rm64,imm64
  'f7d0', // NOT Ev|F7 /2|long64|32|a64|rm32
  '83e201', // AND Ev,sIb|83 /4|long64|32|a64|rm32,imm32
  'a801', // TEST AL,Ib|A8|long64|8|a64|@0.8,imm8
  '0f82f5000000', // JB Jz|0F 82|long64|64|a64|rel
  '88831c010000', // MOV Eb,Gb|88 /r|long64|8|a64|mem1.base,reg8
  '7822', // JS Jb|78|long64|64|a64|rel
  '65482b042528000000', // SUB Gv,Ev|2B /r|long64|64|a64|reg64,mem8.full
  '6690', // NOP|90|long64|32|a64|
  'q:4829ca', // quiet SUB Ev,Gv|29 /r|long64|64|a64|rm64,reg64
  'q:4821d0', // quiet AND Ev,Gv|21 /r|long64|64|a64|rm64,reg64
  '771e', // JNBE Jb|77|long64|64|a64|rel
  'f3a4', // MOVSB|A4|long64|8|a64||rep
  '48c7c000400483', // MOV Ev,Iz|C7 /0|long64|64|a64|rm64,imm64
  '48ffc9', // DEC Ev|FF /1|long64|64|a64|rm64
  '48f7d2', // NOT Ev|F7 /2|long64|64|a64|rm64
  'q:09fe', // quiet OR Ev,Gv|09 /r|long64|32|a64|rm32,reg32
  '3d00000080', // CMP rAX,Iz|3D|long64|32|a64|@0.32,imm32
  '41ffcd', // DEC Ev|FF /1|long64|32|a64|rm32
  '4803057e7ca001', // ADD Gv,Ev|03 /r|long64|64|a64|reg64,mem8.base
  'f348a5', // MOVS|A5|long64|64|a64||rep
  '41c1c010', // ROL Ev,Ib|C1 /0|long64|32|a64|rm32,imm8
  '48c705c8279affb042a481', // MOV Ev,Iz|C7 /0|long64|64|a64|mem8.base,imm64
  '8b0402', // MOV Gv,Ev|8B /r|long64|32|a64|reg32,mem4.full
  '790d', // JNS Jb|79|long64|64|a64|rel
  '034f04', // ADD Gv,Ev|03 /r|long64|32|a64|reg32,mem4.base
  '81e2ff010000', // AND Ev,Iz|81 /4|long64|32|a64|rm32,imm32
  '80cd10', // OR Eb,Ib|80 /1|long64|8|a64|rm8,imm8
  'f605b20bb5ff40', // TEST Eb,Ib|F6 /0|long64|8|a64|mem1.base,imm8
  '480304fd60cb4182', // ADD Gv,Ev|03 /r|long64|64|a64|reg64,mem8.full
  'a900000004', // TEST rAX,Iz|A9|long64|32|a64|@0.32,imm32
  'q:4883e1fd', // quiet AND Ev,sIb|83 /4|long64|64|a64|rm64,imm64
  '4c393424', // CMP Ev,Gv|39 /r|long64|64|a64|mem8.base,reg64
  '0fb7740dfe', // MOVZX Gv,Ew|0F B7 /r|long64|32|a64|reg32,mem2.full
  '48baffffffffffffff3f', // MOV Zv,Iv|B8+r|long64|64|a64|reg64,imm64
  'q:4881e200feffff', // quiet AND Ev,Iz|81 /4|long64|64|a64|rm64,imm64
  'q:83e201', // quiet AND Ev,sIb|83 /4|long64|32|a64|rm32,imm32
  'f6c402', // TEST Eb,Ib|F6 /0|long64|8|a64|rm8,imm8
  '664189740ffe', // MOV Ev,Gv|89 /r|long64|16|a64|mem2.full,reg16
  '89441328', // MOV Ev,Gv|89 /r|long64|32|a64|mem4.full,reg32
  '81fa00000080', // CMP Ev,Iz|81 /7|long64|32|a64|rm32,imm32
  '0f8794000000', // JNBE Jz|0F 87|long64|64|a64|rel
  'f20f10442408', // MOVSD Vx,Wsd|F2 0F 10 /r|long64|32|a64|xreg,mem8.base
  'q:4809c7', // quiet OR Ev,Gv|09 /r|long64|64|a64|rm64,reg64
  '48633402', // MOVSXD Gv,Ez|63 /r|long64|64|a64|reg64,mem4.full
  '7602', // JBE Jb|76|long64|64|a64|rel
  '48c1e006', // SHL Ev,Ib|C1 /4|long64|64|a64|rm64,imm8
  '0f86aefdffff', // JBE Jz|0F 86|long64|64|a64|rel
  '0f95c0', // SETNZ Eb|0F 95 /r|long64|8|a64|rm8
  'ffe0', // JMP Ev|FF /4|long64|64|a64|rm64
  '8d57ff', // LEA Gv,M|8D /r|long64|32|a64|reg32,mem0.base
  '4883ba40dda48200', // CMP Ev,sIb|83 /7|long64|64|a64|mem8.base,imm64
  '660fefc0', // PXOR Vx,Wx|66 0F EF /r|long64|32|a64|xreg,xrm
  'q:4983d400', // quiet ADC Ev,sIb|83 /2|long64|64|a64|rm64,imm64
  'q:41ffcd', // quiet DEC Ev|FF /1|long64|32|a64|rm32
  'f20f11442408', // MOVSD Wsd,Vx|F2 0F 11 /r|long64|64|a64|mem8.base,xreg
  '4809c7', // OR Ev,Gv|09 /r|long64|64|a64|rm64,reg64
  '0f8392000000', // JNB Jz|0F 83|long64|64|a64|rel
  '3c0e', // CMP AL,Ib|3C|long64|8|a64|@0.8,imm8
  '4883e1fd', // AND Ev,sIb|83 /4|long64|64|a64|rm64,imm64
  '4981c40000a182', // ADD Ev,Iz|81 /0|long64|64|a64|rm64,imm64
  '0f88d0000000', // JS Jz|0F 88|long64|64|a64|rel
  '4881eca8000000', // SUB Ev,Iz|81 /5|long64|64|a64|rm64,imm64
  '4821d0', // AND Ev,Gv|21 /r|long64|64|a64|rm64,reg64
  'q:48f7d8', // quiet NEG Ev|F7 /3|long64|64|a64|rm64
  '48833cc54020218300', // CMP Ev,sIb|83 /7|long64|64|a64|mem8.full,imm64
  '664585d2', // TEST Ev,Gv|85 /r|long64|16|a64|rm16,reg16
  '483383b8000000', // XOR Gv,Ev|33 /r|long64|64|a64|reg64,mem8.base
  '4881f9ff010000', // CMP Ev,Iz|81 /7|long64|64|a64|rm64,imm64
  '48330cc6', // XOR Gv,Ev|33 /r|long64|64|a64|reg64,mem8.full
  '486333', // MOVSXD Gv,Ez|63 /r|long64|64|a64|reg64,mem4.base
  '48f7c29fffffff', // TEST Ev,Iz|F7 /0|long64|64|a64|rm64,imm64
  '7e02', // JLE Jb|7E|long64|64|a64|rel
  '0fc8', // BSWAP Zv|0F C8+r|long64|32|a64|reg32
  'c600e9', // MOV Eb,Ib|C6 /0|long64|8|a64|mem1.base,imm8
  '0fb61407', // MOVZX Gv,Eb|0F B6 /r|long64|32|a64|reg32,mem1.full
  '480f44e8', // CMOVZ Gv,Ev|0F 44 /r|long64|64|a64|reg64,rm64
  'q:482500f0ffff', // quiet AND rAX,Iz|25|long64|64|a64|@0.64,imm64
  'ff25ba0d1e00', // JMP Ev|FF /4|long64|64|a64|mem8.base
  '08d0', // OR Eb,Gb|08 /r|long64|8|a64|rm8,reg8
  '3a1406', // CMP Gb,Eb|3A /r|long64|8|a64|reg8,mem1.full
  'q:4883ec08', // quiet SUB Ev,sIb|83 /5|long64|64|a64|rm64,imm64
  'ff15ff1e9f01', // CALL Ev|FF /2|long64|64|a64|mem8.base
  'f7d8', // NEG Ev|F7 /3|long64|32|a64|rm32
  '41f7c4ff0f0000', // TEST Ev,Iz|F7 /0|long64|32|a64|rm32,imm32
  'c705c47a39ff01000000', // MOV Ev,Iz|C7 /0|long64|32|a64|mem4.base,imm32
  'q:48c1f83f', // quiet SAR Ev,Ib|C1 /7|long64|64|a64|rm64,imm8
  '3b5d08', // CMP Gv,Ev|3B /r|long64|32|a64|reg32,mem4.base
  '834b5402', // OR Ev,sIb|83 /1|long64|32|a64|mem4.base,imm32
  'q:4803057e7ca001', // quiet ADD Gv,Ev|03 /r|long64|64|a64|reg64,mem8.base
  '397714', // CMP Ev,Gv|39 /r|long64|32|a64|mem4.base,reg32
  '480f46c1', // CMOVBE Gv,Ev|0F 46 /r|long64|64|a64|reg64,rm64
  '48d1fa', // SAR Ev,1|D1 /7|long64|64|a64|rm64,one1
  '4080ff0e', // CMP Eb,Ib|80 /7|long64|8|a64|rm8,imm8
  '41c6040700', // MOV Eb,Ib|C6 /0|long64|8|a64|mem1.full,imm8
  '480f42c1', // CMOVB Gv,Ev|0F 42 /r|long64|64|a64|reg64,rm64
  '65ff05edd4ff7e', // INC Ev|FF /0|long64|32|a64|mem4.full
  '65ff0daad4ff7e', // DEC Ev|FF /1|long64|32|a64|mem4.full
  '29c2', // SUB Ev,Gv|29 /r|long64|32|a64|rm32,reg32
  'q:80f2ff', // quiet XOR Eb,Ib|80 /6|long64|8|a64|rm8,imm8
  '0f28c8', // MOVAPS Vx,Wx|NP 0F 28 /r|long64|32|a64|xreg,xrm
  '660f74e0', // PCMPEQB Vx,Wx|66 0F 74 /r|long64|32|a64|xreg,xrm
  '660fd7d4', // PMOVMSKB Gd,Ux|66 0F D7 /r|long64|32|a64|reg32,xrm
  'f30f6f20', // MOVDQU Vx,Wx|F3 0F 6F /r|long64|32|a64|xreg,mem16.base
  '48f7742408', // DIV Ev|F7 /6|long64|64|a64|mem8.base
  '0fbcdd', // BSF Gv,Ev|0F BC /r|long64|32|a64|reg32,rm32
  'q:19c0', // quiet SBB Ev,Gv|19 /r|long64|32|a64|rm32,reg32
  '483d0f100000', // CMP rAX,Iz|3D|long64|64|a64|@0.64,imm64
  '0f94c0', // SETZ Eb|0F 94 /r|long64|8|a64|rm8
  '0f8f52010000', // JNLE Jz|0F 8F|long64|64|a64|rel
  '65f60425c1130300ff', // TEST Eb,Ib|F6 /0|long64|8|a64|mem1.full,imm8
  'q:49d1ee', // quiet SHR Ev,1|D1 /5|long64|64|a64|rm64,one1
  '21e8', // AND Ev,Gv|21 /r|long64|32|a64|rm32,reg32
  '0f05', // SYSCALL|0F 05|long64|32|a64|
  '83a81814000001', // SUB Ev,sIb|83 /5|long64|32|a64|mem4.base,imm32
  'q:83ea01', // quiet SUB Ev,sIb|83 /5|long64|32|a64|rm32,imm32
  'q:29c2', // quiet SUB Ev,Gv|29 /r|long64|32|a64|rm32,reg32
  '480500000080', // ADD rAX,Iz|05|long64|64|a64|@0.64,imm64
  '0f1f00', // NOP Ev|0F 1F /r|long64|32|a64|mem4.base
  '0f57c0', // XORPS Vx,Wx|NP 0F 57 /r|long64|32|a64|xreg,xrm
  '0fb713', // MOVZX Gv,Ew|0F B7 /r|long64|32|a64|reg32,mem2.base
  'q:c1ed03', // quiet SHR Ev,Ib|C1 /5|long64|32|a64|rm32,imm8
  '80e702', // AND Eb,Ib|80 /4|long64|8|a64|rm8,imm8
  'q:482b053a2339ff', // quiet SUB Gv,Ev|2B /r|long64|64|a64|reg64,mem8.base
  'q:c1e208', // quiet SHL Ev,Ib|C1 /4|long64|32|a64|rm32,imm8
  '83ce04', // OR Ev,sIb|83 /1|long64|32|a64|rm32,imm32
  '0f93c2', // SETNB Eb|0F 93 /r|long64|8|a64|rm8
  '4038fe', // CMP Eb,Gb|38 /r|long64|8|a64|rm8,reg8
  '48ffc0', // INC Ev|FF /0|long64|64|a64|rm64
  '6a00', // PUSH sIb|6A|long64|64|a64|imm64
  'q:81e2ff010000', // quiet AND Ev,Iz|81 /4|long64|32|a64|rm32,imm32
  '4883042408', // ADD Ev,sIb|83 /0|long64|64|a64|mem8.base,imm64
  'q:48233de55ebbff', // quiet AND Gv,Ev|23 /r|long64|64|a64|reg64,mem8.base
  '48f7009fffffff', // TEST Ev,Iz|F7 /0|long64|64|a64|mem8.base,imm64
  '0f8eb9030000', // JLE Jz|0F 8E|long64|64|a64|rel
  '3e0fb117', // CMPXCHG Ev,Gv|0F B1 /r|long64|32|a64|mem4.base,reg32
  '0fbec0', // MOVSX Gv,Eb|0F BE /r|long64|32|a64|reg32,rm8
  '4c016310', // ADD Ev,Gv|01 /r|long64|64|a64|mem8.base,reg64
  '0f45f7', // CMOVNZ Gv,Ev|0F 45 /r|long64|32|a64|reg32,rm32
  '83f101', // XOR Ev,sIb|83 /6|long64|32|a64|rm32,imm32
  'q:48d3e8', // quiet SHR Ev,CL|D3 /5|long64|64|a64|rm64,@8.8
  '4881e200feffff', // AND Ev,Iz|81 /4|long64|64|a64|rm64,imm64
  'f744240438020000', // TEST Ev,Iz|F7 /0|long64|32|a64|mem4.base,imm32
  '83430401', // ADD Ev,sIb|83 /0|long64|32|a64|mem4.base,imm32
  '66480f6ec0', // MOVD Vx,Ey|66 0F 6E /r|long64|64|a64|xreg,rm64
  '48397c0b10', // CMP Ev,Gv|39 /r|long64|64|a64|mem8.full,reg64
  '4831d8', // XOR Ev,Gv|31 /r|long64|64|a64|rm64,reg64
  '00e4', // ADD Eb,Gb|00 /r|long64|8|a64|rm8,reg8
  '480f450d3ffb7101', // CMOVNZ Gv,Ev|0F 45 /r|long64|64|a64|reg64,mem8.base
  '66490f7ec5', // MOVD Ey,Vx|66 0F 7E /r|long64|64|a64|rm64,xreg
  'f20f2ac6', // CVTSI2SD Vx,Ey|F2 0F 2A /r|long64|32|a64|xreg,rm32
  'f20f5cc1', // SUBSD Vx,Wsd|F2 0F 5C /r|long64|32|a64|xreg,xrm
  '660f2fc1', // COMISD Vx,Wsd|66 0F 2F /r|long64|32|a64|xreg,xrm
  '660f2e4310', // UCOMISD Vx,Wsd|66 0F 2E /r|long64|32|a64|xreg,mem8.base
  '0f9ac0', // SETP Eb|0F 9A /r|long64|8|a64|rm8
  'f20f58442420', // ADDSD Vx,Wsd|F2 0F 58 /r|long64|32|a64|xreg,mem8.base
  'f20f58c1', // ADDSD Vx,Wsd|F2 0F 58 /r|long64|32|a64|xreg,xrm
  '0f31', // RDTSC|0F 31|long64|32|a64|
  '833d7cb7db0001', // CMP Ev,sIb|83 /7|long64|32|a64|mem4.base,imm32
  '3342e0', // XOR Gv,Ev|33 /r|long64|32|a64|reg32,mem4.base
  '663d8680', // CMP rAX,Iz|3D|long64|16|a64|@0.16,imm16
  '4898', // CBW|98|long64|64|a64|
  'q:f7d8', // quiet NEG Ev|F7 /3|long64|32|a64|rm32
  '48ff03', // INC Ev|FF /0|long64|64|a64|mem8.base
  '482b053a2339ff', // SUB Gv,Ev|2B /r|long64|64|a64|reg64,mem8.base
  '490f48cc', // CMOVS Gv,Ev|0F 48 /r|long64|64|a64|reg64,rm64
  '8325a768b7fffe', // AND Ev,sIb|83 /4|long64|32|a64|mem4.base,imm32
  '428a0423', // MOV Gb,Eb|8A /r|long64|8|a64|reg8,mem1.full
  'c9', // LEAVE|C9|long64|64|a64|
  '480f45d6', // CMOVNZ Gv,Ev|0F 45 /r|long64|64|a64|reg64,rm64
  'q:3342e0', // quiet XOR Gv,Ev|33 /r|long64|32|a64|reg32,mem4.base
  'q:4530ed', // quiet XOR Eb,Gb|30 /r|long64|8|a64|rm8,reg8
  '0f9581802cc482', // SETNZ Eb|0F 95 /r|long64|8|a64|mem1.base
  'q:4819c0', // quiet SBB Ev,Gv|19 /r|long64|64|a64|rm64,reg64
  'q:662500b0', // quiet AND rAX,Iz|25|long64|16|a64|@0.16,imm16
  '482500f0ffff', // AND rAX,Iz|25|long64|64|a64|@0.64,imm64
  '231dea4b9401', // AND Gv,Ev|23 /r|long64|32|a64|reg32,mem4.base
  'q:48d3e2', // quiet SHL Ev,CL|D3 /4|long64|64|a64|rm64,@8.8
  'q:c1f908', // quiet SAR Ev,Ib|C1 /7|long64|32|a64|rm32,imm8
  '480b3d34929cff', // OR Gv,Ev|0B /r|long64|64|a64|reg64,mem8.base
  '480fce', // BSWAP Zv|0F C8+r|long64|64|a64|reg64
  '0f01f9', // RDTSCP|0F 01 F9|long64|32|a64|
  '4c0f47fa', // CMOVNBE Gv,Ev|0F 47 /r|long64|64|a64|reg64,rm64
  '4819c0', // SBB Ev,Gv|19 /r|long64|64|a64|rm64,reg64
  'q:ffc5', // quiet INC Ev|FF /0|long64|32|a64|rm32
  '6689442406', // MOV Ev,Gv|89 /r|long64|16|a64|mem2.base,reg16
  '4233048a', // XOR Gv,Ev|33 /r|long64|32|a64|reg32,mem4.full
  'f390', // PAUSE|F3 90|long64|32|a64|
  '804d0420', // OR Eb,Ib|80 /1|long64|8|a64|mem1.base,imm8
  '7f0c', // JNLE Jb|7F|long64|64|a64|rel
  '490fba2e0c', // BTS Ev,Ib|0F BA /5|long64|64|a64|mem8.base,imm8
  '480fba70c00c', // BTR Ev,Ib|0F BA /6|long64|64|a64|mem8.base,imm8
  '8025281e290001', // AND Eb,Ib|80 /4|long64|8|a64|mem1.base,imm8
  '480fbae039', // BT Ev,Ib|0F BA /4|long64|64|a64|rm64,imm8
  '3e41ff4c2434', // DEC Ev|FF /1|long64|32|a64|mem4.base
  '48c1f83f', // SAR Ev,Ib|C1 /7|long64|64|a64|rm64,imm8
  'q:480b3d34929cff', // quiet OR Gv,Ev|0B /r|long64|64|a64|reg64,mem8.base
  '48012cfd807df683', // ADD Ev,Gv|01 /r|long64|64|a64|mem8.full,reg64
  '0f2900', // MOVAPS Wx,Vx|NP 0F 29 /r|long64|32|a64|mem16.base,xreg
  '6683f801', // CMP Ev,sIb|83 /7|long64|16|a64|rm16,imm16
  '403879ff', // CMP Eb,Gb|38 /r|long64|8|a64|mem1.base,reg8
  '480fa30424', // BT Ev,Gv|0F A3 /r|long64|64|a64|mem8.base,reg64
  'ff442440', // INC Ev|FF /0|long64|32|a64|mem4.base
  '09fe', // OR Ev,Gv|09 /r|long64|32|a64|rm32,reg32
  '817b2006000080', // CMP Ev,Iz|81 /7|long64|32|a64|mem4.base,imm32
  '410f42f5', // CMOVB Gv,Ev|0F 42 /r|long64|32|a64|reg32,rm32
  '48295310', // SUB Ev,Gv|29 /r|long64|64|a64|mem8.base,reg64
  '480fbec0', // MOVSX Gv,Eb|0F BE /r|long64|64|a64|reg64,rm8
  '250000000c', // AND rAX,Iz|25|long64|32|a64|@0.32,imm32
  '0f8921010000', // JNS Jz|0F 89|long64|64|a64|rel
  '49d1ee', // SHR Ev,1|D1 /5|long64|64|a64|rm64,one1
  '7c35', // JL Jb|7C|long64|64|a64|rel
  '48f7d8', // NEG Ev|F7 /3|long64|64|a64|rm64
  '6501356168f77e', // ADD Ev,Gv|01 /r|long64|32|a64|mem4.full,reg32
  'f3ab', // STOS|AB|long64|32|a64||rep
  '480fbe10', // MOVSX Gv,Eb|0F BE /r|long64|64|a64|reg64,mem1.base
  '83d600', // ADC Ev,sIb|83 /2|long64|32|a64|rm32,imm32
  '83ac84a800000001', // SUB Ev,sIb|83 /5|long64|32|a64|mem4.full,imm32
  '448a1e', // MOV Gb,Eb|8A /r|long64|8|a64|reg8,mem1.base
  '9c', // PUSHF|9C|long64|64|a64|
  '0f45442410', // CMOVNZ Gv,Ev|0F 45 /r|long64|32|a64|reg32,mem4.base
  '482d00900783', // SUB rAX,Iz|2D|long64|64|a64|@0.64,imm64
  '0f44c6', // CMOVZ Gv,Ev|0F 44 /r|long64|32|a64|reg32,rm32
  '684160a481', // PUSH Iz|68|long64|64|a64|imm64
  '8cd0', // MOV Rv/Mw,Sw|8C /r|long64|32|a64|rm32,segment2
  '8cc8', // MOV Rv/Mw,Sw|8C /r|long64|32|a64|rm32,segment1
  '48cf', // IRET|CF|long64|64|a64|
  '3e480fb11d9fc5ed02', // CMPXCHG Ev,Gv|0F B1 /r|long64|64|a64|mem8.base,reg64
  '450fb7f6', // MOVZX Gv,Ew|0F B7 /r|long64|32|a64|reg32,rm16
  '39c2+753c', // CMP Ev,Gv|39 /r|long64|32|a64|rm32,reg32 + JNZ Jb|75|long64|64|a64|rel
  '4839d0+7314', // CMP Ev,Gv|39 /r|long64|64|a64|rm64,reg64 + JNB Jb|73|long64|64|a64|rel
  '4531c9+eb09', // XOR Ev,Gv|31 /r|long64|32|a64|rm32,reg32 + JMP Jb|EB|long64|64|a64|rel
  '753c+ffc5', // JNZ Jb|75|long64|64|a64|rel + INC Ev|FF /0|long64|32|a64|rm32
  'ffc5+q:48ffc0', // INC Ev|FF /0|long64|32|a64|rm32 + quiet INC Ev|FF /0|long64|64|a64|rm64
  'q:48ffc0+39c2', // quiet INC Ev|FF /0|long64|64|a64|rm64 + CMP Ev,Gv|39 /r|long64|32|a64|rm32,reg32
  '415b+415b', // POP Zv|58+r|long64|64|a64|reg64 + POP Zv|58+r|long64|64|a64|reg64
  '89d0+89d0', // MOV Ev,Gv|89 /r|long64|32|a64|rm32,reg32 + MOV Ev,Gv|89 /r|long64|32|a64|rm32,reg32
  '415b+c3', // POP Zv|58+r|long64|64|a64|reg64 + RET|C3|long64|64|a64|
  '4889f7+89d0', // MOV Ev,Gv|89 /r|long64|64|a64|rm64,reg64 + MOV Ev,Gv|89 /r|long64|32|a64|rm32,reg32
  'q:4c01e3+4839d0', // quiet ADD Ev,Gv|01 /r|long64|64|a64|rm64,reg64 + CMP Ev,Gv|39 /r|long64|64|a64|rm64,reg64
  'q:4831d8+4889f7', // quiet XOR Ev,Gv|31 /r|long64|64|a64|rm64,reg64 + MOV Ev,Gv|89 /r|long64|64|a64|rm64,reg64
  'q:48c1e006+q:4831d8', // quiet SHL Ev,Ib|C1 /4|long64|64|a64|rm64,imm8 + quiet XOR Ev,Gv|31 /r|long64|64|a64|rm64,reg64
  '4889f7+4c0faff2', // MOV Ev,Gv|89 /r|long64|64|a64|rm64,reg64 + IMUL Gv,Ev|0F AF /r|long64|64|a64|reg64,rm64
  'q:4531c9+89d0', // quiet XOR Ev,Gv|31 /r|long64|32|a64|rm32,reg32 + MOV Ev,Gv|89 /r|long64|32|a64|rm32,reg32
  '4531c9+89d0', // XOR Ev,Gv|31 /r|long64|32|a64|rm32,reg32 + MOV Ev,Gv|89 /r|long64|32|a64|rm32,reg32
  '89d0+q:01f0', // MOV Ev,Gv|89 /r|long64|32|a64|rm32,reg32 + quiet ADD Ev,Gv|01 /r|long64|32|a64|rm32,reg32
  '4889f7+e8bfa40000', // MOV Ev,Gv|89 /r|long64|64|a64|rm64,reg64 + CALL Jz|E8|long64|64|a64|rel
  '4889f7+4889f7', // MOV Ev,Gv|89 /r|long64|64|a64|rm64,reg64 + MOV Ev,Gv|89 /r|long64|64|a64|rm64,reg64
  '4889f7+4154', // MOV Ev,Gv|89 /r|long64|64|a64|rm64,reg64 + PUSH Zv|50+r|long64|64|a64|reg64
  'q:01f0+89d0', // quiet ADD Ev,Gv|01 /r|long64|32|a64|rm32,reg32 + MOV Ev,Gv|89 /r|long64|32|a64|rm32,reg32
  '89d0+q:41c1c010', // MOV Ev,Gv|89 /r|long64|32|a64|rm32,reg32 + quiet ROL Ev,Ib|C1 /0|long64|32|a64|rm32,imm8
  'q:41c1c010+q:4531c9', // quiet ROL Ev,Ib|C1 /0|long64|32|a64|rm32,imm8 + quiet XOR Ev,Gv|31 /r|long64|32|a64|rm32,reg32
  '4889f7+q:48c1e006', // MOV Ev,Gv|89 /r|long64|64|a64|rm64,reg64 + quiet SHL Ev,Ib|C1 /4|long64|64|a64|rm64,imm8
  '4889f7+q:48c1ef0c', // MOV Ev,Gv|89 /r|long64|64|a64|rm64,reg64 + quiet SHR Ev,Ib|C1 /5|long64|64|a64|rm64,imm8
  '488b250020b8ff+0fb6d3', // MOV Gv,Ev|8B /r|long64|64|a64|reg64,mem8.base + MOVZX Gv,Eb|0F B6 /r|long64|32|a64|reg32,rm8
  'c1ce0c+q:c1ce0c', // ROR Ev,Ib|C1 /1|long64|32|a64|rm32,imm8 + quiet ROR Ev,Ib|C1 /1|long64|32|a64|rm32,imm8
  '89d0+c1ce0c', // MOV Ev,Gv|89 /r|long64|32|a64|rm32,reg32 + ROR Ev,Ib|C1 /1|long64|32|a64|rm32,imm8
  'q:21e8+q:4531c9', // quiet AND Ev,Gv|21 /r|long64|32|a64|rm32,reg32 + quiet XOR Ev,Gv|31 /r|long64|32|a64|rm32,reg32
  '4839d0+4889f7', // CMP Ev,Gv|39 /r|long64|64|a64|rm64,reg64 + MOV Ev,Gv|89 /r|long64|64|a64|rm64,reg64
  'q:4c01e3+q:4c01e3', // quiet ADD Ev,Gv|01 /r|long64|64|a64|rm64,reg64 + quiet ADD Ev,Gv|01 /r|long64|64|a64|rm64,reg64
  '488b250020b8ff+483b3d0164c101', // MOV Gv,Ev|8B /r|long64|64|a64|reg64,mem8.base + CMP Gv,Ev|3B /r|long64|64|a64|reg64,mem8.base
  '483b3d0164c101+7314', // CMP Gv,Ev|3B /r|long64|64|a64|reg64,mem8.base + JNB Jb|73|long64|64|a64|rel
  '4c0faff2+4c0faff2', // IMUL Gv,Ev|0F AF /r|long64|64|a64|reg64,rm64 + IMUL Gv,Ev|0F AF /r|long64|64|a64|reg64,rm64
  '83ea01+753c', // SUB Ev,sIb|83 /5|long64|32|a64|rm32,imm32 + JNZ Jb|75|long64|64|a64|rel
  '4889f7+q:48c1c010', // MOV Ev,Gv|89 /r|long64|64|a64|rm64,reg64 + quiet ROL Ev,Ib|C1 /0|long64|64|a64|rm64,imm8
  'q:4831d8+q:4c01e3', // quiet XOR Ev,Gv|31 /r|long64|64|a64|rm64,reg64 + quiet ADD Ev,Gv|01 /r|long64|64|a64|rm64,reg64
  'q:4c01e3+83ea01', // quiet ADD Ev,Gv|01 /r|long64|64|a64|rm64,reg64 + SUB Ev,sIb|83 /5|long64|32|a64|rm32,imm32
  'q:48c1ef0c+q:4831d8', // quiet SHR Ev,Ib|C1 /5|long64|64|a64|rm64,imm8 + quiet XOR Ev,Gv|31 /r|long64|64|a64|rm64,reg64
  'q:48c1c010+q:48c1e006', // quiet ROL Ev,Ib|C1 /0|long64|64|a64|rm64,imm8 + quiet SHL Ev,Ib|C1 /4|long64|64|a64|rm64,imm8
  'q:4c01e3+4889f7', // quiet ADD Ev,Gv|01 /r|long64|64|a64|rm64,reg64 + MOV Ev,Gv|89 /r|long64|64|a64|rm64,reg64
  'q:48c1e006+q:4c01e3', // quiet SHL Ev,Ib|C1 /4|long64|64|a64|rm64,imm8 + quiet ADD Ev,Gv|01 /r|long64|64|a64|rm64,reg64
  '89d0+48c1ef0c', // MOV Ev,Gv|89 /r|long64|32|a64|rm32,reg32 + SHR Ev,Ib|C1 /5|long64|64|a64|rm64,imm8
  '4889f7+q:4c01e3', // MOV Ev,Gv|89 /r|long64|64|a64|rm64,reg64 + quiet ADD Ev,Gv|01 /r|long64|64|a64|rm64,reg64
  '89d0+q:48c1ef0c', // MOV Ev,Gv|89 /r|long64|32|a64|rm32,reg32 + quiet SHR Ev,Ib|C1 /5|long64|64|a64|rm64,imm8
  '4889f7+480f43c3', // MOV Ev,Gv|89 /r|long64|64|a64|rm64,reg64 + CMOVNB Gv,Ev|0F 43 /r|long64|64|a64|reg64,rm64
  'q:48c1ef0c+q:4c01e3', // quiet SHR Ev,Ib|C1 /5|long64|64|a64|rm64,imm8 + quiet ADD Ev,Gv|01 /r|long64|64|a64|rm64,reg64
  'q:4c0faff2+4889f7', // quiet IMUL Gv,Ev|0F AF /r|long64|64|a64|reg64,rm64 + MOV Ev,Gv|89 /r|long64|64|a64|rm64,reg64
  '4c0faff2+q:4c0faff2', // IMUL Gv,Ev|0F AF /r|long64|64|a64|reg64,rm64 + quiet IMUL Gv,Ev|0F AF /r|long64|64|a64|reg64,rm64
  '4c0faff2+4889f7', // IMUL Gv,Ev|0F AF /r|long64|64|a64|reg64,rm64 + MOV Ev,Gv|89 /r|long64|64|a64|rm64,reg64
  '4885ff+741c', // TEST Ev,Gv|85 /r|long64|64|a64|rm64,reg64 + JZ Jb|74|long64|64|a64|rel
  '48c1ef0c+4889f7', // SHR Ev,Ib|C1 /5|long64|64|a64|rm64,imm8 + MOV Ev,Gv|89 /r|long64|64|a64|rm64,reg64
  '4829ca+488b14fd60cb4182', // SUB Ev,Gv|29 /r|long64|64|a64|rm64,reg64 + MOV Gv,Ev|8B /r|long64|64|a64|reg64,mem8.full
  'q:4c01e3+q:48c1e006', // quiet ADD Ev,Gv|01 /r|long64|64|a64|rm64,reg64 + quiet SHL Ev,Ib|C1 /4|long64|64|a64|rm64,imm8
  'q:4c01e3+83c301', // quiet ADD Ev,Gv|01 /r|long64|64|a64|rm64,reg64 + ADD Ev,sIb|83 /0|long64|32|a64|rm32,imm32
  '480f43c3+q:4c01e3', // CMOVNB Gv,Ev|0F 43 /r|long64|64|a64|reg64,rm64 + quiet ADD Ev,Gv|01 /r|long64|64|a64|rm64,reg64
  '01f0+89d0', // ADD Ev,Gv|01 /r|long64|32|a64|rm32,reg32 + MOV Ev,Gv|89 /r|long64|32|a64|rm32,reg32
  '4b8d443701+4889f7', // LEA Gv,M|8D /r|long64|64|a64|reg64,mem0.full + MOV Ev,Gv|89 /r|long64|64|a64|rm64,reg64
  '4183fa05+741c', // CMP Ev,sIb|83 /7|long64|32|a64|rm32,imm32 + JZ Jb|74|long64|64|a64|rel
  '488b250020b8ff+488b250020b8ff', // MOV Gv,Ev|8B /r|long64|64|a64|reg64,mem8.base + MOV Gv,Ev|8B /r|long64|64|a64|reg64,mem8.base
];
