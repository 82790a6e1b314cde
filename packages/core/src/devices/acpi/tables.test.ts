import { describe, expect, it } from 'vitest';
import { device, eisaId, integer, method, name, nameString, packageOf, returnOf, scope, text } from './aml.ts';
import type { AcpiPlatform } from './platform.ts';
import { isaIrq, memoryWindow, ports, resourceTemplate } from './resources.ts';
import { acpiTables } from './tables.ts';

const AT = 0xe0000;
const PLATFORM: AcpiPlatform = {
  vcpus: 3,
  fixedHardware: { sciIrq: 9, port: 0x600 },
  localApicAddress: 0xfee00000,
  ioApic: { id: 0, address: 0xfec00000 },
  pic: true,
  pit: true,
  rtc: true,
  keyboardController: true,
  uart: { port: 0x3f8, ports: 8, irq: 4 },
  hpet: { address: 0xfed00000, sizeBytes: 1024, blockId: 0x8086a201 },
  resetPort: { port: 0xcf9, value: 6 },
  pci: {
    memory: { first: 0xe0000000, sizeBytes: 0x1ec00000 },
    gsiOfWire: [16, 17, 18, 19],
    irqOfWire: [10, 11, 10, 11],
    wireOf: (slot, pin) => (slot + pin) % 4,
  },
};

const sum = (bytes: Uint8Array) => bytes.reduce((total, byte) => (total + byte) & 0xff, 0);

/** Follows RSDP and XSDT as an operating system does. */
function found(platform: AcpiPlatform): Map<string, Uint8Array> {
  const { rsdpAddress, bytes } = acpiTables(platform, AT);
  const view = new DataView(bytes.buffer);
  const at = (address: number) => {
    const offset = address - AT;
    return bytes.subarray(offset, offset + view.getUint32(offset + 4, true));
  };
  const signature = (table: Uint8Array) => String.fromCharCode(...table.subarray(0, 4));
  const rsdp = bytes.subarray(rsdpAddress - AT, rsdpAddress - AT + 36);
  expect([sum(rsdp), sum(rsdp.subarray(0, 20)), String.fromCharCode(...rsdp.subarray(0, 8))]).toEqual([
    0,
    0,
    'RSD PTR ',
  ]);
  const xsdt = at(Number(view.getBigUint64(rsdpAddress - AT + 24, true)));
  const tables = new Map([[signature(xsdt), xsdt]]);
  for (let entry = 36; entry < xsdt.length; entry += 8) {
    const table = at(Number(new DataView(xsdt.buffer, xsdt.byteOffset).getBigUint64(entry, true)));
    tables.set(signature(table), table);
  }
  const fadt = tables.get('FACP') as Uint8Array;
  const fadtView = new DataView(fadt.buffer, fadt.byteOffset);
  tables.set('DSDT', at(fadtView.getUint32(40, true)));
  expect(fadtView.getBigUint64(140, true)).toBe(BigInt(fadtView.getUint32(40, true)));
  tables.set('FACS', at(fadtView.getUint32(36, true)));
  return tables;
}

describe('the tables', () => {
  it('are found from the RSDP on, with right checksums and lengths', () => {
    const tables = found(PLATFORM);
    expect([...tables.keys()]).toEqual(['XSDT', 'FACP', 'APIC', 'HPET', 'DSDT', 'FACS']);
    for (const [key, table] of tables) if (key !== 'FACS') expect([key, sum(table)]).toEqual([key, 0]);
    expect([tables.get('FACP')?.length, tables.get('FACS')?.length, tables.get('HPET')?.length]).toEqual([276, 64, 56]);
  });

  it('say where the fixed hardware is', () => {
    const fadt = found(PLATFORM).get('FACP') as Uint8Array;
    const view = new DataView(fadt.buffer, fadt.byteOffset);
    const block = (at: number) => [fadt[at], fadt[at + 1], Number(view.getBigUint64(at + 4, true))];
    expect([
      view.getUint16(46, true),
      view.getUint32(56, true),
      view.getUint32(64, true),
      view.getUint32(76, true),
    ]).toEqual([9, 0x600, 0x604, 0x608]);
    // PM1a event, PM1a control, timer, reset register: address space, width, port.
    expect([block(148), block(172), block(208), block(116)]).toEqual([
      [1, 32, 0x600],
      [1, 16, 0x604],
      [1, 32, 0x608],
      [1, 8, 0xcf9],
    ]);
    expect([fadt[128], fadt[88], fadt[89], fadt[91], fadt[108]]).toEqual([6, 4, 2, 4, 0x32]);
    // Boot flags: legacy devices, keyboard controller, no VGA. Features: no buttons, 32-bit timer, reset register.
    expect([view.getUint16(109, true), view.getUint32(112, true)]).toEqual([0x07, 0x575]);
  });

  it('list every processor, the I/O APIC, overrides and the NMI', () => {
    const madt = found(PLATFORM).get('APIC') as Uint8Array;
    const entries: string[] = [];
    for (let at = 44; at < madt.length; at += madt[at + 1]) {
      entries.push(Buffer.from(madt.subarray(at, at + madt[at + 1])).toString('hex'));
    }
    expect(Buffer.from(madt.subarray(36, 44)).toString('hex')).toBe('0000e0fe01000000');
    expect(entries).toEqual([
      '0008000001000000',
      '0008010101000000',
      '0008020201000000',
      '010c00000000c0fe00000000',
      '020a0000020000000000',
      '020a0009090000000d00',
      '0406ff000001',
    ]);
  });

  it('leave out what is not there', () => {
    const bare = found({
      vcpus: 1,
      fixedHardware: { sciIrq: 9, port: 0x600 },
      pic: true,
      pit: false,
      rtc: false,
      keyboardController: false,
    });
    expect([...bare.keys()]).toEqual(['XSDT', 'FACP', 'DSDT', 'FACS']);
    const fadt = bare.get('FACP') as Uint8Array;
    const view = new DataView(fadt.buffer, fadt.byteOffset);
    expect([view.getUint16(109, true), view.getUint32(112, true), fadt[116], fadt[128], fadt[108]]).toEqual([
      0x25, 0x175, 0, 0, 0,
    ]);
    const text = Buffer.from(bare.get('DSDT') as Uint8Array).toString('latin1');
    expect([text.includes('PCI0'), text.includes('COM1'), text.includes('_S5_'), text.includes('C000')]).toEqual([
      false,
      false,
      true,
      true,
    ]);
  });
});

