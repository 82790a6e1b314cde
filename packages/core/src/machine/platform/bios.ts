import type { GuestMemory } from '@polyvisor/plugin-api';
import type { PortBus } from '../../bus/port-bus.ts';
import { Port } from './layout.ts';

/**
 * What a PC BIOS leaves behind for an image that may go back to real mode: an interrupt vector table whose entries
 * return, the time-of-day tick at INT 8, the 8259 pair at vectors 08h and 70h with the timer alone unmasked, the 8254
 * ticking 18.2 times a second. Addresses are those that the IBM PC made customary (IBM PC/AT Technical
 * Reference, BIOS listing: dummy return F000:FF53, timer F000:FEA5). NOT IMPLEMENTED: services by software interrupt.
 */
const SEGMENT = 0xf000;
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

/** ICW1 with ICW4, vector bases, the cascade at input 2, 8086 mode; masks (Intel 8259A data sheet). */
const PIC_MASTER = [0x11, 0x08, 0x04, 0x01, 0xfe] as const;
const PIC_SLAVE = [0x11, 0x70, 0x02, 0x01, 0xff] as const;
/** 8254: counter 0, both bytes, mode 3; count 0 is 65,536 (Intel 8254 data sheet). */
const PIT_CONTROL = 0x36;

/** Before the image is placed: it may lie over all of this. */
export function leaveBiosBehind(memory: GuestMemory, ports: Pick<PortBus, 'write'>): void {
  for (const { offset, code } of [RETURN, TIMER]) memory.writeBytes(SEGMENT * 16 + offset, Uint8Array.from(code));
  for (let vector = 0; vector < VECTORS; vector++) {
    const { offset } = vector === TIMER_VECTOR ? TIMER : RETURN;
    memory.write32(vector * 4, SEGMENT * 0x10000 + offset);
  }
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
