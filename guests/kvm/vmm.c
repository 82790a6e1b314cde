/*
 * A monitor for Linux KVM, as small as one that boots Linux can be: for kernels that have KVM and run as guests themselves. It is
 * built with the C library of the machine that the tests run on, statically.
 *
 *   vmm                               a few instructions in real-address mode, which print "ok"
 *   vmm BZIMAGE INITRD COMMANDLINE    Linux by its 64-bit boot protocol (Documentation/x86/boot.rst), with a serial port to print to
 *
 * Either ends with a pulse on the keyboard controller's reset line. Interfaces: Documentation/virt/kvm/api.rst.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MEMORY_BYTES = 192 << 20, BOOT_PARAMS = 0x10000, COMMAND_LINE = 0x20000, TABLES = 0x30000, GDT = 0x40000 };
enum { KERNEL = 0x1000000, INITRD = 0x8000000, COMMAND_LINE_BYTES = 2048 };
enum { SETUP_SECTORS = 0x1f1, HEADER_END = 0x201, LOADER = 0x210, RAMDISK = 0x218, RAMDISK_BYTES = 0x21c, COMMAND_LINE_AT = 0x228 };
enum { E820_ENTRIES = 0x1e8, E820 = 0x2d0, ENTRY64 = 0x200 };
enum { COM1 = 0x3f8, COM1_IIR = 0x3fa, COM1_LSR = 0x3fd, KEYBOARD = 0x64, KEYBOARD_RESET = 0xfe };
enum { SYSTEM_CONTROL_B = 0x61, NO_INTERRUPT = 1, TRANSMITTER_EMPTY = 0x60 };

static uint8_t *memory;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int control(int fd, unsigned long request, void *argument, const char *what)
{
	int answer = ioctl(fd, request, argument);
	if (answer < 0)
		fail(what);
	return answer;
}

static void put32(uint8_t *at, uint32_t value)
{
	memcpy(at, &value, sizeof value);
}

static void put64(uint8_t *at, uint64_t value)
{
	memcpy(at, &value, sizeof value);
}

/* A whole file into the guest's memory; its size in bytes. */
static size_t load(const char *name, uint8_t *to, size_t from)
{
	int fd = open(name, O_RDONLY);
	struct stat facts;
	if (fd < 0 || fstat(fd, &facts) < 0)
		fail(name);
	size_t size = (size_t)facts.st_size - from;
	if (to + size > memory + MEMORY_BYTES || lseek(fd, from, SEEK_SET) < 0)
		fail(name);
	for (size_t done = 0; done < size;) {
		ssize_t part = read(fd, to + done, size - done);
		if (part <= 0)
			fail(name);
		done += part;
	}
	close(fd);
	return size;
}

static void range(uint8_t *entry, uint64_t from, uint64_t size)
{
	put64(entry, from);
	put64(entry + 8, size);
	put32(entry + 16, 1);
}

static void place_linux(char **arguments)
{
	static uint8_t setup[4096];
	uint8_t *params = memory + BOOT_PARAMS;
	int fd = open(arguments[0], O_RDONLY);
	if (fd < 0 || read(fd, setup, sizeof setup) != sizeof setup)
		fail(arguments[0]);
	close(fd);
	memcpy(params + SETUP_SECTORS, setup + SETUP_SECTORS, HEADER_END + 1 + setup[HEADER_END] - SETUP_SECTORS);
	load(arguments[0], memory + KERNEL, (setup[SETUP_SECTORS] + 1) * 512);
	params[LOADER] = 0xff;
	put32(params + RAMDISK, INITRD);
	put32(params + RAMDISK_BYTES, load(arguments[1], memory + INITRD, 0));
	snprintf((char *)memory + COMMAND_LINE, COMMAND_LINE_BYTES, "%s", arguments[2]);
	put32(params + COMMAND_LINE_AT, COMMAND_LINE);
	params[E820_ENTRIES] = 2;
	range(params + E820, 0, 0x9fc00);
	range(params + E820 + 20, 0x100000, MEMORY_BYTES - 0x100000);
}

/* 4 GiB in pages of 2 MiB, and the descriptors of the boot protocol. */
static void place_tables(void)
{
	put64(memory + TABLES, (TABLES + 0x1000) | 3);
	for (uint64_t i = 0; i < 4; i++)
		put64(memory + TABLES + 0x1000 + i * 8, (TABLES + 0x2000 + i * 0x1000) | 3);
	for (uint64_t i = 0; i < 4 * 512; i++)
		put64(memory + TABLES + 0x2000 + i * 8, i << 21 | 0x83);
	put64(memory + GDT + 16, 0x00af9b000000ffff);
	put64(memory + GDT + 24, 0x00cf93000000ffff);
}

