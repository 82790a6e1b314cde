import { type BootRequest, type ElfImage, Gpr, PolyvisorError } from '@polyvisor/plugin-api';
import { setLongMode } from '../cpu/longMode.ts';
import { FLAT_KERNEL_SS, FLAT_RING1_SS, PAGE_BYTES } from '../layout.ts';
import { PTE_ACCESSED, PTE_DIRTY, PTE_PRESENT, PTE_USER, PTE_WRITE } from '../mm/entries.ts';
import { Owner, TYPE_PINNED } from '../mm/frames.ts';
import { OK } from '../mm/pageTables.ts';
import { acceptsExtendedCr3, readImageNotes } from '../notes/imageNotes.ts';
import type { PvDomain } from '../pvDomain.ts';
import { hypercallPage } from './hypercallPage.ts';
import { writeTables } from './pageTablePlan.ts';
import { IMAGE_EXIT_CODE, planStartOfDay, type StartOfDay } from './plan.ts';
import { encodeStartInfo, MAX_COMMAND_LINE_BYTES, SIF_MOD_START_PFN } from './startInfo.ts';

const PT_LOAD = 1;
const LEAF = PTE_PRESENT | PTE_ACCESSED;
const TABLE = PTE_PRESENT | PTE_WRITE | PTE_USER | PTE_ACCESSED | PTE_DIRTY;
/** PAE L3 entries have no rights (SDM vol. 3A, table 4-8). */
const PAE_L3_TABLE = PTE_PRESENT;
/** VMASST_TYPE_pae_extended_cr3 (public/xen.h). */
const ASSIST_PAE_EXTENDED_CR3 = 1 << 3;

const RFLAGS_START = 0x202n;

/** Build the guest in the machine's memory and point vCPU 0 at its entry: start of day (public/xen.h). */
export function buildPv(domain: PvDomain, request: BootRequest): StartOfDay {
  const elf = request.image.elf;
  const notes = elf === undefined ? undefined : readImageNotes(elf);
  if (elf === undefined || notes === undefined) {
    throw new PolyvisorError(
      'PV4007',
      `${request.image.name} has no Xen notes`,
      'choose another --entry',
      IMAGE_EXIT_CODE,
    );
  }
  if (request.modules && request.modules.length > 0) {
    throw new PolyvisorError(
      'PV2015',
      `the door ${request.entry.name} takes no modules`,
      'leave out --boot-module, or give one file with --initrd',
      IMAGE_EXIT_CODE,
    );
  }
  const totalPages = Math.floor(request.memoryBytes / PAGE_BYTES);
  const commandLine = encodeCommandLine(request.commandLine);
  const plan = planStartOfDay({ elf, notes, model: domain.model, totalPages, initrdBytes: request.initrd?.length });
  const builder = new Builder(domain, plan, allocateGuestFrames(domain, totalPages));
  builder.loadKernel(elf);
  if (notes.hypercallPage !== undefined) builder.writeHypercallPage(notes.hypercallPage);
  if (request.initrd !== undefined && plan.initrdPfn !== undefined) builder.write(plan.initrdPfn, request.initrd);
  if (acceptsExtendedCr3(notes)) domain.vmAssist |= ASSIST_PAE_EXTENDED_CR3;
  builder.writeP2m(totalPages);
  builder.writeTables();
  const rings = { storeMfn: builder.mfn(plan.storePfn), consoleMfn: builder.mfn(plan.consolePfn) };
  const ports = domain.services.allocateStartOfDayPorts();
  builder.writeStartInfo(totalPages, commandLine, request.initrd?.length, { ...rings, ...ports });
  builder.startVcpu();
  domain.services.started(rings);
  logPlan(domain, plan);
  return plan;
}

