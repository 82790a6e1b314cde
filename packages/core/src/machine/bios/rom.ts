import type { GuestMemory } from '@polyvisor/plugin-api';
import type { PortBus } from '../../bus/port-bus.ts';
import { Port } from '../platform/layout.ts';
import { writeDataArea } from './data-area.ts';

/**
 * What a PC BIOS leaves behind for an image that runs in real mode: an interrupt vector table, services behind some of its
 * vectors, the time-of-day tick at INT 8, the 8259 pair at vectors 08h and 70h with the timer alone unmasked, the 8254
 * ticking 18.2 times a second. Entry points are where the IBM PC made them customary (IBM PC/AT Technical Reference,
 * BIOS listing: dummy return F000:FF53, timer F000:FEA5, the services below, reset F000:FFF0).
 */
export const ROM_SEGMENT = 0xf000;
const VECTORS = 256;
const TIMER_VECTOR = 8;
const RETURN = { offset: 0xff53, code: [0xcf] } as const; // iret
const TIMER = {
  offset: 0xfea5,
  // biome-ignore format: an instruction a line
  code: [
    0x1e, 0x50, // push ds; push ax
    0x31, 0xc0, 0x8e, 0xd8, // xor ax, ax; mov ds, ax
    0x83, 0x06, 0x6c, 0x04, 0x01, // add word [46ch], 1: the tick count of the BIOS data area
    0x83, 0x16, 0x6e, 0x04, 0x00, // adc word [46eh], 0
    0xb0, 0x20, 0xe6, 0x20, // mov al, 20h; out 20h, al: end of interrupt
    0x58, 0x1f, 0xcf, // pop ax; pop ds; iret
  ],
} as const;
/** The reset line, through system control port A; behind it the date that BIOSes have at F000:FFF5. */
const RESET = { offset: 0xfff0, code: [0xb0, 0x01, 0xe6, 0x92, 0xf4] } as const; // mov al, 1; out 92h, al; hlt

/** Offset of each vector's service in the ROM. */
export const SERVICE_OFFSETS: Readonly<Record<number, number>> = {
  16: 0xf065,
  17: 0xf84d,
  18: 0xf841,
  19: 0xe3fe,
  21: 0xf859,
  22: 0xe82e,
  26: 0xfe6e,
};
/** A service: `vmcall`, which the machine answers, and `iret`. */
export const TRAP_BYTES = 3;
/** Behind it: where a service goes on that waits for an interrupt and then asks again. */
export const WAIT_OFFSET = 4;
// biome-ignore format: an instruction a line
const SERVICE = [
  0x0f, 0x01, 0xc1, // vmcall
  0xcf, // iret
  0xfb, 0xf4, // sti; hlt
  0xeb, 0xf8, // jmp to the vmcall
] as const;

/** INT 15h, AH = C0h: a PC/AT with two 8259s, a real-time clock and an extended BIOS data area. */
export const CONFIGURATION_OFFSET = 0xe6f5;
const CONFIGURATION = [8, 0, 0xfc, 1, 0, 0x64, 0, 0, 0, 0] as const;

/** ICW1 with ICW4, vector bases, the cascade at input 2, 8086 mode; masks (Intel 8259A data sheet). */
const PIC_MASTER = [0x11, 0x08, 0x04, 0x01, 0xfe] as const;
const PIC_SLAVE = [0x11, 0x70, 0x02, 0x01, 0xff] as const;
/** 8254: counter 0, both bytes, mode 3; count 0 is 65,536 (Intel 8254 data sheet). */
const PIT_CONTROL = 0x36;

/** Before the image is placed: it may lie over all of this. */
export function leaveBiosBehind(memory: GuestMemory, ports: Pick<PortBus, 'write'>): void {
  const place = (offset: number, bytes: readonly number[]) =>
    memory.writeBytes(ROM_SEGMENT * 16 + offset, Uint8Array.from(bytes));
  for (const { offset, code } of [RETURN, TIMER, RESET]) place(offset, code);
  place(CONFIGURATION_OFFSET, CONFIGURATION);
  for (const offset of Object.values(SERVICE_OFFSETS)) place(offset, SERVICE);
  for (let vector = 0; vector < VECTORS; vector++) {
    const offset = vector === TIMER_VECTOR ? TIMER.offset : (SERVICE_OFFSETS[vector] ?? RETURN.offset);
    memory.write32(vector * 4, ROM_SEGMENT * 0x10000 + offset);
  }
  writeDataArea(memory);
  initialiseTimerInterrupt(ports);
}

function initialiseTimerInterrupt(ports: Pick<PortBus, 'write'>): void {
  for (const [port, [icw1, ...rest]] of [
    [Port.picMaster, PIC_MASTER],
    [Port.picSlave, PIC_SLAVE],
  ] as const) {
    ports.write(port, 1, icw1);
    for (const value of rest) ports.write(port + 1, 1, value);
  }
  ports.write(Port.pit + 3, 1, PIT_CONTROL);
  ports.write(Port.pit, 1, 0);
  ports.write(Port.pit, 1, 0);
}
