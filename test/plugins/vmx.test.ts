/** A hypervisor as the guest, with VMX: VM entries, what its guest exits for, and EPT (SDM vol. 3C, chapters 23 to 30); events: vmx-events.test.ts. */
import { describe, expect, it } from 'vitest';
import {
  CODE,
  GDT,
  STACK_TOP as HOST_STACK_TOP,
  IDT,
  Selector,
} from '../../packages/core/src/machine/testing/test-guest.ts';
import { Primary, Secondary } from '../../packages/plugin-hwassist/src/vmx/controls.ts';
import { ENTRY_FAILURE, ExitReason, InstructionError } from '../../packages/plugin-hwassist/src/vmx/exit-reasons.ts';
import { VMCS_FIELDS } from '../../packages/plugin-hwassist/src/vmx/fields.ts';
import type { Vmcs } from '../../packages/plugin-hwassist/src/vmx/vmcs.ts';
import { lengthOf, little32, load, movEax, store, TIERS } from './svm-guest.ts';
import {
  At,
  CONTENTS,
  eptPointer,
  exit,
  exitOf,
  extendedTables,
  GPA,
  GVA,
  HARDWARE_EXCEPTION,
  handler,
  INVEPT,
  INVVPID,
  INVVPID_OF_PAGE,
  legalVmcs,
  OFFSET,
  ON,
  Op,
  OTHER,
  placePages,
  runVmx,
  SELECT,
  STACK_TOP,
  START,
  START_RIP,
  setControls,
  stackOf,
  VALID,
  type VmxGuest,
  type VmxOptions,
  vmclear,
  vmptrld,
  vmxon,
} from './vmx-guest.ts';

const [RBX, RSP, CS, SS] = [3, 4, 1, 2];
const [UD, BP, GP, PF] = [6, 3, 13, 14];
const { CALL, HLT, VMCALL, VMLAUNCH, VMREAD, VMRESUME, VMWRITE, VMXOFF } = Op;
const [CF, ZF] = [1n, 1n << 6n];
const LSTAR = 0xc000_0082;
const address = GVA + OFFSET;

