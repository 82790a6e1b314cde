/*
 * Loads from a working set of a given size, 64 bytes apart, in the order of memory and in a random one:
 * walk STEPS KILOBYTES…: for each size both orders are walked for STEPS loads, each load's address coming from the one
 * before. Marker lines `sequential_KILOBYTES` and `random_KILOBYTES`; the result is the number of steps if the
 * walk ended where it had to, and then the nanoseconds by the guest's own clock.
 */
#include "program.h"

enum { LINE_BYTES = 64, WORDS_PER_LINE = LINE_BYTES / 8 };

static u64 random_state = 88172645463325252ul;

static u64 next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* Each line's first word is the index of the next line: one cycle through all of them. */
static void link_lines(u64 *memory, u64 lines, int random)
{
    for (u64 i = 0; i < lines; i++)
        memory[i * WORDS_PER_LINE] = random ? i : (i + 1) % lines;
    if (!random)
        return;
    /* Sattolo's shuffle: a permutation that is a single cycle. */
    for (u64 i = lines - 1; i > 0; i--) {
        u64 j = next_random() % i;
        u64 swapped = memory[i * WORDS_PER_LINE];

        memory[i * WORDS_PER_LINE] = memory[j * WORDS_PER_LINE];
        memory[j * WORDS_PER_LINE] = swapped;
    }
}

__attribute__((noipa)) static u64 follow(const u64 *memory, u64 at, u64 steps)
{
    for (u64 i = 0; i < steps; i++)
        at = memory[at * WORDS_PER_LINE];
    return at;
}

/* Whole cycles end where they began; so does what is left over, followed a second time from there. */
static u64 checked_steps(const u64 *memory, u64 lines, u64 steps, u64 reached)
{
    return reached == follow(memory, 0, steps % lines) ? steps : 0;
}

static void measure(const char *order, const char *kilobytes, u64 steps, int random)
{
    char name[40];
    u64 lines = number_from(kilobytes) * 1024 / LINE_BYTES;
    u64 *memory = map_memory(lines * LINE_BYTES);
    u64 begun, reached, taken;

    *put_text(put_text(put_text(name, order), "_"), kilobytes) = 0;
    link_lines(memory, lines, random);
    mark_begin(name);
    begun = now_ns();
    reached = follow(memory, 0, steps);
    taken = now_ns() - begun;
    mark_stop(name);
    mark_end_decimal(name, checked_steps(memory, lines, steps, reached), taken);
    need(system_call(SYS_MUNMAP, (s64)memory, (s64)(lines * LINE_BYTES), 0), "munmap");
}

int program(int count, char **words)
{
    for (int word = 2; word < count; word++) {
        measure("sequential", words[word], number_from(words[1]), 0);
        measure("random", words[word], number_from(words[1]), 1);
    }
    return 0;
}
