/* A VMI ROM and its calls. */
#pragma once
#include "../../core/types.h"

/* Those that are made, by number (Linux 2.6.32, asm/vmi.h and asm/vmi_time.h). */
enum rom_call {
    CALL_SetCR3 = 17,
    CALL_EnableInterrupts = 29,
    CALL_DisableInterrupts = 30,
    CALL_GetInterruptMask = 31,
    CALL_IRET = 33,
    CALL_Halt = 35,
    CALL_Reboot = 36,
    CALL_Shutdown = 37,
    CALL_SetPxELong = 39,
    CALL_InvalPage = 46,
    CALL_FlushTLB = 47,
    CALL_GetCycleFrequency = 66,
    CALL_GetCycleCounter = 67,
    CALL_SetAlarm = 68,
    CALL_GetWallclockTime = 70,
    ROM_CALLS = 74,
};

/* Looks for a ROM that a kernel would take, and activates it. */
bool rom_find(void);
/* "Polyvisor trap, a ROM of API 3.0" */
const char *rom_describe(void);

/* Makes a call, and stores EDX:EAX if a place is given. False: the ROM wants native code kept. A call that it wants to be
 * nothing at all is made by doing nothing. */
bool rom_call(enum rom_call call, u32 eax, u32 edx, u32 ecx, u32 stack, u64 *result);
/* EAX, or 0 where there is no such call. */
u32 rom_result32(enum rom_call call);
/* Where a call leads that is jumped to; `target` is left alone if the ROM has none. */
void rom_jump_target(enum rom_call call, const void **target);
