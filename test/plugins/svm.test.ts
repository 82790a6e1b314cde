/** A hypervisor as the guest: VMRUN, what its guest exits for, nested paging, and events on both levels (AMD APM vol. 2, chapter 15). */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  CODE,
  GDT,
  STACK_TOP as HOST_STACK_TOP,
  IDT,
  Selector,
} from '../../packages/core/src/machine/testing/test-guest.ts';
import { VirtualInterrupt, Vmcb } from '../../packages/plugin-hwassist/src/svm/vmcb.ts';
import {
  At,
  allowCalls,
  CONTENTS,
  Code,
  exit,
  exitOf,
  GPA,
  GVA,
  handler,
  INTERCEPTED,
  intercept,
  interceptAll,
  legalVmcb,
  lengthOf,
  little32,
  load,
  maskInterrupts,
  movEax,
  Npf,
  nestedTables,
  OFFSET,
  Op,
  outcome,
  PROGRAM,
  placePages,
  requestVirtual,
  runSvm,
  STACK_TOP,
  START,
  START_RIP,
  type SvmGuest,
  type SvmOptions,
  stackOf,
  store,
  TIERS,
  VECTOR,
  vmrun,
} from './svm-guest.ts';

const [RAX, RBX, RSP, ES, CS, SS] = [0, 3, 4, 0, 1, 2];
const [UD, GP, PF] = [6, 13, 14];
const { CLGI, ENABLE, HLT, INVLPGA, STGI, VMLOAD, VMMCALL, VMRUN, VMSAVE } = Op;
const IF = 1n << 9n;

