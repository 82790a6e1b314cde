import {
  type Aml,
  argument,
  device,
  eisaId,
  ifTrue,
  integer,
  method,
  name,
  nameString,
  packageOf,
  returnOf,
  scope,
  store,
  text,
} from './aml.ts';
import type { AcpiPciBus, AcpiPlatform } from './platform.ts';
import { busNumbers, isaIrq, memory32, memoryWindow, ports, portWindow, resourceTemplate } from './resources.ts';
import { SLEEP_TYPE_S5 } from './spec.ts';

const PCI_DEVICES = 32;
const PCI_PINS = 4;
/** Ports of PCI's configuration mechanism: the host bridge's own, and a gap in what it passes on. */
const CONFIG_PORTS = { first: 0xcf8, count: 8 };

/** The definition block's terms: S5, and the devices that cannot be found by looking (ACPI 6.3, chapter 5 and 6). */
export function dsdtTerms(platform: AcpiPlatform): Aml {
  return [
    // SLP_TYP for PM1a and PM1b (7.4.2.5).
    ...(platform.fixedHardware
      ? name('\\_S5', packageOf(integer(SLEEP_TYPE_S5), integer(SLEEP_TYPE_S5), integer(0), integer(0)))
      : []),
    // The operating system says which interrupt model it uses: 0 PIC, 1 APIC (5.8.1).
    ...name('\\PICM', integer(0)),
    ...method('\\_PIC', 1, store(argument(0), nameString('PICM'))),
    ...scope(
      '\\_SB',
      ...processors(platform.vcpus),
      ...(platform.pci ? [pciRoot(platform.pci)] : []),
      ...isaDevices(platform),
    ),
  ];
}

/** 8.4: a processor as a device; _UID is that of its entry in the MADT. */
function processors(count: number): Aml[] {
  return Array.from({ length: count }, (_, id) =>
    device(
      `C${id.toString(16).toUpperCase().padStart(3, '0')}`,
      name('_HID', text('ACPI0007')),
      name('_UID', integer(id)),
    ),
  );
}

function pciRoot(pci: AcpiPciBus): Aml {
  const afterConfig = CONFIG_PORTS.first + CONFIG_PORTS.count;
  return device(
    'PCI0',
    name('_HID', eisaId('PNP0A03')),
    name('_BBN', integer(0)),
    name('_UID', integer(0)),
    name(
      '_CRS',
      resourceTemplate(
        busNumbers(0, 256),
        ports(CONFIG_PORTS.first, CONFIG_PORTS.count),
        portWindow(0, CONFIG_PORTS.first),
        portWindow(afterConfig, 0x10000 - afterConfig),
        memoryWindow(pci.memory.first, pci.memory.sizeBytes),
      ),
    ),
    name('APRT', routing(pci, pci.gsiOfWire)),
    name('PPRT', routing(pci, pci.irqOfWire)),
    method('_PRT', 0, ifTrue(nameString('PICM'), returnOf(nameString('APRT'))), returnOf(nameString('PPRT'))),
  );
}

/** 6.2.13: address of a slot (any function), pin, no link device, global system interrupt. */
function routing(pci: AcpiPciBus, interrupts: readonly number[]): Aml {
  const entries: Aml[] = [];
  for (let slot = 1; slot < PCI_DEVICES; slot++) {
    for (let pin = 0; pin < PCI_PINS; pin++) {
      const address = ((slot << 16) | 0xffff) >>> 0;
      entries.push(packageOf(integer(address), integer(pin), integer(0), integer(interrupts[pci.wireOf(slot, pin)])));
    }
  }
  return packageOf(...entries);
}

/** Chips at fixed ports, by their Plug and Play identifiers. */
function isaDevices(platform: AcpiPlatform): Aml[] {
  const devices: Aml[] = [];
  const add = (label: string, id: string, ...resources: Aml[]) =>
    devices.push(device(label, name('_HID', eisaId(id)), name('_CRS', resourceTemplate(...resources))));
  const { uart, hpet } = platform;
  if (platform.pic) add('PIC', 'PNP0000', ports(0x20, 2), ports(0xa0, 2), ports(0x4d0, 2));
  if (platform.pit) add('TIMR', 'PNP0100', ports(0x40, 4), isaIrq(0));
  if (platform.rtc) add('RTC', 'PNP0B00', ports(0x70, 2), isaIrq(8));
  if (uart) add('COM1', 'PNP0501', ports(uart.port, uart.ports), isaIrq(uart.irq));
  if (hpet) add('HPET', 'PNP0103', memory32(hpet.address, hpet.sizeBytes, false));
  return devices;
}
