import { Register as CmosRegister } from '../rtc/spec.ts';
import { dsdtTerms } from './dsdt.ts';
import type { AcpiPlatform } from './platform.ts';
import { PmRegister } from './spec.ts';
import { FACS_BYTES, facs, RSDP_BYTES, rsdp, TableBuilder, table } from './table-builder.ts';

/** FADT, boot architecture flags (ACPI 6.3, 5.2.9.3). */
const BootFlag = { legacyDevices: 1 << 0, keyboardController: 1 << 1, noVga: 1 << 2, noCmosClock: 1 << 5 } as const;
/** FADT, fixed feature flags (table 5-35). */
const FeatureFlag = {
  wbinvd: 1 << 0,
  c1OnAllProcessors: 1 << 2,
  noPowerButton: 1 << 4,
  noSleepButton: 1 << 5,
  noRtcWake: 1 << 6,
  timerIs32Bits: 1 << 8,
  resetRegister: 1 << 10,
  hardwareReduced: 1 << 20,
} as const;
const FADT_REVISION = 6;
const MADT_REVISION = 5;
const DSDT_REVISION = 2;
/** A desktop (table 5-34). */
const PROFILE_DESKTOP = 1;
/** PM1a and PM1b event, PM1a and PM1b control, PM2 control, timer, GPE0, GPE1. */
const FIXED_BLOCKS = 8;
/** Latencies above these mean that C2 and C3 are not there. */
const NO_C2 = 0xffff;
const NO_C3 = 0xffff;

/** MADT (5.2.12). */
const MadtEntry = { localApic: 0, ioApic: 1, interruptOverride: 2, localApicNmi: 4 } as const;
const PCAT_COMPATIBLE = 1;
const LOCAL_APIC_ENABLED = 1;
/** Polarity and trigger mode of an interrupt source override: as the bus has it; active high and level. */
const Mps = { conforms: 0, activeHighLevel: 0x0d } as const;
const ALL_PROCESSORS = 0xff;
/** The 8254 is wired to input 2 of the I/O APIC, as the 8259's INTR has input 0. */
const TIMER_IRQ = 0;
const TIMER_GSI = 2;

/** Tables in memory, and where the RSDP is. */
export interface PlacedTables {
  readonly rsdpAddress: number;
  readonly bytes: Uint8Array;
}

/** All tables of a platform for memory at `address` (a multiple of 64); RSDP first (5.2.5). */
export function acpiTables(platform: AcpiPlatform, address: number): PlacedTables {
  const parts: { at: number; bytes: Uint8Array }[] = [];
  let end = address + FACS_BYTES * Math.ceil(RSDP_BYTES / FACS_BYTES);
  const place = (bytes: Uint8Array) => {
    const at = end;
    parts.push({ at, bytes });
    end = at + FACS_BYTES * Math.ceil(bytes.length / FACS_BYTES);
    return at;
  };
  const facsAt = place(facs());
  const dsdtAt = place(table('DSDT', DSDT_REVISION, Uint8Array.from(dsdtTerms(platform))));
  const listed = [place(fadt(platform, facsAt, dsdtAt))];
  if (platform.localApicAddress !== undefined) listed.push(place(madt(platform, platform.localApicAddress)));
  if (platform.hpet) listed.push(place(hpet(platform.hpet)));
  const xsdt = new TableBuilder();
  for (const at of listed) xsdt.u64(at);
  const xsdtAt = place(table('XSDT', 1, xsdt.raw()));
  parts.push({ at: address, bytes: rsdp(xsdtAt) });
  const bytes = new Uint8Array(end - address);
  for (const part of parts) bytes.set(part.bytes, part.at - address);
  return { rsdpAddress: address, bytes };
}

function fadt(platform: AcpiPlatform, facsAt: number, dsdtAt: number): Uint8Array {
  const { resetPort, fixedHardware } = platform;
  const content = new TableBuilder().u32(facsAt).u32(dsdtAt).u8(0, PROFILE_DESKTOP);
  content.u16(fixedHardware?.sciIrq ?? 0);
  // SMI command, ACPI enable and disable, S4BIOS, P-state control: there is no SMI.
  content.zeros(8);
  fixedPorts(content, fixedHardware?.port);
  content
    .u16(NO_C2)
    .u16(NO_C3)
    // Cache flush by WBINVD; no duty cycle; no day and month of alarm in CMOS, but a century.
    .zeros(4)
    .zeros(2)
    .zeros(2)
    .u8(platform.rtc ? CmosRegister.CENTURY : 0)
    .u16(bootFlags(platform))
    .u8(0)
    .u32(features(platform));
  if (resetPort) content.address('io', 8, resetPort.port).u8(resetPort.value);
  else content.noAddress().u8(0);
  // ARM boot flags, minor version 3 of revision 6.
  content.u16(0).u8(3);
  // The 32-bit pointer to the FACS counts; one of the two may be set (5.2.9).
  content.u64(0).u64(dsdtAt);
  fixedAddresses(content, fixedHardware?.port);
  // Sleep control and status: there is no sleep without the fixed hardware. Hypervisor vendor: none.
  content.noAddress().noAddress().u64(0);
  return table('FACP', FADT_REVISION, content.raw());
}

