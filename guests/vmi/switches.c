/* IRET and SYSEXIT at patched sites, to the kernel and to user code. */
#include "vmi.h"

enum { IF = 0x200, SYSENTER_CS = 0x174, USER_CODE = 0x1b };
extern u32 return_here(u32 flags);
extern void to_user_by_iret(void), to_user_by_sysexit(void);
extern const u8 from_user[];
extern volatile u32 user_flags, user_cs;

void test_switches(void) {
  section("IRET, SYSEXIT");
  set_gate(0x80, (u32)from_user, 3);
  check_equal("IRET within the kernel sets IF", return_here(IF | 2) & IF, IF);
  check_equal("and clears it", return_here(2) & IF, 0);
  to_user_by_iret();
  check_equal("IRET leads to user code", user_cs, USER_CODE);
  check_equal("with interrupts on", user_flags & IF, IF);
  user_cs = user_flags = 0;
  vmi(WRMSR, 8, 0, SYSENTER_CS, 0, 0);
  to_user_by_sysexit();
  check_equal("SYSEXIT leads to user code", user_cs, USER_CODE);
  check_equal("with interrupts on", user_flags & IF, IF);
}