describe('a hardware-reduced platform', () => {
  const none = { pic: false, pit: false, rtc: false, keyboardController: false };
  const tables = found({ vcpus: 1, localApicAddress: 0xfee00000, ...none });

  it('says so, and has neither fixed ports nor an SCI nor S5', () => {
    const fadt = tables.get('FACP') as Uint8Array;
    const view = new DataView(fadt.buffer, fadt.byteOffset);
    expect(view.getUint32(112, true) & (1 << 20)).toBe(1 << 20);
    expect(view.getUint16(109, true)).toBe(0x24);
    expect([...fadt.subarray(46, 96)].every((byte) => byte === 0)).toBe(true);
    expect([...fadt.subarray(148, 276)].every((byte) => byte === 0)).toBe(true);
    expect(fadt.length).toBe(276);
    expect(Buffer.from(tables.get('DSDT') as Uint8Array).includes('_S5_')).toBe(false);
  });

  it('lists its processors and no I/O APIC', () => {
    const madt = tables.get('APIC') as Uint8Array;
    expect([...madt.subarray(44)]).toEqual([0, 8, 0, 0, 1, 0, 0, 0, 4, 6, 0xff, 0, 0, 1]);
  });
});

/** Encodings worked out by hand from ACPI 6.3, chapter 20, and 6.4 for resources. */
describe('AML', () => {
  const hex = (aml: readonly number[]) => Buffer.from(aml).toString('hex');
  it.each<[string, readonly number[], string]>([
    ['zero', integer(0), '00'],
    ['one', integer(1), '01'],
    ['a byte', integer(0x10), '0a10'],
    ['a word', integer(0x1234), '0b3412'],
    ['a double word', integer(0x12345678), '0c78563412'],
    ['a string', text('ACPI'), '0d4143504900'],
    ['a short name', nameString('PIC'), '5049435f'],
    ['a name from the root', nameString('\\_S5'), '5c5f53355f'],
    ['a name of two segments', nameString('_SB.PCI0'), '2e5f53425f50434930'],
    ['a name of three segments', nameString('_SB.PCI0.COM1'), '2f035f53425f50434930434f4d31'],
    ['an EISA identifier', eisaId('PNP0A03'), '0c41d00a03'],
    ['a named package', name('_S5', packageOf(integer(5), integer(0))), '085f53355f1205020a0500'],
    ['a method', method('_STA', 0, returnOf(integer(0xf))), '14095f53544100a40a0f'],
    ['a device in a scope', scope('_SB', device('COM1')), '100c5f53425f5b8205434f4d31'],
    ['resources', resourceTemplate(ports(0x3f8, 8), isaIrq(4)), '11100a0d4701f803f80301082210007900'],
    ['a window of memory', memoryWindow(0xe0000000, 0x1000), '871700000c0100000000000000e0ff0f00e00000000000100000'],
  ])('encodes %s', (_name, aml, expected) => {
    expect(hex(aml)).toBe(expected);
  });

  it('encodes lengths of one to three bytes', () => {
    const head = (contentBytes: number) =>
      hex(
        scope(
          '_SB_',
          Array.from({ length: contentBytes - 4 }, () => 0),
        ),
      ).slice(2, 8);
    expect([head(62).slice(0, 2), head(63).slice(0, 4), head(4093).slice(0, 4), head(4094)]).toEqual([
      '3f',
      '4104',
      '4fff',
      '810001',
    ]);
  });
});