describe.each(TIERS)('SVM in %s', (_name, tier) => {
  const run = (options: Omit<SvmOptions, 'tier'>) => runSvm({ ...options, tier });

  describe('VMRUN and #VMEXIT', () => {
    // stc; mov ebx, 7; mov eax, 0x12345678
    const before = `f9 bb07000000 ${movEax(0x1234_5678)}`;
    const guest = `${before} ${VMMCALL}`;

    it("keep the guest's state in the VMCB", async () => {
      const { vmcb } = await run({ guest });
      const rip = START_RIP + BigInt(lengthOf(before));
      expect(exitOf(vmcb)).toEqual(exit(Code.VMMCALL, rip));
      expect(vmcb.read64('nRIP')).toBe(rip + 3n);
      const saved = (['RAX', 'RFLAGS', 'RSP'] as const).map((field) => vmcb.read64(field));
      expect(saved).toEqual([0x1234_5678n, 3n, BigInt(STACK_TOP)]);
      expect([vmcb.read('CPL'), vmcb.read64('EXITINTINFO'), vmcb.read64('CR4')]).toEqual([0, 0n, 0x6a0n]);
    });

    it("give the host all back but the general registers, which are the guest's", async () => {
      const { vcpu, tables } = await run({
        guest,
        prepare: ({ vmcb }) => vmcb.setSegment('ES', { selector: 0, base: 0n, limit: 0, accessRights: 0x1_0000 }),
      });
      expect(vcpu.rip).toBe(BigInt(CODE + lengthOf(`${START} ${HLT}`)));
      expect([vcpu.gpr[RAX], vcpu.gpr[RSP], vcpu.gpr[RBX]]).toEqual([BigInt(At.VMCB), HOST_STACK_TOP, 7n]);
      expect([vcpu.cr0, vcpu.cr3, vcpu.cr4, vcpu.efer]).toEqual([0x8001_0031n, BigInt(tables.root), 0x620n, 0x1d01n]);
      expect([vcpu.segment(CS).selector, vcpu.segment(SS).selector]).toEqual([Selector.code0, Selector.data0]);
      expect(vcpu.tables.idtr).toMatchObject({ base: BigInt(IDT), limit: 0xfff });
      expect(vcpu.tables.gdtr).toMatchObject({ base: BigInt(GDT), limit: 0x57 });
      expect([vcpu.rflags & 1n, vcpu.cpl, vcpu.assist]).toEqual([0n, 0, undefined]);
      expect(vcpu.segment(ES)).toEqual((await run({ guest, host: HLT })).vcpu.segment(ES));
    });

    it('refuse an ASID of zero, and execute nothing of the guest', async () => {
      const { vcpu, vmcb } = await run({ guest, prepare: ({ vmcb }) => vmcb.write('ASID', 0) });
      expect(vmcb.read64('EXITCODE')).toBe(0xffff_ffff_ffff_ffffn);
      expect([vmcb.read64('RIP'), vmcb.read64('RAX'), vcpu.gpr[RBX]]).toEqual([START_RIP, 0n, 0n]);
      expect(vcpu.rip).toBe(BigInt(CODE + lengthOf(`${START} ${HLT}`)));
    });

    it.each([VMRUN, VMLOAD, VMSAVE, STGI, CLGI, INVLPGA])('%s is #UD without SVME', async (code) => {
      const svm = await run({ guest, host: `${movEax(At.VMCB)} ${code} ${HLT}` });
      expect([svm.stoppedIn, ...svm.stack(1)]).toEqual([UD, BigInt(CODE + 5)]);
    });

    it('are #GP in user mode', async () => {
      // push data3; push rsp; push 2; push code3; push user; iretq
      const user = CODE + lengthOf(ENABLE) + 14;
      const host = `${ENABLE} 6a23 54 6a02 6a2b 68${little32(user)} 48cf ${vmrun()}`;
      const svm = await run({ guest, host });
      expect([svm.stoppedIn, ...svm.stack(3)]).toEqual([GP, 0n, BigInt(user + 5), BigInt(Selector.code3)]);
    });

    it.each([
      ['misaligned', At.VMCB + 8],
      ['beyond memory', 0x7000_0000],
    ])('are #GP for a VMCB that is %s', async (_what, address) => {
      const svm = await run({ guest, host: `${ENABLE} ${vmrun(address)} ${HLT}` });
      expect([svm.stoppedIn, ...svm.stack(2)]).toEqual([GP, 0n, BigInt(CODE + lengthOf(ENABLE) + 5)]);
    });

    it('VMLOAD and VMSAVE move FS, TR, KernelGsBase and STAR', async () => {
      const host = `${ENABLE} ${movEax(At.VMCB)} ${VMLOAD} ${movEax(At.OTHER_VMCB)} ${VMSAVE} ${HLT}`;
      const fs = { selector: 0x10, base: 0xffff_8000_0000_1000n, limit: 0xffff_ffff, accessRights: 0xc093 };
      const { machine, vcpu } = await run({
        ...{ guest: '', host },
        prepare: ({ vmcb }) => {
          vmcb.setSegment('FS', fs);
          vmcb.setSegment('TR', { selector: 0x30, base: 0x4000n, limit: 0x77, accessRights: 0x8b });
          vmcb.write64('KernelGsBase', 0x1234_5000n);
          vmcb.write64('STAR', 0x23_0008_0000_0000n);
        },
      });
      const saved = new Vmcb(machine.memory, At.OTHER_VMCB);
      expect([vcpu.segment(4), saved.segment('FS')]).toEqual([fs, fs]);
      expect([vcpu.tables.tr.limit, saved.segment('TR').limit]).toEqual([0x77, 0x77]);
      expect([saved.read64('KernelGsBase'), saved.read64('STAR')]).toEqual([0x1234_5000n, 0x23_0008_0000_0000n]);
    });
  });

  describe('nested paging', () => {
    const { USER, WRITE, FETCH, FINAL, TABLE, P } = Npf;
    const address = GVA + OFFSET;

    it.each([
      ['a read', load(address), USER | FINAL, START_RIP],
      ['a write', store(address), USER | WRITE | FINAL, START_RIP],
      // mov eax, address; jmp rax
      ['a fetch', `${movEax(address)} ffe0`, USER | FETCH | FINAL, BigInt(address)],
    ])('exits for %s of what is not mapped, with its guest-physical address', async (_what, guest, info1, rip) => {
      const { vmcb, vcpu } = await run({ guest, prepare: (svm) => svm.vmcb.write64('CR2', 0x1234n) });
      expect(exitOf(vmcb)).toEqual(exit(Code.NPF, rip, info1, BigInt(GPA + OFFSET)));
      expect([vmcb.read64('CR2'), vcpu.assist]).toEqual([0x1234n, undefined]);
    });

    it('exits for a write to what may be read only, with P', async () => {
      const { vmcb, vcpu } = await run({
        guest: `${load(address)} ${store(address)}`,
        prepare: (svm) => {
          placePages(svm);
          svm.nested.map(BigInt(GPA), At.FIRST, 5);
        },
      });
      const rip = START_RIP + BigInt(lengthOf(load(address)));
      expect(exitOf(vmcb)).toEqual(exit(Code.NPF, rip, P | USER | WRITE | FINAL, BigInt(GPA + OFFSET)));
      expect(vcpu.gpr[RBX]).toBe(CONTENTS[0]);
    });

    it('restarts the instruction once the host has mapped the page', async () => {
      const { vmcb, machine } = await run({
        ...{ guest: `bb77000000 ${store(address)} ${VMMCALL}`, host: `${START} ${VMMCALL} ${VMRUN} ${HLT}` },
        calls: [placePages],
      });
      expect(exitOf(vmcb)).toEqual(exit(Code.VMMCALL, START_RIP + 13n));
      expect(machine.memory.read64(At.FIRST + OFFSET)).toBe(0x77n);
    });

    it('tells of a page table of the guest that is not mapped', async () => {
      const { vmcb, guestTables } = await run({
        guest: store(address),
        prepare: ({ nested, guestTables }) => nested.unmap(BigInt(guestTables.entry(BigInt(GVA)) & ~0xfff)),
      });
      const entry = BigInt(guestTables.entry(BigInt(GVA)));
      expect(exitOf(vmcb)).toEqual(exit(Code.NPF, START_RIP, USER | WRITE | TABLE, entry));
    });

    const ask = `${load(address)} ${VMMCALL}`;
    /** What the guest has read, each time that the hypervisor calls; it is to read again. */
    const reading = () => {
      const read: bigint[] = [];
      const note = ({ vcpu, machine }: SvmGuest) => {
        read.push(vcpu.gpr[RBX]);
        vcpu.gpr[RBX] = 0n;
        for (const at of [At.VMCB, At.OTHER_VMCB]) new Vmcb(machine.memory, at).write64('RIP', START_RIP);
      };
      return { read, note };
    };

    it('keeps the pages of two address spaces apart, back and forth', async () => {
      const { read, note } = reading();
      const both = `${vmrun()} ${VMMCALL} ${vmrun(At.OTHER_VMCB)} ${VMMCALL}`;
      await run({
        ...{ guest: ask, host: `${ENABLE} ${both} ${both} ${both} ${HLT}`, calls: Array(6).fill(note) },
        prepare: (svm) => {
          const other = nestedTables(svm, At.OTHER_NESTED);
          placePages(svm);
          other.map(BigInt(GPA), At.SECOND);
          legalVmcb(svm, At.OTHER_VMCB, other, 2);
        },
      });
      expect(read).toEqual([...CONTENTS, ...CONTENTS, ...CONTENTS]);
    });

    it.each([
      ['TLB_CONTROL 1', 1, ''],
      ['TLB_CONTROL 3', 3, ''],
      ['TLB_CONTROL 7', 7, ''],
      // mov ecx, 1; mov eax, address; invlpga
      ['INVLPGA', 0, `b901000000 ${movEax(address)} ${INVLPGA}`],
    ])('has no translation any more after %s', async (_what, control, between) => {
      const { read, note } = reading();
      const remap = (svm: SvmGuest) => {
        note(svm);
        svm.nested.map(BigInt(GPA), At.SECOND);
        svm.vmcb.write('TLB_CONTROL', control);
      };
      const host = `${START} ${VMMCALL} ${between} ${vmrun()} ${VMMCALL} ${HLT}`;
      await run({ guest: ask, host, calls: [remap, note], prepare: placePages });
      expect(read).toEqual(CONTENTS);
    });
  });

  describe('an intercepted', () => {
    it.each(INTERCEPTED)('$what is an exit, else it is carried out', async (each) => {
      const rip = START_RIP + BigInt(lengthOf(each.before ?? ''));
      const behind = rip + BigInt(lengthOf(each.guest));
      const guest = `${each.before ?? ''} ${each.guest} ${VMMCALL}`;
      const left = await run({ guest, prepare: interceptAll });
      expect(exitOf(left.vmcb)).toEqual(exit(each.code, rip, each.info1, each.info2));
      expect(left.vmcb.read64('nRIP')).toBe(behind);
      // The maps are all zero now.
      const stayed = await run({ guest, prepare: ({ vmcb }) => intercept(vmcb, Code.IOIO, Code.MSR) });
      expect(exitOf(stayed.vmcb)).toEqual(exit(Code.VMMCALL, behind));
    });

    it('HLT is an exit, else the processor halts', async () => {
      const { vmcb } = await run({ guest: HLT, prepare: ({ vmcb }) => intercept(vmcb, Code.HLT) });
      expect([exitOf(vmcb).code, vmcb.read64('nRIP')]).toEqual([BigInt(Code.HLT), START_RIP + 1n]);
      const { vcpu } = await run({ guest: HLT });
      expect([vcpu.rip, vcpu.assist === undefined]).toEqual([START_RIP + 1n, false]);
    });

    it("#UD is an exit, else it goes through the guest's IDT", async () => {
      const left = await run({ guest: '0f0b', prepare: ({ vmcb }) => vmcb.write('INTERCEPT_EXCEPTIONS', 1 << UD) });
      expect(exitOf(left.vmcb)).toEqual(exit(Code.EXCEPTION + UD, START_RIP));
      const stayed = await run({ guest: '0f0b' });
      expect(exitOf(stayed.vmcb)).toEqual(exit(Code.VMMCALL, handler(UD)));
      expect(stackOf(stayed, 1)).toEqual([START_RIP]);
    });

    it('#PF is an exit that leaves CR2 alone, else the guest has it', async () => {
      const guest = store(0x70_0008);
      const left = await run({
        guest,
        prepare: ({ vmcb }) => {
          vmcb.write('INTERCEPT_EXCEPTIONS', 1 << PF);
          vmcb.write64('CR2', 0x1234n);
        },
      });
      expect(exitOf(left.vmcb)).toEqual(exit(Code.EXCEPTION + PF, START_RIP, 2n, 0x70_0008n));
      expect([left.vmcb.read64('CR2'), left.vmcb.read64('RSP')]).toEqual([0x1234n, BigInt(STACK_TOP)]);
      const stayed = await run({ guest });
      expect(exitOf(stayed.vmcb)).toEqual(exit(Code.VMMCALL, handler(PF)));
      expect([stayed.vmcb.read64('CR2'), ...stackOf(stayed, 2)]).toEqual([0x70_0008n, 2n, START_RIP]);
    });
  });

  describe('EVENTINJ', () => {
    const EVENT = (0x1234n << 32n) | 0x8000_0b0dn;
    const prepare = ({ vmcb }: SvmGuest) => vmcb.write64('EVENTINJ', EVENT);

    it('delivers an exception with its error code before the first instruction', async () => {
      const svm = await run({ guest: '0f0b', prepare });
      expect(exitOf(svm.vmcb)).toEqual(exit(Code.VMMCALL, handler(GP)));
      expect(stackOf(svm, 2)).toEqual([0x1234n, START_RIP]);
      expect([svm.vmcb.read64('EVENTINJ'), svm.vmcb.read64('EXITINTINFO')]).toEqual([0n, 0n]);
    });

    it('is told of in EXITINTINFO where nested paging has not the IDT', async () => {
      const { vmcb } = await run({
        guest: '0f0b',
        prepare: (svm) => {
          prepare(svm);
          svm.nested.unmap(BigInt(At.IDT));
        },
      });
      const { code, info2, rip } = exitOf(vmcb);
      expect([code, info2 & ~0xfn, rip]).toEqual([BigInt(Code.NPF), BigInt(At.IDT + GP * 16), START_RIP]);
      expect(vmcb.read64('EXITINTINFO')).toBe(EVENT);
      expect([vmcb.read64('EVENTINJ'), vmcb.read64('RSP')]).toEqual([0n, BigInt(STACK_TOP)]);
    });
  });

  describe('an interrupt', () => {
    const request = ({ vcpu }: SvmGuest) => expect(vcpu.requestInterrupt(VECTOR)).toBe(true);
    // nop; cpuid
    const TO_CPUID = '90 0fa2';

    it("that the host holds up by GIF exits at once, for the host's IF counts, and comes with STGI", async () => {
      // clgi; vmmcall: request; sti; nop; vmrun; inc ebx; nop; stgi; inc ebx
      const before = `${ENABLE} ${CLGI} ${VMMCALL} fb 90 ${vmrun()} ffc3 90 ${STGI}`;
      const svm = await run({
        ...{ guest: TO_CPUID, host: `${before} ffc3 ${HLT}`, calls: [request] },
        prepare: maskInterrupts,
      });
      expect(exitOf(svm.vmcb)).toEqual(exit(Code.INTR, START_RIP));
      expect([svm.vmcb.read64('nRIP'), svm.vmcb.read64('RFLAGS') & IF]).toEqual([0n, 0n]);
      expect([svm.stoppedIn, svm.vcpu.gpr[RBX]]).toEqual([VECTOR, 1n]);
      expect(svm.stack(1)).toEqual([BigInt(CODE + lengthOf(before))]);
    });

    it('exits though the guest has IF clear', async () => {
      // vmmcall: request; cpuid
      const svm = await run({
        ...{ guest: `${VMMCALL} 0fa2`, host: `${ENABLE} fb 90 ${vmrun()} ${HLT}`, calls: [request] },
        prepare: maskInterrupts,
      });
      expect(exitOf(svm.vmcb)).toEqual(exit(Code.INTR, START_RIP + 3n));
      expect(svm.stoppedIn).toBeUndefined();
    });

    it('waits while the host has IF clear, whatever the guest has', async () => {
      const svm = await run({ guest: `${VMMCALL} fb ${TO_CPUID}`, calls: [request], prepare: maskInterrupts });
      expect(exitOf(svm.vmcb)).toEqual(exit(Code.CPUID, START_RIP + 5n));
    });

    it("goes by the guest's IF without V_INTR_MASKING", async () => {
      const svm = await run({
        ...{ guest: `${VMMCALL} 90 fb 90 ${TO_CPUID}`, host: `${ENABLE} fb 90 ${vmrun()} ${HLT}`, calls: [request] },
        prepare: (svm) => {
          maskInterrupts(svm);
          svm.vmcb.write('V_CONTROL', 0);
        },
      });
      expect(exitOf(svm.vmcb)).toEqual(exit(Code.INTR, START_RIP + 6n));
    });

    it("goes through the guest's IDT where it is not intercepted", async () => {
      const svm = await run({
        ...{ guest: `${VMMCALL} fb ${TO_CPUID}`, calls: [request] },
        prepare: ({ vmcb, machine }) => {
          allowCalls(vmcb);
          machine.memory.writeBytes(Number(handler(VECTOR)), Uint8Array.of(0xf4));
        },
      });
      expect(svm.vcpu.rip).toBe(handler(VECTOR) + 1n);
      expect(svm.machine.memory.read64(Number(svm.vcpu.gpr[RSP]))).toBe(START_RIP + 5n);
    });

    it('of the chips that is not intercepted comes before a virtual one', async () => {
      const svm = await run({
        ...{ guest: `${VMMCALL} fb ${TO_CPUID}`, calls: [request] },
        prepare: ({ vmcb, machine }) => {
          allowCalls(vmcb);
          vmcb.write('V_CONTROL', VirtualInterrupt.V_IRQ | VirtualInterrupt.V_IGN_TPR);
          vmcb.write('V_INTR_VECTOR', VECTOR + 1);
          machine.memory.writeBytes(Number(handler(VECTOR)), Uint8Array.of(0xf4));
        },
      });
      expect(svm.vcpu.rip).toBe(handler(VECTOR) + 1n);
    });
  });

  describe('a virtual interrupt', () => {
    const { V_IRQ, V_IGN_TPR, V_INTR_MASKING, V_INTR_PRIO_SHIFT } = VirtualInterrupt;
    // nop; sti; nop; nop
    const guest = `90 fb 90 90 ${VMMCALL}`;

    it.each([
      ['whose priority does not count', V_IGN_TPR],
      ['whose priority is above V_TPR', (3 << V_INTR_PRIO_SHIFT) | 2],
    ])("%s goes through the guest's IDT once IF is set, and is no more", async (_what, control) => {
      const svm = await run({ guest, prepare: ({ vmcb }) => requestVirtual(vmcb, control) });
      expect(exitOf(svm.vmcb)).toEqual(exit(Code.VMMCALL, handler(VECTOR)));
      expect(stackOf(svm, 1)).toEqual([START_RIP + 3n]);
      expect(svm.vmcb.read('V_CONTROL')).toBe(V_INTR_MASKING | control);
    });

    it.each([(3 << V_INTR_PRIO_SHIFT) | 3])('waits while its priority is not above V_TPR: %i', async (control) => {
      const { vmcb } = await run({ guest, prepare: (svm) => requestVirtual(svm.vmcb, control) });
      expect(exitOf(vmcb)).toEqual(exit(Code.VMMCALL, START_RIP + 4n));
      expect(vmcb.read('V_CONTROL')).toBe(V_IRQ | V_INTR_MASKING | control);
    });

    it('that is intercepted exits when it would be taken, and stays', async () => {
      const { vmcb } = await run({
        guest,
        prepare: ({ vmcb }) => {
          requestVirtual(vmcb, V_IGN_TPR);
          intercept(vmcb, Code.VINTR);
        },
      });
      expect(exitOf(vmcb)).toEqual(exit(Code.VINTR, START_RIP + 3n));
      expect([vmcb.read('V_CONTROL') & V_IRQ, vmcb.read64('RSP')]).toEqual([V_IRQ, BigInt(STACK_TOP)]);
    });
  });

  it('runs any program as the processor itself does', async () => {
    await fc.assert(
      fc.asyncProperty(PROGRAM, async (program) => {
        expect(await outcome(program, tier, true)).toEqual(await outcome(program, tier, false));
      }),
      { numRuns: 60 },
    );
  });
});
