/* The door vmi: a guest of the door native that has found a VMI ROM. */
#pragma once
#include "../../core/ops.h"

/* If there is a ROM, its calls fill pv_ops from here on, and `boot` says so; else nothing has changed. */
void activate_vmi(struct boot_info *boot);

/* True: the interrupt of the 8254 was that of an alarm, and is done with. */
bool vmi_timer_interrupt(void);
