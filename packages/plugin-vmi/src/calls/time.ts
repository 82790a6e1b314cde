import type { Call, CallHandler } from './call.ts';

const u64 = (low: number, high: number): bigint => (BigInt(high) << 32n) | BigInt(low);

/** SetAlarm(flags EAX, expiry EDX and ECX, period on the stack), in cycles of the counter that the flags name. */
function setAlarm(call: Call): string | undefined {
  const period = u64(call.stack(0), call.stack(1));
  return call.guest.alarmsOf(call.vcpu).set(call.eax, u64(call.edx, call.ecx), period);
}

/** GetCycleCounter(counter EAX): EDX:EAX. */
function getCycleCounter(call: Call): string | undefined {
  const cycles = call.guest.alarmsOf(call.vcpu).cycles(call.eax);
  call.answer64(cycles ?? 0n);
  return cycles === undefined ? 'no such counter' : undefined;
}

export const timeCalls: Readonly<Record<string, CallHandler>> = {
  GetCycleFrequency: (call) => void call.answer64(BigInt(call.guest.machine.clock.tscHz)),
  GetCycleCounter: getCycleCounter,
  SetAlarm: setAlarm,
  CancelAlarm: (call) => call.guest.alarmsOf(call.vcpu).cancel(call.eax),
  /** Nanoseconds since the epoch. */
  GetWallclockTime: (call) => {
    const { clock } = call.guest.machine;
    call.answer64(clock.startEpochNs + BigInt(Math.trunc(clock.nowNs())));
    return undefined;
  },
  // Wall-clock time and the real counter come from one clock: neither moves against the other.
  WallclockUpdated: (call) => void call.answer(0),
};
