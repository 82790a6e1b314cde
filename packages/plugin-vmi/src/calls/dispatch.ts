import type { ExitAnswer, Vcpu } from '@polyvisor/plugin-api';
import type { VmiGuest } from '../guest.ts';
import { Call, type CallHandler, GuestFault, UNDEFINED_OPCODE } from './call.ts';
import { memoryCalls } from './memory.ts';
import { CALL_NAMES } from './numbers.ts';
import { processorCalls } from './processor.ts';
import { timeCalls } from './time.ts';

interface KnownCall {
  readonly name: string;
  readonly counter: string;
  readonly refused: string;
  /** `undefined`: the processor's own business. */
  readonly handler: CallHandler | undefined;
}

const handlers: Readonly<Record<string, CallHandler>> = { ...processorCalls, ...memoryCalls, ...timeCalls };
const CALLS: ReadonlyMap<number, KnownCall> = new Map(
  [...CALL_NAMES].map(([number, name]) => [
    number,
    { name, counter: `call.${name}`, refused: `refused.${name}`, handler: handlers[name] },
  ]),
);

/**
 * Carry out the call whose trap this vCPU has met in the ROM. A page fault of its arguments, or an undefined opcode for a
 * number that is no call, is raised at the trap; a call whose arguments mean nothing does nothing and is counted.
 */
export function dispatchCall(guest: VmiGuest, vcpu: Vcpu): ExitAnswer {
  const call = new Call(guest, vcpu);
  try {
    return carryOut(guest, call);
  } catch (error) {
    if (!(error instanceof GuestFault)) throw error;
    const { vector, page } = error;
    guest.host.count('call.fault');
    return page ? { fault: vector, errorCode: page.errorCode, cr2: page.gva } : { fault: vector };
  }
}

function carryOut({ host }: VmiGuest, call: Call): ExitAnswer {
  const known = CALLS.get(call.number());
  if (!known) throw new GuestFault(UNDEFINED_OPCODE);
  host.count(known.counter);
  const { eax, edx, ecx } = call;
  const refused = known.handler?.(call);
  host.trace('hypercalls', () => ({
    vcpu: call.vcpu.id,
    name: known.name,
    args: [eax, edx, ecx].map((value) => `0x${value.toString(16)}`),
    result: refused ?? (known.handler ? `0x${call.eax.toString(16)}` : 'native'),
  }));
  if (refused !== undefined) {
    host.count(known.refused);
    host.log('debug', `${known.name} does nothing: ${refused}`);
  }
  return 'handled';
}