describe.each(TIERS)('VMX in %s', (_name, tier) => {
  const run = (options: Omit<VmxOptions, 'tier'>) => runVmx({ ...options, tier });

  describe('VM entry and VM exit', () => {
    // stc; mov ebx, 7
    const before = 'f9 bb07000000';
    const guest = `${before} ${VMCALL}`;
    const behind = BigInt(CODE + lengthOf(`${START} ${HLT}`));

    it("keep the guest's state in the VMCS", async () => {
      const { vmcs } = await run({ guest });
      expect(exitOf(vmcs)).toEqual(exit(ExitReason.VMCALL, START_RIP + BigInt(lengthOf(before))));
      expect(vmcs.read('EXIT_INSTRUCTION_LENGTH')).toBe(3);
      expect((['GUEST_RFLAGS', 'GUEST_RSP', 'GUEST_CR4'] as const).map((field) => vmcs.read64(field))).toEqual([
        3n,
        BigInt(STACK_TOP),
        0x26a0n,
      ]);
      expect([vmcs.segment('CS').accessRights, vmcs.read('IDT_VECTORING_INFORMATION'), vmcs.isLaunched]).toEqual([
        0xa09b,
        0,
        true,
      ]);
    });

    it("load the host's state, and leave the general registers", async () => {
      const { vcpu, tables } = await run({ guest });
      expect([vcpu.rip, vcpu.gpr[RSP], vcpu.gpr[RBX], vcpu.rflags]).toEqual([behind, HOST_STACK_TOP, 7n, 2n]);
      expect([vcpu.cr0, vcpu.cr3, vcpu.cr4, vcpu.efer]).toEqual([0x8001_0031n, BigInt(tables.root), 0x2620n, 0xd01n]);
      expect([vcpu.segment(CS).selector, vcpu.segment(SS).selector]).toEqual([Selector.code0, Selector.data0]);
      expect(vcpu.tables.idtr).toMatchObject({ base: BigInt(IDT), limit: 0xffff });
      expect(vcpu.tables.gdtr).toMatchObject({ base: BigInt(GDT), limit: 0xffff });
      expect([vcpu.cpl, vcpu.assist]).toEqual([0, undefined]);
    });

    it('resume the guest behind what it has exited for', async () => {
      const skip = ({ vmcs }: VmxGuest) => vmcs.write64('GUEST_RIP', vmcs.read64('GUEST_RIP') + 3n);
      const host = `${START} ${CALL} ${VMRESUME} ${HLT}`;
      const end = ({ vmcs, vcpu }: VmxGuest) => {
        skip({ vmcs } as VmxGuest);
        if (vcpu.gpr[RBX] === 9n) vcpu.rip += BigInt(lengthOf(`${CALL} ${VMRESUME}`));
      };
      const { vcpu, vmcs } = await run({
        guest: `${guest} ffc3 ${VMCALL} ffc3 ${VMCALL}`,
        host,
        calls: [end, end, end],
      });
      expect([vcpu.gpr[RBX], vmcs.read('EXIT_REASON')]).toEqual([9n, ExitReason.VMCALL]);
    });

    it.each([
      ['the guest', (vmcs: Vmcs) => vmcs.write64('GUEST_RFLAGS', 0n), ExitReason.INVALID_GUEST_STATE, 0n],
      ['its link pointer', (vmcs: Vmcs) => vmcs.write64('VMCS_LINK_POINTER', 8n), ExitReason.INVALID_GUEST_STATE, 4n],
    ])('fail for the state of %s, and execute nothing', async (_what, spoil, reason, qualification) => {
      const { vcpu, vmcs } = await run({ guest, prepare: ({ vmcs }) => spoil(vmcs) });
      expect(exitOf(vmcs)).toEqual(exit(ENTRY_FAILURE + reason, START_RIP, qualification));
      expect([vcpu.gpr[RBX], vcpu.rip, vmcs.isLaunched]).toEqual([0n, behind, false]);
    });

    it('load and store MSRs by lists', async () => {
      const { machine, vcpu } = await run({
        // mov ecx, LSTAR; rdmsr; mov ebx, eax
        guest: `b9${little32(LSTAR)} 0f32 89c3 ${VMCALL}`,
        prepare: ({ machine: { memory }, vmcs }) => {
          [0x5000n, 0n, 0x6000n].forEach((value, i) => {
            memory.write64(At.MSR_LIST + i * 16, BigInt(LSTAR));
            memory.write64(At.MSR_LIST + i * 16 + 8, value);
          });
          for (const [i, list] of (['ENTRY_MSR_LOAD', 'EXIT_MSR_STORE', 'EXIT_MSR_LOAD'] as const).entries()) {
            vmcs.write(`${list}_COUNT`, 1);
            vmcs.write64(`${list}_ADDRESS`, BigInt(At.MSR_LIST + i * 16));
          }
        },
      });
      expect([vcpu.gpr[RBX], machine.memory.read64(At.MSR_LIST + 24)]).toEqual([0x5000n, 0x5000n]);
      expect(vcpu.readMsr(LSTAR)).toBe(0x6000n);
    });

    it('fail for an MSR that cannot be loaded', async () => {
      const { vmcs } = await run({
        guest,
        prepare: ({ machine: { memory }, vmcs }) => {
          memory.write64(At.MSR_LIST, 0xc000_0100n);
          vmcs.write('ENTRY_MSR_LOAD_COUNT', 1);
          vmcs.write64('ENTRY_MSR_LOAD_ADDRESS', BigInt(At.MSR_LIST));
        },
      });
      expect(exitOf(vmcs)).toEqual(exit(ENTRY_FAILURE + ExitReason.MSR_LOADING, START_RIP, 1n));
    });
  });

  describe('the instructions', () => {
    it.each([
      VMLAUNCH,
      VMRESUME,
      VMXOFF,
      vmxon(),
      vmclear(),
      vmptrld(),
      VMREAD,
      VMWRITE,
      INVEPT.slice(11),
      INVVPID.slice(11),
    ])('%s is #UD without CR4.VMXE', async (code) => {
      const vmx = await run({ guest: '', host: `${code} ${HLT}` });
      expect([vmx.stoppedIn, ...vmx.stack(1)]).toEqual([UD, BigInt(CODE)]);
    });

    it.each(['f30fc7f0', 'f30fc7f8', '660f78c00102', 'f20f79c1'])('%s is none of them: #UD', async (code) => {
      const vmx = await run({ guest: '', host: `${ON} ${code} ${HLT}` });
      expect([vmx.stoppedIn, ...vmx.stack(1)]).toEqual([UD, BigInt(CODE + lengthOf(ON))]);
    });

    it('are #GP in user mode', async () => {
      // push data3; push rsp; push 2; push code3; push user; iretq
      const user = CODE + lengthOf(ON) + 14;
      const vmx = await run({ guest: '', host: `${ON} 6a23 54 6a02 6a2b 68${little32(user)} 48cf ${VMLAUNCH}` });
      expect([vmx.stoppedIn, ...vmx.stack(3)]).toEqual([GP, 0n, BigInt(user), BigInt(Selector.code3)]);
    });

    it('keep CR0 and CR4 as VMX operation wants them, until VMXOFF', async () => {
      // mov rax, cr4; and eax, ~VMXE; mov cr4, rax
      const clear = '0f20e0 25ffdfffff 0f22e0';
      const kept = await run({ guest: '', host: `${ON} ${clear} ${HLT}` });
      expect([kept.stoppedIn, kept.stack(2)[1]]).toEqual([GP, BigInt(CODE + lengthOf(ON) + 8)]);
      const { vcpu } = await run({ guest: '', host: `${ON} ${VMXOFF} ${clear} ${HLT}` });
      expect(vcpu.cr4).toBe(0x620n);
    });

    const fails: readonly (readonly [what: string, host: string, flags: bigint, error?: number])[] = [
      ['VMLAUNCH without a VMCS', `${ON} ${VMLAUNCH}`, CF],
      ['VMRESUME of what is not launched', `${ON} ${SELECT} ${VMRESUME}`, ZF, InstructionError.VMRESUME_NOT_LAUNCHED],
      ['VMCALL', `${ON} ${SELECT} ${VMCALL}`, ZF, InstructionError.VMCALL_IN_ROOT],
      ['a second VMXON', `${ON} ${SELECT} ${vmxon()}`, ZF, InstructionError.VMXON_IN_ROOT],
      [
        'VMPTRLD of the VMXON region',
        `${ON} ${SELECT} ${vmptrld(At.POINTERS)}`,
        ZF,
        InstructionError.VMPTRLD_VMXON_POINTER,
      ],
      [
        'VMCLEAR of what is no page',
        `${ON} ${SELECT} ${vmclear(At.POINTERS + 4)}`,
        ZF,
        InstructionError.VMCLEAR_INVALID_ADDRESS,
      ],
      ['VMREAD of what is no field', `${ON} ${SELECT} bb22220000 ${VMREAD}`, ZF, InstructionError.UNSUPPORTED_FIELD],
      ['VMWRITE of exit information', `${ON} ${SELECT} b802440000 ${VMWRITE}`, ZF, InstructionError.READ_ONLY_FIELD],
      // mov ecx, 7; invept rcx, [zeros]
      ['INVEPT of no type', `${ON} ${SELECT} ${INVEPT.replace('b902', 'b907')}`, ZF, InstructionError.INVALID_OPERAND],
      ['no failure', `${ON} ${SELECT} ${INVEPT} ${INVVPID}`, 0n],
    ];
    it.each(fails)('tell of %s', async (_what, host, flags, error = 0) => {
      let seen = -1n;
      const { vmcs } = await run({
        ...{ guest: '', host: `f9 ${host} ${CALL} ${HLT}` },
        calls: [
          ({ vcpu }) => {
            seen = vcpu.rflags & (CF | ZF);
          },
        ],
      });
      expect([seen, vmcs.read('INSTRUCTION_ERROR')]).toEqual([flags, error]);
    });

    it('refuse controls and the state of the host with their errors', async () => {
      const errorAfter = async (spoil: (vmcs: Vmcs) => void) =>
        (await run({ guest: '', prepare: ({ vmcs }) => spoil(vmcs) })).vmcs.read('INSTRUCTION_ERROR');
      expect(await errorAfter((vmcs) => vmcs.write('VPID', 0))).toBe(InstructionError.INVALID_CONTROLS);
      expect(await errorAfter((vmcs) => vmcs.write('HOST_TR_SELECTOR', 0))).toBe(InstructionError.INVALID_HOST_STATE);
    });

    it('read and write fields, registers and memory alike', async () => {
      // mov ebx, field; mov eax, 0x1234; vmwrite rbx, rax; vmread [DATA], rbx; vmread rcx, rbx
      const field = `bb${little32(VMCS_FIELDS.GUEST_RSP)}`;
      const host = `${ON} ${SELECT} ${field} ${movEax(0x1234)} 0f79d8 0f781c25${little32(At.DATA)} 0f78d9 ${HLT}`;
      const { machine, vcpu, vmcs } = await run({ guest: '', host });
      expect([vmcs.read64('GUEST_RSP'), machine.memory.read64(At.DATA), vcpu.gpr[1]]).toEqual([
        0x1234n,
        0x1234n,
        0x1234n,
      ]);
    });

    it('of a guest exit at any level', async () => {
      const { vmcs } = await run({ guest: vmptrld() });
      // Displacement, and in the information field: no base, no index, DS, 64-bit address, register 6.
      expect(exitOf(vmcs)).toEqual(exit(ExitReason.VMPTRLD, START_RIP, BigInt(At.POINTERS + 8)));
      expect(vmcs.read('EXIT_INSTRUCTION_INFORMATION')).toBe(0x6841_8100);
    });
  });

  describe('extended page tables', () => {
    const LINEAR = 0x180n;
    it.each([
      ['a read', load(address), 1n | LINEAR, START_RIP],
      ['a write', store(address), 2n | LINEAR, START_RIP],
      // mov eax, address; jmp rax
      ['a fetch', `${movEax(address)} ffe0`, 4n | LINEAR, BigInt(address)],
    ])('exit for %s of what is not mapped, with both addresses', async (_what, guest, qualification, rip) => {
      const { vmcs, vcpu } = await run({ guest });
      expect(exitOf(vmcs)).toEqual(exit(ExitReason.EPT_VIOLATION, rip, qualification));
      expect(vmcs.read64('GUEST_PHYSICAL_ADDRESS')).toBe(BigInt(GPA + OFFSET));
      expect([vmcs.read64('GUEST_LINEAR_ADDRESS'), vcpu.assist]).toEqual([BigInt(address), undefined]);
    });

    it('exit for a write to what may be read only, with its rights', async () => {
      const { vmcs, vcpu } = await run({
        guest: `${load(address)} ${store(address)}`,
        prepare: (vmx) => {
          placePages(vmx);
          vmx.ept.map(BigInt(GPA), At.FIRST, 0x31);
        },
      });
      const rip = START_RIP + BigInt(lengthOf(load(address)));
      expect(exitOf(vmcs)).toEqual(exit(ExitReason.EPT_VIOLATION, rip, 0x18an));
      expect(vcpu.gpr[RBX]).toBe(CONTENTS[0]);
    });

    it('execute what may not be read', async () => {
      const { vmcs } = await run({
        guest: `${movEax(GVA)} ffe0`,
        prepare: (vmx) => {
          vmx.machine.memory.writeBytes(At.FIRST, Uint8Array.of(0x0f, 0x01, 0xc1));
          vmx.ept.map(BigInt(GPA), At.FIRST, 0x34);
        },
      });
      expect(exitOf(vmcs)).toEqual(exit(ExitReason.VMCALL, BigInt(GVA)));
    });

    it.each([
      ['writable and not readable', 0x32],
      ['of a reserved memory type', 0x17],
    ])('exit for an entry that is %s as misconfigured', async (_what, bits) => {
      const { vmcs } = await run({ guest: load(address), prepare: ({ ept }) => ept.map(BigInt(GPA), At.FIRST, bits) });
      expect(exitOf(vmcs)).toEqual(exit(ExitReason.EPT_MISCONFIGURATION, START_RIP));
      expect(vmcs.read64('GUEST_PHYSICAL_ADDRESS')).toBe(BigInt(GPA + OFFSET));
    });

    it('restart the instruction once the host has mapped the page', async () => {
      const { vmcs, machine } = await run({
        guest: `bb77000000 ${store(address)} ${VMCALL}`,
        host: `${START} ${CALL} ${VMRESUME} ${HLT}`,
        calls: [
          placePages,
          ({ vcpu }) => {
            vcpu.rip += BigInt(lengthOf(`${CALL} ${VMRESUME}`));
          },
        ],
      });
      expect(exitOf(vmcs)).toEqual(exit(ExitReason.VMCALL, START_RIP + 13n));
      expect(machine.memory.read64(At.FIRST + OFFSET)).toBe(0x77n);
    });

    it.each([
      ['read', 0n, 0, 0x81n],
      ['written with accessed and dirty flags', 1n << 6n, 0, 0x83n],
      ['marked where it may only be read', 0n, 0x31, 0x8bn],
    ])("tell of a page table of the guest's that is %s", async (_what, flags, bits, qualification) => {
      const { vmcs, guestTables } = await run({
        guest: store(address),
        prepare: ({ vmcs, ept, guestTables }) => {
          const page = guestTables.entry(BigInt(GVA)) & ~0xfff;
          vmcs.write64('EPT_POINTER', eptPointer(ept) | flags);
          if (bits === 0) ept.unmap(BigInt(page));
          else ept.map(BigInt(page), page, bits);
        },
      });
      expect(exitOf(vmcs)).toEqual(exit(ExitReason.EPT_VIOLATION, START_RIP, qualification));
      expect(vmcs.read64('GUEST_PHYSICAL_ADDRESS')).toBe(BigInt(guestTables.entry(BigInt(GVA))));
    });

    const ask = `${load(address)} ${VMCALL}`;
    /** What the guest has read, each time that the hypervisor calls; it is to read again. */
    const reading = () => {
      const read: bigint[] = [];
      const note = ({ vcpu, vmcs }: VmxGuest) => {
        read.push(vcpu.gpr[RBX]);
        vcpu.gpr[RBX] = 0n;
        vmcs.write64('GUEST_RIP', START_RIP);
      };
      return { read, note };
    };

    it('keep the pages of two guests apart', async () => {
      const { read, note } = reading();
      await run({
        ...{ guest: ask, host: `${START} ${CALL} ${vmclear(OTHER)} ${vmptrld(OTHER)} ${VMLAUNCH} ${HLT}` },
        calls: [note, note],
        prepare: (vmx) => {
          const other = extendedTables(vmx, At.OTHER_EPT);
          placePages(vmx);
          other.map(BigInt(GPA), At.SECOND);
          legalVmcs(
            vmx,
            At.OTHER_VMCS,
            other,
            vmx.vmcs.read64('HOST_RIP') + BigInt(lengthOf(`${CALL}${vmclear()}${vmptrld()}${VMLAUNCH}`)),
            2,
          );
          vmx.machine.memory.writeBytes(
            Number(vmx.vmcs.read64('HOST_RIP')) + lengthOf(`${CALL}${vmclear()}${vmptrld()}${VMLAUNCH}`),
            Uint8Array.of(0x0f, 1, 0xd9, 0xf4),
          );
        },
      });
      expect(read).toEqual([...CONTENTS]);
    });

    it.each([
      ['INVEPT', INVEPT],
      ['INVVPID', INVVPID],
      ['INVVPID of the page', INVVPID_OF_PAGE],
    ])('have no translation any more after %s', async (_what, invalidate) => {
      const { read, note } = reading();
      const remap = (vmx: VmxGuest) => {
        note(vmx);
        vmx.ept.map(BigInt(GPA), At.SECOND);
      };
      const end = (vmx: VmxGuest) => {
        note(vmx);
        vmx.vcpu.rip += BigInt(lengthOf(`${CALL} ${invalidate} ${VMRESUME}`));
      };
      await run({
        guest: ask,
        host: `${START} ${CALL} ${invalidate} ${VMRESUME} ${HLT}`,
        calls: [remap, end],
        prepare: placePages,
      });
      expect(read).toEqual(CONTENTS);
    });

    it('run code in real-address mode', async () => {
      const { vmcs } = await run({
        // mov ax, 0x1234; out 0x80, al
        guest: 'b83412 e680',
        prepare: (vmx) => {
          const { vmcs } = vmx;
          setControls(vmcs, 'PROCESSOR_BASED_CONTROLS', Primary.UNCONDITIONAL_IO_EXITING);
          vmx.machine.memory.write8(At.IO_BITMAPS + 0x80 / 8, 1);
          vmcs.write('ENTRY_CONTROLS', vmcs.read('ENTRY_CONTROLS') & ~0x200);
          vmcs.write64('GUEST_CR0', 0x20n);
          vmcs.write64('GUEST_CR4', 0x2000n);
          vmcs.write64('GUEST_EFER', 0n);
          vmcs.write64('GUEST_RIP', 0n);
          for (const name of ['CS', 'SS', 'DS', 'ES', 'FS', 'GS'] as const)
            vmcs.setSegment(name, {
              selector: 0x3000,
              base: 0x3_0000n,
              limit: 0xffff,
              accessRights: name === 'CS' ? 0x9b : 0x93,
            });
        },
      });
      expect(exitOf(vmcs)).toEqual(exit(ExitReason.IO, 3n, 0x80_0040n));
    });
  });

  describe('of the guest', () => {
    /** Instructions that exit only if the controls want it: how they are made to, and what is told of them. */
    const CASES: readonly {
      what: string;
      before?: string;
      code: string;
      reason: number;
      qualification?: bigint;
      wants: (vmx: VmxGuest) => void;
    }[] = [
      {
        what: 'RDTSC',
        code: '0f31',
        reason: ExitReason.RDTSC,
        wants: ({ vmcs }) => setControls(vmcs, 'PROCESSOR_BASED_CONTROLS', Primary.RDTSC_EXITING),
      },
      {
        what: 'OUT',
        code: 'e680',
        reason: ExitReason.IO,
        qualification: 0x80_0040n,
        wants: ({ machine }) => machine.memory.write8(At.IO_BITMAPS + 0x10, 1),
      },
      {
        what: 'IN',
        before: 'ba80000000',
        code: 'ed',
        reason: ExitReason.IO,
        qualification: 0x80_000bn,
        wants: ({ machine }) => machine.memory.write8(At.IO_BITMAPS + 0x10, 8),
      },
      {
        what: 'RDMSR',
        before: `b9${little32(LSTAR)}`,
        code: '0f32',
        reason: ExitReason.RDMSR,
        wants: ({ machine }) => machine.memory.write8(At.MSR_BITMAPS + 0x400 + 0x10, 4),
      },
      {
        what: 'WRMSR',
        before: `b9${little32(LSTAR)}`,
        code: '0f30',
        reason: ExitReason.WRMSR,
        wants: ({ machine }) => machine.memory.write8(At.MSR_BITMAPS + 0xc00 + 0x10, 4),
      },
      {
        what: 'a read of CR3',
        code: '0f20db',
        reason: ExitReason.CR_ACCESS,
        qualification: 0x313n,
        wants: ({ vmcs }) => setControls(vmcs, 'PROCESSOR_BASED_CONTROLS', Primary.CR3_STORE_EXITING),
      },
      {
        what: 'a write of CR3',
        before: movEax(At.GUEST_TABLES),
        code: '0f22d8',
        reason: ExitReason.CR_ACCESS,
        qualification: 3n,
        wants: ({ vmcs }) => setControls(vmcs, 'PROCESSOR_BASED_CONTROLS', Primary.CR3_LOAD_EXITING),
      },
      {
        what: 'MOV to DR',
        code: '0f23c3',
        reason: ExitReason.MOV_DR,
        qualification: 0x300n,
        wants: ({ vmcs }) => setControls(vmcs, 'PROCESSOR_BASED_CONTROLS', Primary.MOV_DR_EXITING),
      },
      {
        what: 'INVLPG',
        code: `0f013c25${little32(0x1234)}`,
        reason: ExitReason.INVLPG,
        qualification: 0x1234n,
        wants: ({ vmcs }) => setControls(vmcs, 'PROCESSOR_BASED_CONTROLS', Primary.INVLPG_EXITING),
      },
      {
        what: 'PAUSE',
        code: 'f390',
        reason: ExitReason.PAUSE,
        wants: ({ vmcs }) => setControls(vmcs, 'PROCESSOR_BASED_CONTROLS', Primary.PAUSE_EXITING),
      },
      {
        what: 'WBINVD',
        code: '0f09',
        reason: ExitReason.WBINVD,
        wants: ({ vmcs }) => setControls(vmcs, 'SECONDARY_CONTROLS', Secondary.WBINVD_EXITING),
      },
    ];
    it.each(CASES)(
      '$what is an exit if the controls want it, else carried out',
      async ({ before = '', code, reason, qualification, wants }) => {
        const rip = START_RIP + BigInt(lengthOf(before));
        const guest = `${before} ${code} ${VMCALL}`;
        const left = await run({ guest, prepare: wants });
        expect(exitOf(left.vmcs)).toEqual(exit(reason, rip, qualification));
        expect(left.vmcs.read('EXIT_INSTRUCTION_LENGTH')).toBe(lengthOf(code));
        const stayed = await run({ guest });
        expect(exitOf(stayed.vmcs)).toEqual(exit(ExitReason.VMCALL, rip + BigInt(lengthOf(code))));
      },
    );

    it('CPUID is always an exit', async () => {
      expect(exitOf((await run({ guest: '0fa2' })).vmcs)).toEqual(exit(ExitReason.CPUID, START_RIP));
    });

    it('bits of CR0 that the host owns read as the shadow, and exit if they are written otherwise', async () => {
      const TS = 8n;
      const prepare = ({ vmcs }: VmxGuest) => {
        vmcs.write64('CR0_MASK', TS);
        vmcs.write64('CR0_READ_SHADOW', TS);
      };
      // mov rax, cr0; mov rbx, rax; or eax, 2; mov cr0, rax; vmcall
      const stayed = await run({ guest: `0f20c0 4889c3 83c802 0f22c0 ${VMCALL}`, prepare });
      expect([stayed.vcpu.gpr[RBX], stayed.vmcs.read64('GUEST_CR0')]).toEqual([0x8001_0039n, 0x8001_0033n]);
      expect(exitOf(stayed.vmcs).reason).toBe(ExitReason.VMCALL);
      const left = await run({ guest: '0f06', prepare });
      expect(exitOf(left.vmcs)).toEqual(exit(ExitReason.CR_ACCESS, START_RIP, 0x20n));
    });

    it('a task priority below the threshold is an exit behind the instruction', async () => {
      const { vmcs, machine } = await run({
        // mov eax, 5; mov cr8, rax; mov eax, 2; mov cr8, rax
        guest: 'b805000000 440f22c0 b802000000 440f22c0',
        prepare: ({ vmcs, machine }) => {
          setControls(vmcs, 'PROCESSOR_BASED_CONTROLS', Primary.USE_TPR_SHADOW);
          vmcs.write64('VIRTUAL_APIC_ADDRESS', BigInt(At.VIRTUAL_APIC));
          machine.memory.write8(At.VIRTUAL_APIC + 0x80, 0x40);
          vmcs.write('TPR_THRESHOLD', 4);
        },
      });
      expect(exitOf(vmcs)).toEqual(exit(ExitReason.TPR_BELOW_THRESHOLD, START_RIP + 18n));
      expect(machine.memory.read8(At.VIRTUAL_APIC + 0x80)).toBe(0x20);
    });

    it('HLT is an exit, else the processor halts', async () => {
      const { vmcs } = await run({
        guest: HLT,
        prepare: ({ vmcs }) => setControls(vmcs, 'PROCESSOR_BASED_CONTROLS', Primary.HLT_EXITING),
      });
      expect(exitOf(vmcs)).toEqual(exit(ExitReason.HLT, START_RIP));
      const { vcpu } = await run({ guest: HLT });
      expect([vcpu.rip, vcpu.assist === undefined]).toEqual([START_RIP + 1n, false]);
    });

    it("#UD and INT3 are exits by the bitmap, else they go through the guest's IDT", async () => {
      const prepare = ({ vmcs }: VmxGuest) => vmcs.write('EXCEPTION_BITMAP', (1 << UD) | (1 << BP));
      const undefinedOpcode = await run({ guest: '0f0b', prepare });
      expect(exitOf(undefinedOpcode.vmcs)).toEqual(exit(ExitReason.EXCEPTION_OR_NMI, START_RIP));
      expect(undefinedOpcode.vmcs.read('EXIT_INTERRUPTION_INFORMATION')).toBe(VALID + HARDWARE_EXCEPTION + UD);
      const breakpoint = (await run({ guest: 'cc', prepare })).vmcs;
      expect([breakpoint.read('EXIT_INTERRUPTION_INFORMATION'), breakpoint.read('EXIT_INSTRUCTION_LENGTH')]).toEqual([
        VALID + 0x603,
        1,
      ]);
      const stayed = await run({ guest: '0f0b' });
      expect(exitOf(stayed.vmcs)).toEqual(exit(ExitReason.VMCALL, handler(UD)));
      expect(stackOf(stayed, 1)).toEqual([START_RIP]);
    });

    it.each([
      ['its bit', 1 << PF, 0, 0, true],
      ['its error code', 0, 1, 1, true],
      ['another error code', 1 << PF, 1, 1, false],
    ])('#PF is an exit by %s, and leaves CR2 alone', async (_what, bitmap, mask, match, exits) => {
      const { vmcs, vcpu } = await run({
        guest: store(0x70_0008),
        prepare: ({ vmcs, vcpu }) => {
          vmcs.write('EXCEPTION_BITMAP', bitmap);
          vmcs.write('PAGE_FAULT_ERROR_CODE_MASK', mask);
          vmcs.write('PAGE_FAULT_ERROR_CODE_MATCH', match);
          vcpu.cr2 = 0x1234n;
        },
      });
      expect(exitOf(vmcs)).toEqual(
        exits ? exit(ExitReason.EXCEPTION_OR_NMI, START_RIP, 0x70_0008n) : exit(ExitReason.VMCALL, handler(PF)),
      );
      expect([vcpu.cr2, vmcs.read('EXIT_INTERRUPTION_ERROR_CODE')]).toEqual(exits ? [0x1234n, 2] : [0x70_0008n, 0]);
    });
  });
});
