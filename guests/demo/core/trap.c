/* The report of an exception, and where the guest goes from there. */
#include "trap.h"
#include "ops.h"
#include "print.h"

extern word catch_stack;
extern char catch_resume[];

static const char *const names[EXCEPTION_VECTORS] = {
    [0] = "#DE divide error",
    [1] = "#DB debug exception",
    [2] = "NMI",
    [3] = "#BP breakpoint",
    [4] = "#OF overflow",
    [5] = "#BR bound range exceeded",
    [6] = "#UD invalid opcode",
    [7] = "#NM device not available",
    [8] = "#DF double fault",
    [10] = "#TS invalid TSS",
    [11] = "#NP segment not present",
    [12] = "#SS stack fault",
    [13] = "#GP general protection",
    [14] = "#PF page fault",
    [16] = "#MF x87 error",
    [17] = "#AC alignment check",
    [18] = "#MC machine check",
    [19] = "#XM SIMD error",
};

static void report(const struct trap_frame *frame, u64 fault_address)
{
    const char *name = frame->vector < EXCEPTION_VECTORS ? names[frame->vector] : NULL;

    print("%s (vector %llu), error code 0x%llx\n", name ? name : "unknown exception", (u64)frame->vector,
          (u64)frame->error_code);
    if (frame->vector == VECTOR_PF)
        /* Error code bits 0 and 1: Intel SDM vol. 3A, "Page-Fault Exceptions". */
        print("  %s of 0x%llx, page %s\n", frame->error_code & 2 ? "write" : "read", fault_address,
              frame->error_code & 1 ? "present" : "not present");
    print_registers(frame);
}

void handle_trap(struct trap_frame *frame, u64 fault_address)
{
    report(frame, fault_address);
    if (catch_stack == 0) {
        print("nothing catches this: crashing\n");
        pv_ops.shutdown(SHUTDOWN_CRASH);
    }
    set_instruction_pointer(frame, (word)catch_resume);
}
