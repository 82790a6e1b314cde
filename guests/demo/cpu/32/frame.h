#pragma once
#include "../../core/types.h"

/* PUSHA, the entry's two words, and the three that the CPU (or hypervisor) pushes where the level stays the same. */
struct trap_frame {
    word edi, esi, ebp, esp_of_pusha, ebx, edx, ecx, eax;
    word vector, error_code;
    word eip, cs, eflags;
};

static inline void set_instruction_pointer(struct trap_frame *frame, word address)
{
    frame->eip = address;
}
