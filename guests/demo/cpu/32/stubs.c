#include "stubs.h"

void (*trap_handler)(struct trap_frame *frame);
const void *trap_return;
