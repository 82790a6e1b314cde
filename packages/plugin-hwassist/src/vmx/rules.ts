import type { Entry } from './checks/state.ts';
import type { Rules } from './interception.ts';

const TARGETS = ['CR3_TARGET0', 'CR3_TARGET1', 'CR3_TARGET2', 'CR3_TARGET3'] as const;

/** What of a VMCS decides over exits. */
export function rulesOf({ vmcs, controls, memory }: Entry): Rules {
  return {
    ...{ controls, memory },
    exceptionBitmap: vmcs.read('EXCEPTION_BITMAP'),
    pageFaultMask: vmcs.read('PAGE_FAULT_ERROR_CODE_MASK'),
    pageFaultMatch: vmcs.read('PAGE_FAULT_ERROR_CODE_MATCH'),
    cr0: { mask: vmcs.read64('CR0_MASK'), shadow: vmcs.read64('CR0_READ_SHADOW') },
    cr4: { mask: vmcs.read64('CR4_MASK'), shadow: vmcs.read64('CR4_READ_SHADOW') },
    cr3Targets: TARGETS.slice(0, vmcs.read('CR3_TARGET_COUNT')).map((field) => vmcs.read64(field)),
    ioBitmaps: [Number(vmcs.read64('IO_BITMAP_A')), Number(vmcs.read64('IO_BITMAP_B'))],
    msrBitmaps: Number(vmcs.read64('MSR_BITMAPS')),
  };
}
