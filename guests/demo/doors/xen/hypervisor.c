/* Calls to the hypervisor as such: its version, leaving for good. */
#include "hypercall.h"
#include "xen.h"

void xen_null_call(void)
{
    hypercall2(HYPERCALL_XEN_VERSION, XENVER_VERSION, 0);
}

void xen_shutdown(enum shutdown_reason reason)
{
    static const u32 codes[] = {
        [SHUTDOWN_POWEROFF] = XEN_SHUTDOWN_POWEROFF,
        [SHUTDOWN_REBOOT] = XEN_SHUTDOWN_REBOOT,
        [SHUTDOWN_CRASH] = XEN_SHUTDOWN_CRASH,
    };

    for (;;)
        hypercall2(HYPERCALL_SCHED_OP, SCHEDOP_SHUTDOWN, (word)&codes[reason]);
}

static char *append_text(char *at, const char *text)
{
    while (*text != '\0')
        *at++ = *text++;
    *at = '\0';
    return at;
}

static char *append_number(char *at, word value)
{
    if (value >= 10)
        at = append_number(at, value / 10);
    *at++ = (char)('0' + value % 10);
    *at = '\0';
    return at;
}

const char *xen_describe(void)
{
    static char text[64];
    char extra[16];
    word version = (word)hypercall2(HYPERCALL_XEN_VERSION, XENVER_VERSION, 0);
    char *end = append_text(text, "Xen ");

    end = append_number(end, version >> 16);
    end = append_text(end, ".");
    end = append_number(end, version & 0xffff);
    if (hypercall2(HYPERCALL_XEN_VERSION, XENVER_EXTRAVERSION, (word)extra) >= 0) {
        extra[sizeof extra - 1] = '\0';
        end = append_text(end, extra);
    }
    end = append_text(end, ", console: ");
    append_text(end, xen_console_name());
    return text;
}
