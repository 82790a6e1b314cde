/* What the bench has compiled in the guest: words counted in a hash table, sorted, and folded into one line. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 256
#define LONGEST_WORD 24

struct word {
    struct word *next;
    unsigned count;
    char text[LONGEST_WORD];
};

static struct word *buckets[BUCKETS];
static unsigned word_count;

static const char *const sentences[] = {
    "a machine that runs the programs of another machine",
    "every program that the other machine runs, this machine runs",
    "the shortest program of them all is the one that ends",
    "and the longest is the one that nobody has seen the end of",
};

static unsigned hash(const char *text)
{
    unsigned value = 5381;

    while (*text)
        value = value * 33 ^ (unsigned char)*text++;
    return value % BUCKETS;
}

static void count_word(const char *text)
{
    struct word **bucket = &buckets[hash(text)];
    struct word *word;

    for (word = *bucket; word; word = word->next)
        if (strcmp(word->text, text) == 0) {
            word->count++;
            return;
        }
    word = calloc(1, sizeof *word);
    if (!word)
        exit(1);
    strncpy(word->text, text, LONGEST_WORD - 1);
    word->count = 1;
    word->next = *bucket;
    *bucket = word;
    word_count++;
}

static void count_words(const char *sentence)
{
    char text[LONGEST_WORD];
    size_t length = 0;

    for (;; sentence++) {
        if (isalpha((unsigned char)*sentence) && length < LONGEST_WORD - 1) {
            text[length++] = (char)tolower((unsigned char)*sentence);
            continue;
        }
        if (length) {
            text[length] = 0;
            count_word(text);
            length = 0;
        }
        if (!*sentence)
            return;
    }
}

static int by_count_and_text(const void *left, const void *right)
{
    const struct word *a = *(struct word *const *)left, *b = *(struct word *const *)right;

    if (a->count != b->count)
        return a->count < b->count ? 1 : -1;
    return strcmp(a->text, b->text);
}

int main(void)
{
    struct word **words;
    unsigned at = 0, i;

    for (i = 0; i < sizeof sentences / sizeof *sentences; i++)
        count_words(sentences[i]);
    words = malloc(word_count * sizeof *words);
    if (!words)
        return 1;
    for (i = 0; i < BUCKETS; i++) {
        struct word *word;

        for (word = buckets[i]; word; word = word->next)
            words[at++] = word;
    }
    qsort(words, word_count, sizeof *words, by_count_and_text);
    printf("%u-%s-%u-%s\n", word_count, words[0]->text, words[0]->count, words[word_count - 1]->text);
    return 0;
}
