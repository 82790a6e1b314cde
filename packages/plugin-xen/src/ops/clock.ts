import { type CodeOp, type CodePlace, Gpr, type OpContext, type TypescriptOp, type Vcpu } from '@polyvisor/plugin-api';
import { assemble, at, label, to, toLabel } from './code.ts';

/**
 * The clock by which Linux schedules, measures and stamps its log (`u64 sched_clock(void)`, nanoseconds), in Xen's manner: a stamp in memory,
 * as struct vcpu_time_info is one (public/xen.h), says which time it was at which reading of the time-stamp counter. Guest code
 * goes on from there by the counter alone, and the machine renews the stamp.
 *
 * Linux under Xen subtracts what Xen's time was when it began to use it (arch/x86/xen/time.c, xen_sched_clock_offset). Here the
 * clock that was there before has its say whenever a stamp is made: the kernel has measured how fast the counter is, to a part in a million or so, and the two
 * would part by a millisecond in a quarter of an hour. So neither loading nor unloading, at any moment, is a step.
 */
const Stamp = {
  /** Reading of the counter. No two stamps have the same, by which code sees that it has been renewed meanwhile. */
  TSC: 0,
  /** How many ticks it is good for; 0: there is none. */
  LIMIT: 8,
  /** Nanoseconds for a tick, a binary fraction of {@link FRACTION_BITS}; below 2^32, so for counters of 62.5 MHz and more. */
  SCALE: 16,
  /** The time then, in nanoseconds. */
  SYSTEM_TIME: 24,
  SIZE_BYTES: 32,
} as const;
const FRACTION_BITS = 28;
/** Ticks of such a time, times the scale, have to fit into 64 bits. */
const RENEW_NS = 50_000_000;
const NS_PER_SECOND = 1_000_000_000n;
const EFER_LMA = 1n << 10n;
const MASK_32 = 0xffffffffn;

const stampAt = ({ data }: CodePlace, field: number) => at(data + BigInt(field));

/** System V AMD64 ABI: RAX, RCX and RDX are free. */
const code64 = (place: CodePlace): Uint8Array =>
  assemble(place, [
    label('again'),
    // mov rcx, [tsc]; rdtsc; shl rdx, 32; or rax, rdx
    ...[[0x48, 0x8b, 0x0d], stampAt(place, Stamp.TSC), [0x0f, 0x31, 0x48, 0xc1, 0xe2, 32, 0x48, 0x09, 0xd0]],
    // sub rax, rcx; cmp rax, [limit]; jae renew
    ...[[0x48, 0x29, 0xc8, 0x48, 0x3b, 0x05], stampAt(place, Stamp.LIMIT), [0x73], toLabel('renew')],
    // imul rax, [scale]; shr rax, FRACTION_BITS
    ...[[0x48, 0x0f, 0xaf, 0x05], stampAt(place, Stamp.SCALE), [0x48, 0xc1, 0xe8, FRACTION_BITS]],
    // add rax, [system time]
    ...[[0x48, 0x03, 0x05], stampAt(place, Stamp.SYSTEM_TIME)],
    // cmp rcx, [tsc]; jne again; ret
    ...[[0x48, 0x3b, 0x0d], stampAt(place, Stamp.TSC), [0x75], toLabel('again'), [0xc3]],
    // jmp trap
    ...[label('renew'), [0xe9], to(place.trap)],
  ]);

/** regparm(3): EAX, ECX and EDX are free, and the result is in EDX:EAX. */
const code32 = (place: CodePlace): Uint8Array =>
  assemble(place, [
    label('again'),
    // mov ecx, [tsc]; rdtsc; sub eax, ecx; sbb edx, [tsc+4]; jne renew
    ...[[0x8b, 0x0d], stampAt(place, Stamp.TSC), [0x0f, 0x31, 0x29, 0xc8]],
    ...[[0x1b, 0x15], stampAt(place, Stamp.TSC + 4), [0x75], toLabel('renew')],
    // cmp eax, [limit]; jae renew
    ...[[0x3b, 0x05], stampAt(place, Stamp.LIMIT), [0x73], toLabel('renew')],
    // mul dword [scale]; shrd eax, edx, FRACTION_BITS; shr edx, FRACTION_BITS
    ...[[0xf7, 0x25], stampAt(place, Stamp.SCALE), [0x0f, 0xac, 0xd0, FRACTION_BITS, 0xc1, 0xea, FRACTION_BITS]],
    // add eax, [system time]; adc edx, [system time+4]
    ...[[0x03, 0x05], stampAt(place, Stamp.SYSTEM_TIME), [0x13, 0x15], stampAt(place, Stamp.SYSTEM_TIME + 4)],
    // cmp ecx, [tsc]; jne again; ret
    ...[[0x3b, 0x0d], stampAt(place, Stamp.TSC), [0x75], toLabel('again'), [0xc3]],
    // jmp trap
    ...[label('renew'), [0xe9], to(place.trap)],
  ]);

const isLong = ({ efer }: Vcpu) => (efer & EFER_LMA) !== 0n;

/** Asks the clock that was there before, and makes a new stamp. */
const renew: TypescriptOp = ({ machine: { clock }, data }) => {
  const askedNs = clock.nowNs();
  return {
    previous: (result, call) => {
      const { gpr } = call.vcpu;
      const before = isLong(call.vcpu) ? result : ((gpr[Gpr.RDX] & MASK_32) << 32n) | (result & MASK_32);
      const now = makeStamp(call, data, before, BigInt(Math.ceil(clock.nowNs() - askedNs)));
      if (isLong(call.vcpu)) return now;
      gpr[Gpr.RDX] = now >> 32n;
      return now & MASK_32;
    },
  };
};

/**
 * The old stamp holds as far as the clock that was there before does not say otherwise: what that answered, `before`, was the time at
 * some moment of the last `tookNs`. It never runs backwards: what was told last may have been the time at the first of these. Answers
 * the time.
 */
function makeStamp({ vcpu, memory, machine }: OpContext, data: number, before: bigint, tookNs: bigint): bigint {
  const hz = BigInt(machine.clock.tscHz);
  const { tsc } = vcpu;
  const old = timeBy(memory, data, tsc);
  const within = old === undefined ? before : least(most(old, before), before + tookNs);
  const now = BigInt.asUintN(64, old === undefined ? within : most(within, old - tookNs));
  memory.write64(data + Stamp.TSC, tsc);
  memory.write64(data + Stamp.SCALE, (NS_PER_SECOND << BigInt(FRACTION_BITS)) / hz);
  memory.write64(data + Stamp.SYSTEM_TIME, now);
  memory.write64(data + Stamp.LIMIT, (BigInt(RENEW_NS) * hz) / NS_PER_SECOND);
  return now;
}
const least = (a: bigint, b: bigint) => (a < b ? a : b);
const most = (a: bigint, b: bigint) => (a > b ? a : b);

/** The time by the stamp that there is; `undefined`: there is none. A counter that has been set back sets the time back. */
function timeBy(memory: OpContext['memory'], data: number, tsc: bigint): bigint | undefined {
  const ticks = tsc - memory.read64(data + Stamp.TSC);
  if (memory.read64(data + Stamp.LIMIT) === 0n) return undefined;
  const scale = memory.read64(data + Stamp.SCALE);
  return memory.read64(data + Stamp.SYSTEM_TIME) + ((ticks * scale) >> BigInt(FRACTION_BITS));
}

export const schedClock: CodeOp = {
  code: (place) => (place.wordBytes === 8 ? code64 : code32)(place),
  trap: renew,
  dataBytes: Stamp.SIZE_BYTES,
};
