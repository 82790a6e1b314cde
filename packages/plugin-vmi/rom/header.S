/*
 * Header of a VMI ROM (Linux 2.6.32, arch/x86/include/asm/vmi.h, struct vrom_header) with the structures that option
 * ROMs have (PCI Firmware Specification 3.0, 5.1.2; Plug and Play BIOS Specification 1.0A, 3.2). All offsets are from the
 * start of the ROM, which is linked at 0. build.sh fills in length and checksums.
 */
  .section .header, "a"
  .globl rom_start
rom_start:
  .word 0xaa55
  .byte ROM_CHUNKS  /* length in units of 512 bytes */
  .byte 0xcb, 0, 0, 0  /* what a BIOS calls in real mode: lret */
  .byte 0
  .ascii "cVmi"
  .byte 0, 3  /* API version: minor, major */
  .byte 2  /* slots below: VMI_Init, GetRelocationInfo */
  .byte 0
  .long VIRTUAL_TOP  /* where the hypervisor's part of the address space begins; 0: there is none */
  .word 0
  .word licence
  .word pci
  .word pnp
  .long 0

  .org 0x20
pci:
  .ascii "PCIR"
  .word 0x15ad, 0x0801  /* the PCI ids by which kernels know a VMI device */
  .word 0  /* no vital product data */
  .word 24  /* bytes of this structure */
  .byte 0  /* its revision */
  .byte 0, 0x80, 0x05  /* interface, subclass, class: memory controller, other */
  .word ROM_CHUNKS
  .byte ROM_MINOR, ROM_MAJOR  /* revision of the code */
  .byte 0, 0x80  /* PC code; the last image */
  .word 0

  .org 0x40
pnp:
  .ascii "$PnP"
  .byte 1, 2  /* revision; length in units of 16 bytes */
  .word 0  /* no further header */
  .byte 0
  .byte PNP_CHECKSUM
  .long 0
  .word manufacturer
  .word product
  .byte 0, 0x80, 0x05  /* class as above */
  .byte 0  /* no device: nothing to boot from */
  .fill 10, 1, 0

  .org 0x80
  jmp vmi_init
  .org 0x88
  jmp vmi_get_relocation_info
  .org 0x90
licence:
  .asciz "GPL v2"
manufacturer:
  .asciz "Polyvisor"
product:
  .asciz PRODUCT

  .section .checksum, "a"
  .byte ROM_CHECKSUM

  .section .note.GNU-stack, "", @progbits
