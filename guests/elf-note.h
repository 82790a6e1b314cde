/* For assembly: a note whose name is "Xen", by its type and a directive for its value (gABI, chapter 5, note section). */
        .macro  note type, value:vararg
        .balign 4
        .long   2f - 1f, 4f - 3f, \type
1:      .asciz  "Xen"
2:      .balign 4
3:      \value
4:      .balign 4
        .endm
