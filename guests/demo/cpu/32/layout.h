/* Where the image is linked to be, less where it lies: image_virtual_base of demo.ld, for expressions of the assembler. */
#pragma once
#define IMAGE_VIRTUAL_BASE 0xc0000000
