/*
 * Operations of a kernel, many times each: operations (NAME COUNT)…
 *
 * null     getppid: into the kernel and back
 * fault    first touch of an anonymous page: a page fault, a page zeroed, an entry written
 * map      mmap and munmap of one page that nobody touches
 * pipe     a byte there and back between two processes: two switches between address spaces
 * ringN    a byte once round N processes, 2 to 256: as many switches
 * fork     a child that exits at once, and is waited for
 * spawn    the same, but the child executes this program first
 * timer    a sleep of 1 ns: a timer set, the processor idle, the timer's interrupt, a wake-up
 *
 * Each is announced, stopped and closed by marker lines, a ring when its processes are there. What closes is how often it
 * was done, each checked, and the nanoseconds by the guest's own clock.
 */
#include "program.h"

static char *own_path;
static u64 begun_ns, stopped_ns;

static void begin(const char *name)
{
    mark_begin(name);
    begun_ns = now_ns();
}

static void stop(const char *name)
{
    stopped_ns = now_ns();
    mark_stop(name);
}

/* A counter-like byte, so that a lost or doubled one is noticed. */
static u8 byte_of(u64 number)
{
    return (u8)(number * 151 + 7);
}

static void must(int condition, const char *what)
{
    need(condition ? 0 : -1, what);
}

static u64 do_null(u64 count)
{
    s64 parent = system_call(SYS_GETPPID, 0, 0, 0);
    u64 done = 0;

    for (u64 i = 0; i < count; i++)
        done += system_call(SYS_GETPPID, 0, 0, 0) == parent;
    return done;
}

enum { CHUNK_PAGES = 8192, NO_HUGE_PAGE = 15 };

static u64 do_fault(u64 count)
{
    u64 done = 0;

    while (done < count) {
        u64 pages = count - done < CHUNK_PAGES ? count - done : CHUNK_PAGES;
        u8 *memory = map_memory(pages * PAGE_BYTES);

        /* Without transparent huge pages, where there are any: a fault a page. */
        system_call(SYS_MADVISE, (s64)memory, (s64)(pages * PAGE_BYTES), NO_HUGE_PAGE);
        for (u64 page = 0; page < pages; page++) {
            must(memory[page * PAGE_BYTES + 1] == 0, "a fresh page is not zero");
            memory[page * PAGE_BYTES] = byte_of(page);
        }
        for (u64 page = 0; page < pages; page++)
            done += memory[page * PAGE_BYTES] == byte_of(page);
        need(system_call(SYS_MUNMAP, (s64)memory, (s64)(pages * PAGE_BYTES), 0), "munmap");
    }
    return done;
}

static u64 do_map(u64 count)
{
    for (u64 i = 0; i < count; i++)
        need(system_call(SYS_MUNMAP, (s64)map_memory(PAGE_BYTES), PAGE_BYTES, 0), "munmap");
    return count;
}

/* ---- processes ---- */

static void send(int pipe, u8 byte)
{
    must(system_call(SYS_WRITE, pipe, (s64)&byte, 1) == 1, "write to a pipe");
}

static u8 receive(int pipe)
{
    u8 byte;

    must(system_call(SYS_READ, pipe, (s64)&byte, 1) == 1, "read from a pipe");
    return byte;
}

static void wait_for_child(s64 child)
{
    int status = -1;

    must(system_call6(SYS_WAIT4, child, (s64)&status, 0, 0, 0, 0) == child && status == 0, "a child's end");
}

enum { MOST_MEMBERS = 256 };

/* `members` processes, this one included, hand a byte round once, and then `rounds` times; pipe i leads to member i. */
static u64 ring(const char *name, u64 members, u64 rounds)
{
    int pipes[MOST_MEMBERS][2];
    s64 children[MOST_MEMBERS];
    u64 done = 0;

    for (u64 i = 0; i < members; i++)
        need(system_call(SYS_PIPE, (s64)pipes[i], 0, 0), "pipe");
    for (u64 i = 1; i < members; i++) {
        children[i] = need(system_call(SYS_FORK, 0, 0, 0), "fork");
        if (children[i])
            continue;
        for (u64 round = 0; round < rounds + 1; round++)
            send(pipes[(i + 1) % members][1], receive(pipes[i][0]));
        leave(0);
    }
    send(pipes[1 % members][1], 0);
    receive(pipes[0][0]);
    begin(name);
    for (u64 round = 0; round < rounds; round++) {
        send(pipes[1 % members][1], byte_of(round));
        done += receive(pipes[0][0]) == byte_of(round);
    }
    stop(name);
    for (u64 i = 1; i < members; i++)
        wait_for_child(children[i]);
    return done;
}

static u64 do_fork(u64 count)
{
    for (u64 i = 0; i < count; i++) {
        s64 child = need(system_call(SYS_FORK, 0, 0, 0), "fork");

        if (child == 0)
            leave(0);
        wait_for_child(child);
    }
    return count;
}

static u64 do_spawn(u64 count)
{
    for (u64 i = 0; i < count; i++) {
        s64 child = need(system_call(SYS_FORK, 0, 0, 0), "fork");

        if (child == 0) {
            char *words[] = {own_path, 0};

            system_call(SYS_EXECVE, (s64)own_path, (s64)words, (s64)(words + 1));
            leave(1);
        }
        wait_for_child(child);
    }
    return count;
}

enum { PR_SET_TIMERSLACK = 29 };

static u64 do_timer(u64 count)
{
    const s64 shortest[2] = {0, 1};

    need(system_call(SYS_PRCTL, PR_SET_TIMERSLACK, 1, 0), "prctl");
    for (u64 i = 0; i < count; i++)
        need(system_call(SYS_NANOSLEEP, (s64)shortest, 0, 0), "nanosleep");
    return count;
}

static const struct {
    const char *name;
    u64 (*run)(u64 count);
} operations[] = {
    {"null", do_null}, {"fault", do_fault}, {"map", do_map},
    {"fork", do_fork}, {"spawn", do_spawn}, {"timer", do_timer},
};

static int is_ring(const char *name)
{
    return name[0] == 'r' && name[1] == 'i' && name[2] == 'n' && name[3] == 'g';
}

static u64 do_ring(const char *name, u64 count)
{
    u64 members = number_from(name + 4);

    must(members >= 2 && members <= MOST_MEMBERS, "the number of a ring's members");
    return ring(name, members, count);
}

/* How often it was done, each checked; 0 if there is no such operation. */
static u64 run_operation(const char *name, u64 count)
{
    if (is_ring(name))
        return do_ring(name, count);
    if (same_text(name, "pipe"))
        return ring(name, 2, count);
    for (u64 i = 0; i < sizeof operations / sizeof *operations; i++)
        if (same_text(name, operations[i].name)) {
            u64 done;

            begin(name);
            done = operations[i].run(count);
            stop(name);
            return done;
        }
    return 0;
}

int program(int count, char **words)
{
    own_path = words[0];
    for (int word = 1; word + 1 < count; word += 2) {
        u64 done = run_operation(words[word], number_from(words[word + 1]));

        mark_end_decimal(words[word], done, stopped_ns - begun_ns);
    }
    return 0;
}