function encodeCommandLine(commandLine: string): Uint8Array {
  const bytes = new TextEncoder().encode(commandLine);
  if (bytes.length <= MAX_COMMAND_LINE_BYTES) return bytes;
  throw new PolyvisorError(
    'PV4008',
    `the command line has ${bytes.length} bytes, Xen's start_info holds ${MAX_COMMAND_LINE_BYTES}`,
    'shorten --append',
  );
}

/** Guest frames stand at the top of machine memory: pfn and mfn differ everywhere, as on real Xen. */
function allocateGuestFrames(domain: PvDomain, totalPages: number): number {
  const first = domain.mm.frames.takeTop(totalPages, Owner.GUEST);
  if (first === undefined) {
    throw new PolyvisorError('PV4009', 'the machine has less memory than the guest was promised', 'lower --memory');
  }
  domain.totalPages = totalPages;
  domain.maxPages = totalPages;
  return first;
}

class Builder {
  readonly #domain: PvDomain;
  readonly #plan: StartOfDay;
  readonly #firstMfn: number;

  constructor(domain: PvDomain, plan: StartOfDay, firstMfn: number) {
    this.#domain = domain;
    this.#plan = plan;
    this.#firstMfn = firstMfn;
  }

  mfn(pfn: number): number {
    return this.#firstMfn + pfn;
  }