static void enter_linux(struct kvm_sregs *system, struct kvm_regs *registers)
{
	struct kvm_segment code = { .limit = 0xffffffff, .selector = 0x10, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1 };
	struct kvm_segment data = { .limit = 0xffffffff, .selector = 0x18, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1 };
	system->gdt.base = GDT;
	system->gdt.limit = 31;
	system->cs = code;
	system->ds = system->es = system->fs = system->gs = system->ss = data;
	system->cr3 = TABLES;
	system->cr4 |= 0x20;
	system->cr0 = 0x80000011;
	system->efer = 0x500;
	registers->rip = KERNEL + ENTRY64;
	registers->rsi = BOOT_PARAMS;
	registers->rsp = 0x9000;
}

/* mov dx, 3f8h; "ok" and a line end by OUT; the reset line. */
static const uint8_t REAL_MODE[] = { 0xba, 0xf8, 0x03, 0xb0, 'o', 0xee, 0xb0, 'k', 0xee, 0xb0, '\n', 0xee, 0xb0, KEYBOARD_RESET, 0xe6, KEYBOARD };

static void enter_real_mode(struct kvm_sregs *system, struct kvm_regs *registers)
{
	memcpy(memory + 0x1000, REAL_MODE, sizeof REAL_MODE);
	system->cs.base = system->cs.selector = 0;
	registers->rip = 0x1000;
}

static uint8_t read_port(uint16_t port)
{
	switch (port) {
	case COM1_LSR:
		return TRANSMITTER_EMPTY;
	case COM1_IIR:
		return NO_INTERRUPT;
	case KEYBOARD:
	case SYSTEM_CONTROL_B:
	case COM1:
	case COM1 + 1:
	case COM1 + 3:
	case COM1 + 4:
		return 0;
	default:
		return 0xff;
	}
}

/* False: the guest has reset itself. */
static int port_access(struct kvm_run *run)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_IN) {
			memset(data, read_port(run->io.port), run->io.size);
			continue;
		}
		if (run->io.port == COM1) {
			putchar(*data);
			if (*data == '\n')
				fflush(stdout);
		}
		if (run->io.port == KEYBOARD && *data == KEYBOARD_RESET)
			return 0;
	}
	return 1;
}

static unsigned long run_guest(int cpu, struct kvm_run *run)
{
	for (unsigned long exits = 1;; exits++) {
		control(cpu, KVM_RUN, 0, "KVM_RUN");
		if (run->exit_reason == KVM_EXIT_MMIO) {
			if (!run->mmio.is_write)
				memset(run->mmio.data, 0xff, sizeof run->mmio.data);
		} else if (run->exit_reason != KVM_EXIT_IO) {
			printf("vmm: exit %u after %lu exits\n", run->exit_reason, exits);
			exit(1);
		} else if (!port_access(run))
			return exits;
	}
}

int main(int count, char **arguments)
{
	int kvm = open("/dev/kvm", O_RDWR);
	if (kvm < 0)
		fail("/dev/kvm");
	int vm = control(kvm, KVM_CREATE_VM, 0, "KVM_CREATE_VM");
	struct kvm_pit_config timer = { .flags = KVM_PIT_SPEAKER_DUMMY };
	control(vm, KVM_CREATE_IRQCHIP, 0, "KVM_CREATE_IRQCHIP");
	control(vm, KVM_CREATE_PIT2, &timer, "KVM_CREATE_PIT2");
	memory = mmap(0, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		fail("mmap");
	struct kvm_userspace_memory_region slot = { .memory_size = MEMORY_BYTES, .userspace_addr = (uintptr_t)memory };
	control(vm, KVM_SET_USER_MEMORY_REGION, &slot, "KVM_SET_USER_MEMORY_REGION");
	int cpu = control(vm, KVM_CREATE_VCPU, 0, "KVM_CREATE_VCPU");
	int run_bytes = control(kvm, KVM_GET_VCPU_MMAP_SIZE, 0, "KVM_GET_VCPU_MMAP_SIZE");
	struct kvm_run *run = mmap(0, run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
	if (run == MAP_FAILED)
		fail("mmap");
	struct kvm_cpuid2 *features = calloc(1, sizeof *features + 100 * sizeof features->entries[0]);
	features->nent = 100;
	control(kvm, KVM_GET_SUPPORTED_CPUID, features, "KVM_GET_SUPPORTED_CPUID");
	control(cpu, KVM_SET_CPUID2, features, "KVM_SET_CPUID2");
	struct kvm_sregs system;
	struct kvm_regs registers = { .rflags = 2 };
	control(cpu, KVM_GET_SREGS, &system, "KVM_GET_SREGS");
	if (count == 4) {
		place_linux(arguments + 1);
		place_tables();
		enter_linux(&system, &registers);
	} else
		enter_real_mode(&system, &registers);
	control(cpu, KVM_SET_SREGS, &system, "KVM_SET_SREGS");
	control(cpu, KVM_SET_REGS, &registers, "KVM_SET_REGS");
	printf("vmm: reset after %lu exits\n", run_guest(cpu, run));
	return 0;
}