function bootFlags(platform: AcpiPlatform): number {
  const legacy = platform.pic || platform.pit || platform.uart !== undefined;
  return (
    BootFlag.noVga |
    (legacy ? BootFlag.legacyDevices : 0) |
    (platform.keyboardController ? BootFlag.keyboardController : 0) |
    (platform.rtc ? 0 : BootFlag.noCmosClock)
  );
}

function features({ fixedHardware, resetPort }: AcpiPlatform): number {
  return (
    FeatureFlag.wbinvd |
    FeatureFlag.c1OnAllProcessors |
    FeatureFlag.noPowerButton |
    FeatureFlag.noSleepButton |
    FeatureFlag.noRtcWake |
    FeatureFlag.timerIs32Bits |
    (resetPort ? FeatureFlag.resetRegister : 0) |
    (fixedHardware ? 0 : FeatureFlag.hardwareReduced)
  );
}

/** 32-bit port numbers of PM1a, PM1b, PM2, timer, GPE0 and GPE1 blocks, and what describes these. */
function fixedPorts(content: TableBuilder, port: number | undefined): void {
  if (port === undefined) {
    content.zeros(8 * 4 + 8);
    return;
  }
  content.u32(port + PmRegister.status).u32(0);
  content.u32(port + PmRegister.control).u32(0);
  content.u32(0).u32(port + PmRegister.timer);
  content.u32(0).u32(0);
  // Lengths of PM1 event, PM1 control, PM2 control, timer, GPE0 and GPE1 blocks; GPE1 base; C-state control.
  content.u8(4, 2, 0, 4, 0, 0, 0, 0);
}

/** The same blocks as generic addresses. */
function fixedAddresses(content: TableBuilder, port: number | undefined): void {
  if (port === undefined) {
    for (let i = 0; i < FIXED_BLOCKS; i++) content.noAddress();
    return;
  }
  content.address('io', 32, port + PmRegister.status).noAddress();
  content
    .address('io', 16, port + PmRegister.control)
    .noAddress()
    .noAddress();
  content
    .address('io', 32, port + PmRegister.timer)
    .noAddress()
    .noAddress();
}

function madt(platform: AcpiPlatform, localApicAddress: number): Uint8Array {
  const content = new TableBuilder().u32(localApicAddress).u32(platform.pic ? PCAT_COMPATIBLE : 0);
  for (let id = 0; id < platform.vcpus; id++) content.u8(MadtEntry.localApic, 8, id, id).u32(LOCAL_APIC_ENABLED);
  if (platform.ioApic) {
    content.u8(MadtEntry.ioApic, 12, platform.ioApic.id, 0).u32(platform.ioApic.address).u32(0);
    const override = (irq: number, gsi: number, flags: number) =>
      content.u8(MadtEntry.interruptOverride, 10, 0, irq).u32(gsi).u16(flags);
    override(TIMER_IRQ, TIMER_GSI, Mps.conforms);
    const { fixedHardware } = platform;
    if (fixedHardware) override(fixedHardware.sciIrq, fixedHardware.sciIrq, Mps.activeHighLevel);
  }
  // LINT1 of every local APIC is the NMI.
  content.u8(MadtEntry.localApicNmi, 6, ALL_PROCESSORS).u16(Mps.conforms).u8(1);
  return table('APIC', MADT_REVISION, content.raw());
}

/** IA-PC HPET Specification 1.0a, 3.2.4. */
function hpet(description: NonNullable<AcpiPlatform['hpet']>): Uint8Array {
  const content = new TableBuilder()
    .u32(description.blockId)
    .address('memory', 64, description.address)
    // Number, minimal tick in periodic mode, no page protection.
    .u8(0)
    .u16(0)
    .u8(0);
  return table('HPET', 1, content.raw());
}
