import type { MmioDevice } from '../../bus/device.ts';
import type { LocalApic } from './local-apic.ts';

/**
 * The registers at 4 KiB of guest-physical addresses: 16 bytes apart, of which the first 4 count.
 * 32-bit accesses are what software must use (SDM vol. 3A, 10.4.1); what others do is a processor's own affair. Here
 * narrow reads answer their bytes, narrow writes and accesses to the other 12 bytes do nothing and read as 0.
 */
export function xapicPage(apic: LocalApic): MmioDevice {
  return {
    readMmio: (offset, sizeBytes) => {
      const lane = offset & 15;
      if (lane > 3) return 0;
      const value = apic.readRegister(offset >> 4);
      return sizeBytes === 4 ? value : (value >>> (8 * lane)) & ((1 << (8 * sizeBytes)) - 1);
    },
    writeMmio: (offset, sizeBytes, value) => {
      if (sizeBytes === 4 && (offset & 15) === 0) apic.writeRegister(offset >> 4, value);
    },
  };
}
