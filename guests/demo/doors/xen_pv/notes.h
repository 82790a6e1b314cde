/*
 * For assembly: the ELF notes by which Xen, or Polyvisor's plug-in xen, knows what to do with the image (Xen
 * public/elfnote.h). Addresses are words of the domain.
 */
#include "../../../elf-note.h"

#ifdef __x86_64__
#define ADDRESS .quad
#else
#define ADDRESS .long
#endif

        .section .note.Xen, "a", @note
        note    1, ADDRESS xen_pv_entry         /* ENTRY */
        note    2, ADDRESS hypercall_page       /* HYPERCALL_PAGE */
        note    3, ADDRESS image_virtual_base   /* VIRT_BASE */
        note    4, ADDRESS 0                    /* PADDR_OFFSET: p_paddr counts from guest-physical 0 */
        note    5, .asciz "xen-3.0"             /* XEN_VERSION: of the interface, the same ever since */
        note    6, .asciz "polyvisor-demo"      /* GUEST_OS */
        note    7, .asciz "1"                   /* GUEST_VERSION */
        note    8, .asciz "generic"             /* LOADER */
#ifdef __i386__
        note    9, .asciz "yes"                 /* PAE_MODE */
#endif
        note    10, .asciz "writable_page_tables|pae_pgdir_above_4gb" /* FEATURES that it can live with */
