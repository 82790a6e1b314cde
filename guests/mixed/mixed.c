/*
 * mixed: a load of everyday integer work in four parts that feed each other, of the kind that CoreMark is (it is not
 * CoreMark, and shares nothing with it but the idea):
 *
 * list     3,000 linked nodes in scattered order: searched, reversed, merge-sorted
 * matrix   40 × 40 products of 16-bit numbers, with additions and shifts
 * states   a scanner for numbers, by a switch per character
 * CRC      CRC-16/ARC, bit by bit, over the results of the others
 *
 * The checksum is the CRC after all rounds.
 */
#include "program.h"

enum { ROUNDS = 220, NODES = 3000, SIDE = 40, TEXT_BYTES = 8192 };

static u32 random_state = 1;

static u32 next_random(void)
{
    random_state = random_state * 1103515245u + 12345u;
    return random_state >> 8;
}

/* ---- CRC: polynomial 0x8005, reflected ---- */

static u32 crc_byte(u32 crc, u32 byte)
{
    crc ^= byte & 0xff;
    for (int bit = 0; bit < 8; bit++)
        crc = crc & 1 ? crc >> 1 ^ 0xa001 : crc >> 1;
    return crc;
}

static u32 crc_word(u32 crc, u32 word)
{
    for (int shift = 0; shift < 32; shift += 8)
        crc = crc_byte(crc, word >> shift);
    return crc;
}

/* ---- list ---- */

struct node {
    struct node *next;
    u32 key;
    u32 data;
};

static struct node nodes[NODES];

/* Nodes lie in memory in another order than in the list: 1,009 has no divisor in common with their number. */
static struct node *build_list(void)
{
    struct node *head = 0;

    for (u32 i = 0; i < NODES; i++) {
        struct node *node = &nodes[i * 1009 % NODES];

        node->key = next_random() & 0xffff;
        node->data = i;
        node->next = head;
        head = node;
    }
    return head;
}

static struct node *reverse(struct node *head)
{
    struct node *reversed = 0;

    while (head) {
        struct node *next = head->next;

        head->next = reversed;
        reversed = head;
        head = next;
    }
    return reversed;
}

static u32 position_of(const struct node *head, u32 data)
{
    u32 position = 0;

    for (; head && head->data != data; head = head->next)
        position++;
    return position;
}

static struct node *merge(struct node *a, struct node *b)
{
    struct node *head = 0, **tail = &head;

    while (a && b) {
        struct node **least = a->key <= b->key ? &a : &b;

        *tail = *least;
        tail = &(*least)->next;
        *least = *tail;
    }
    *tail = a ? a : b;
    return head;
}

static struct node *merge_sort(struct node *head)
{
    struct node *slow = head, *fast;

    if (!head || !head->next)
        return head;
    for (fast = head->next; fast && fast->next; fast = fast->next->next)
        slow = slow->next;
    fast = slow->next;
    slow->next = 0;
    return merge(merge_sort(head), merge_sort(fast));
}

static u32 list_part(u32 crc)
{
    struct node *head = build_list();

    for (u32 i = 0; i < 20; i++) {
        crc = crc_word(crc, position_of(head, (crc ^ i * 151) % NODES));
        head = reverse(head);
    }
    head = merge_sort(head);
    for (u32 i = 0; head; head = head->next, i++)
        if (i % 50 == 0)
            crc = crc_word(crc, head->key << 16 | head->data);
    return crc;
}

/* ---- matrix ---- */

static short left[SIDE][SIDE], right[SIDE][SIDE];
static s32 product[SIDE][SIDE];

static u32 matrix_part(u32 crc)
{
    u32 folded = 0;

    for (int row = 0; row < SIDE; row++)
        for (int column = 0; column < SIDE; column++) {
            left[row][column] = (short)(next_random() ^ crc);
            right[row][column] = (short)(row * 7 - column * 13 + (int)(crc & 0xff));
        }
    for (int row = 0; row < SIDE; row++)
        for (int column = 0; column < SIDE; column++) {
            s32 sum = 0;

            for (int i = 0; i < SIDE; i++)
                sum += (s32)left[row][i] * right[i][column] >> 3;
            product[row][column] = sum;
        }
    for (int row = 0; row < SIDE; row++)
        for (int column = 0; column < SIDE; column++)
            folded = (folded << 1 | folded >> 31) + (u32)(product[row][column] >> (row & 7));
    return crc_word(crc, folded);
}

/* ---- states: how many words of a text are integers, fractions, or neither ---- */

static char text[TEXT_BYTES];

static void write_text(u32 seed)
{
    static const char letters[] = "0123456789 0123456789 +-.eE,x ";

    for (u32 i = 0; i < TEXT_BYTES; i++)
        text[i] = letters[(next_random() ^ seed) % (sizeof letters - 1)];
}

enum state { BETWEEN, SIGN, INTEGER, POINT, FRACTION, EXPONENT, EXPONENT_SIGN, EXPONENT_DIGITS, WRONG, STATES };

static enum state after(enum state state, char letter)
{
    int digit = letter >= '0' && letter <= '9';
    int sign = letter == '+' || letter == '-';
    int power = letter == 'e' || letter == 'E';

    if (letter == ' ' || letter == ',')
        return BETWEEN;
    switch (state) {
    case BETWEEN:
        return digit ? INTEGER : sign ? SIGN : letter == '.' ? POINT : WRONG;
    case SIGN:
        return digit ? INTEGER : letter == '.' ? POINT : WRONG;
    case INTEGER:
        return digit ? INTEGER : letter == '.' ? FRACTION : power ? EXPONENT : WRONG;
    case POINT:
        return digit ? FRACTION : WRONG;
    case FRACTION:
        return digit ? FRACTION : power ? EXPONENT : WRONG;
    case EXPONENT:
        return digit ? EXPONENT_DIGITS : sign ? EXPONENT_SIGN : WRONG;
    case EXPONENT_SIGN:
    case EXPONENT_DIGITS:
        return digit ? EXPONENT_DIGITS : WRONG;
    default:
        return WRONG;
    }
}

static u32 states_part(u32 crc)
{
    u32 visits[STATES] = {0};
    enum state state = BETWEEN;

    write_text(crc);
    for (u32 i = 0; i < TEXT_BYTES; i++)
        visits[state = after(state, text[i])]++;
    for (u32 i = 0; i < STATES; i++)
        crc = crc_word(crc, visits[i]);
    return crc;
}

int program(int count, char **words)
{
    u32 crc = 0;

    (void)count, (void)words;
    mark_begin("mixed");
    for (int round = 0; round < ROUNDS; round++) {
        crc = list_part(crc);
        crc = matrix_part(crc);
        crc = states_part(crc);
        for (u32 i = 0; i < TEXT_BYTES; i += 16)
            crc = crc_byte(crc, (u32)text[i]);
    }
    mark_end_hex("mixed", crc);
    return 0;
}