  #gpa(pfn: number): number {
    return this.mfn(pfn) * PAGE_BYTES;
  }

  #address(pfn: number): bigint {
    return this.#plan.virtBase + BigInt(pfn * PAGE_BYTES);
  }

  write(pfn: number, bytes: Uint8Array): void {
    this.#domain.memory.writeBytes(this.#gpa(pfn), bytes);
  }

  loadKernel(elf: ElfImage): void {
    const { memory } = this.#domain;
    for (const header of elf.programHeaders) {
      if (header.type !== PT_LOAD || header.memorySizeBytes === 0) continue;
      const at = Number(BigInt.asUintN(64, header.paddr + this.#plan.pseudoPhysicalOffset));
      const size = Math.min(header.fileSizeBytes, header.memorySizeBytes);
      const inFile = header.offset >= 0 && header.offset + size <= elf.bytes.length;
      if (!inFile || at + header.memorySizeBytes > this.#plan.kernelEndPfn * PAGE_BYTES) {
        throw new PolyvisorError(
          'PV4010',
          'a loadable segment lies outside the file or the guest',
          'the image is truncated or broken',
          IMAGE_EXIT_CODE,
        );
      }
      const gpa = this.#gpa(0) + at;
      memory.writeBytes(gpa, elf.bytes.subarray(header.offset, header.offset + size));
      memory.fill(gpa + size, header.memorySizeBytes - size, 0);
    }
    const { symbols } = this.#plan;
    if (symbols) memory.writeBytes(this.#gpa(0) + symbols.at, symbols.bytes);
  }

  writeHypercallPage(address: bigint): void {
    const offset = BigInt.asUintN(64, address - this.#plan.virtBase);
    if ((offset & 0xfffn) !== 0n || offset >= BigInt(this.#plan.kernelEndPfn * PAGE_BYTES)) {
      throw new PolyvisorError(
        'PV4011',
        `HYPERCALL_PAGE 0x${address.toString(16)} is not a page of the kernel`,
        'the image is broken',
        IMAGE_EXIT_CODE,
      );
    }
    this.write(Number(offset >> 12n), hypercallPage(this.#domain.model.wordBytes));
  }

  /** The p2m list, and its mirror in the machine-to-physical table. */
  writeP2m(totalPages: number): void {
    const { memory, mm, model } = this.#domain;
    const { words } = memory;
    let at = this.#gpa(this.#plan.p2mPfn) / 4;
    for (let pfn = 0; pfn < totalPages; pfn++) {
      const mfn = this.mfn(pfn);
      words[at++] = mfn;
      if (model.wordBytes === 8) words[at++] = 0;
      mm.hole.setM2p(mfn, pfn, 0);
    }
  }

  /** Bootstrap tables; page-table frames are mapped read-only, everything else read-write. */
  writeTables(): void {
    const { words } = this.#domain.memory;
    const plan = this.#plan;
    const mappings = [{ start: plan.virtBase, end: this.#address(plan.mappedEndPfn), firstPfn: 0 }];
    if (plan.p2mFrames > 0) {
      const end = plan.p2mAddress + BigInt(plan.p2mPages * PAGE_BYTES);
      mappings.push({ start: plan.p2mAddress, end, firstPfn: plan.p2mPfn });
    }
    writeTables(plan.tables, mappings, (tablePfn, slot, targetPfn, level) => {
      const leaf = plan.tables.isTable(targetPfn) ? LEAF : LEAF | PTE_WRITE;
      const target = this.mfn(targetPfn);
      const at = this.#gpa(tablePfn) / 4 + slot * 2;
      words[at] =
        (target << 12) | (level === 1 ? leaf : this.#domain.model.levels === 3 && level === 3 ? PAE_L3_TABLE : TABLE);
      words[at + 1] = target >>> 20;
    });
  }

  writeStartInfo(
    totalPages: number,
    commandLine: Uint8Array,
    initrdBytes: number | undefined,
    rings: { storeMfn: number; storePort: number; consoleMfn: number; consolePort: number },
  ): void {
    const plan = this.#plan;
    const moduleStart = plan.initrdPfn === undefined ? undefined : this.#moduleStart(plan.initrdPfn);
    const info = encodeStartInfo(
      {
        ...rings,
        totalPages,
        sharedInfoGpa: this.#domain.sharedInfoGpa,
        flags: plan.initrdUnmapped ? SIF_MOD_START_PFN : 0,
        pageTablesAddress: this.#address(plan.pageTablesPfn),
        pageTablesCount: plan.pageTablesCount,
        p2mAddress: plan.p2mAddress,
        moduleStart,
        moduleBytes: initrdBytes ?? 0,
        commandLine,
        firstP2mPfn: plan.p2mPfn,
        p2mFrames: plan.p2mFrames,
      },
      this.#domain.model.wordBytes,
    );
    this.write(plan.startInfoPfn, info);
  }

  #moduleStart(pfn: number): bigint {
    return this.#plan.initrdUnmapped ? BigInt(pfn) : this.#address(pfn);
  }

  /** Pin the root as Xen's domain builder does, make it vCPU 0's, and set the registers. */
  startVcpu(): void {
    const { mm, model, vcpus } = this.#domain;
    const vcpu = vcpus[0];
    const root = this.mfn(this.#plan.tables.rootPfn);
    const pinned = mm.tables.getPageAndType(root, model.rootType);
    const loaded = pinned === OK ? mm.tables.getPageAndType(root, model.rootType) : pinned;
    if (loaded !== OK) throw new Error(`bootstrap page tables were refused (${loaded})`);
    mm.frames.typeInfo[root] |= TYPE_PINNED;
    vcpu.kernelRootMfn = root;
    vcpu.initialised = true;
    setLongMode(mm, vcpu);
    const { cpu } = vcpu;
    const stackTop = this.#address(this.#plan.stackPfn + 1);
    cpu.gpr.fill(0n);
    cpu.gpr[Gpr.RSI] = this.#address(this.#plan.startInfoPfn);
    cpu.gpr[Gpr.RSP] = stackTop;
    cpu.rip = this.#plan.entry;
    cpu.rflags = RFLAGS_START;
    vcpu.kernelSs = vcpu.ring1 ? FLAT_RING1_SS : FLAT_KERNEL_SS;
    vcpu.kernelRsp = stackTop;
  }
}

function logPlan(domain: PvDomain, plan: StartOfDay): void {
  domain.host.log(
    'debug',
    `${domain.model.name} start of day: base 0x${plan.virtBase.toString(16)}, ` +
      `start_info pfn ${plan.startInfoPfn}, tables pfn ${plan.pageTablesPfn}+${plan.pageTablesCount}`,
  );
}
