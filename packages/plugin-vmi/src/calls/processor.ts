import { AP_STATE_BYTES, enterApState, readApState, whyImpossible } from './ap-state.ts';
import { type Call, type CallHandler, GuestFault, UNDEFINED_OPCODE } from './call.ts';

const EFLAGS_IF = 1 << 9;
const EFLAGS_IOPL = 3 << 12;
const DESCRIPTOR_BYTES = 8;
/** Most entries of a table (SDM vol. 3A, 3.5.1 and 6.10). */
const ENTRIES = { descriptors: 8192, gates: 256 } as const;
/** Type of a 32-bit TSS, less its busy bit; where it holds ESP0, and SS0 behind it (SDM vol. 3A, figure 7-2). */
const TSS32 = 9;
const TSS32_BUSY = 0x1f & ~2;
const TSS_ESP0 = 4;
const TSS_SS0_END = 10;
const APIC_PAGE_BYTES = 4096;
const DEBUG_REGISTERS = 8;

/** Write…Entry(table EAX, index EDX, low half ECX, high half on the stack). */
const writeEntry =
  (entries: number): CallHandler =>
  (call) => {
    const { eax: table, edx: index, ecx: low } = call;
    const high = call.stack(0);
    if (index >= entries) return 'no such entry';
    call.write(table + index * DESCRIPTOR_BYTES, low, high);
    return undefined;
  };

/** UpdateKernelStack(SS0 EAX, ESP0 EDX): of the TSS that TR holds. */
function updateKernelStack(call: Call): string | undefined {
  const { tr } = call.vcpu.tables;
  if ((tr.accessRights & TSS32_BUSY) !== TSS32 || tr.limit < TSS_SS0_END - 1) return 'TR holds no 32-bit TSS';
  const at = Number(tr.base & 0xffffffffn) + TSS_ESP0;
  call.write(at, call.edx, (call.readWord(at + 4) & ~0xffff) | (call.eax & 0xffff));
  return undefined;
}

function setInterrupts({ vcpu }: Call, on: boolean): undefined {
  vcpu.eflags = on ? vcpu.eflags | EFLAGS_IF : vcpu.eflags & ~EFLAGS_IF;
}

function setIopl({ vcpu, eax }: Call): string | undefined {
  if (eax & ~EFLAGS_IOPL) return 'more than IOPL';
  vcpu.eflags = (vcpu.eflags & ~EFLAGS_IOPL) | eax;
  return undefined;
}

/**
 * SetInitialAPState(state EAX, APIC ID EDX): what the processor of that ID begins with at the next SIPI that starts it, instead of
 * real-address mode. The last state that it was given counts.
 */
function setInitialApState(call: Call): string | undefined {
  const state = readApState(call.readBytes(call.eax, AP_STATE_BYTES));
  const { machine, host } = call.guest;
  if (call.edx >= machine.vcpus.length) return 'no such processor';
  const vcpu = machine.vcpus[call.edx];
  if (vcpu === call.vcpu) return 'the processor that runs';
  const why = whyImpossible(state);
  if (why !== undefined) return why;
  vcpu.atStartup = () => {
    if (enterApState(vcpu, state)) return;
    vcpu.offline = true;
    host.count('ap.refused');
    host.log('info', `processor ${vcpu.id} is not started: its segments cannot be loaded`);
  };
  return undefined;
}

/** Registers of the local APIC by their offset, or by an address at which the guest has mapped them. */
function apicRegister(call: Call): number | undefined {
  const page = call.vcpu.localApicGpa;
  const register = call.eax;
  if (page === undefined || register % 16 !== 0) return undefined;
  if (register < APIC_PAGE_BYTES) return page + register;
  const gpa = call.gpaToWrite(register);
  return gpa >= page && gpa < page + APIC_PAGE_BYTES ? gpa : undefined;
}

function apicRead(call: Call): string | undefined {
  const gpa = apicRegister(call);
  call.answer(gpa === undefined ? 0 : call.vcpu.readDevice(gpa, 4));
  return gpa === undefined ? 'no register of a local APIC' : undefined;
}
function apicWrite(call: Call): string | undefined {
  const gpa = apicRegister(call);
  if (gpa === undefined) return 'no register of a local APIC';
  call.vcpu.writeDevice(gpa, 4, call.edx);
  return undefined;
}

/** Reboot(how EAX): 0 softly, 1 hard, which are the same here. */
function reboot({ guest, eax }: Call): string | undefined {
  if (eax > 1) return 'no such way';
  guest.machine.shutdown({ kind: 'reboot' });
  return undefined;
}

const existingDebugRegister = ({ eax }: Call): undefined => {
  if (eax >= DEBUG_REGISTERS) throw new GuestFault(UNDEFINED_OPCODE);
};

const applyPending = ({ guest }: Call): undefined => guest.pending.apply() as undefined;

function setLazyMode({ guest, vcpu, eax: mode }: Call): string | undefined {
  if (mode > 2) return 'no such mode';
  if (mode === 0) guest.pending.apply();
  guest.setLazyMode(vcpu, mode);
  return undefined;
}

function init(call: Call): undefined {
  const { guest } = call;
  guest.host.log('info', `the guest has called VMI_Init of ROM ${guest.rom.product}`);
  call.answer(0);
}

/** Calls that are not here are the processor's own: the ROM carries them out once the plug-in has seen them. */
export const processorCalls: Readonly<Record<string, CallHandler>> = {
  Init: init,
  WriteGDTEntry: writeEntry(ENTRIES.descriptors),
  WriteLDTEntry: writeEntry(ENTRIES.descriptors),
  WriteIDTEntry: writeEntry(ENTRIES.gates),
  UpdateKernelStack: updateKernelStack,
  // What waits happens before translations go.
  SetCR0: applyPending,
  SetCR3: applyPending,
  SetCR4: applyPending,
  SetDR: existingDebugRegister,
  GetDR: existingDebugRegister,
  EnableInterrupts: (call) => setInterrupts(call, true),
  DisableInterrupts: (call) => setInterrupts(call, false),
  GetInterruptMask: (call) => void call.answer(call.vcpu.eflags),
  SetInterruptMask: (call) => setInterrupts(call, (call.eax & EFLAGS_IF) !== 0),
  Reboot: reboot,
  Shutdown: ({ guest }) => void guest.machine.shutdown({ kind: 'poweroff' }),
  SetIOPLMask: setIopl,
  SetInitialAPState: setInitialApState,
  APICWrite: apicWrite,
  APICRead: apicRead,
  IODelay: () => undefined,
  SetLazyMode: setLazyMode,
};
