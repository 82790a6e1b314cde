import { hasDescriptors } from '../native/mode.ts';
import type { MachineVcpu } from '../vcpu.ts';
import { BiosCall, type BiosHost, Register, type ServiceAnswer } from './call.ts';
import { DataArea } from './data-area.ts';
import { diskService } from './disk.ts';
import { keyboardService } from './keyboard.ts';
import { ROM_SEGMENT, SERVICE_OFFSETS, TRAP_BYTES, WAIT_OFFSET } from './rom.ts';
import { systemService } from './system.ts';
import { timeService } from './time.ts';
import { videoService } from './video.ts';

type Service = (call: BiosCall, host: BiosHost) => ServiceAnswer;

const CS = 1;

const SERVICES: Readonly<Record<number, Service>> = {
  16: videoService,
  17: (call, { memory }) => {
    call.setWord(Register.AX, memory.read16(DataArea.equipment));
    return undefined;
  },
  18: (call, { memory }) => {
    call.setWord(Register.AX, memory.read16(DataArea.memoryKib));
    return undefined;
  },
  19: diskService,
  21: systemService,
  22: keyboardService,
  26: timeService,
};
const VECTOR_AT = new Map(Object.entries(SERVICE_OFFSETS).map(([vector, offset]) => [offset, Number(vector)]));

/** Carry out a VMCALL of the ROM's own code in real-address mode. False: it is none of those. */
export function answerBiosCall(vcpu: MachineVcpu, host: BiosHost): boolean {
  if (hasDescriptors(vcpu) || vcpu.segment(CS).base !== BigInt(ROM_SEGMENT * 16)) return false;
  const offset = vcpu.ripHalves[0];
  const vector = VECTOR_AT.get(offset);
  if (vector === undefined) return false;
  const answer = SERVICES[vector](new BiosCall(vcpu), host);
  vcpu.setRip(offset + (answer === 'wait' ? WAIT_OFFSET : TRAP_BYTES), 0);
  return true;
}
