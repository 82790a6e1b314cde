#include "print.h"
#include "ops.h"
#include <stdarg.h>

enum { LINE_BUFFER_BYTES = 128, MAX_DIGITS = 20 };

/* Characters collected for one console_write. */
struct buffer {
    char text[LINE_BUFFER_BYTES];
    word bytes;
};

static void flush(struct buffer *out)
{
    pv_ops.console_write(out->text, out->bytes);
    out->bytes = 0;
}

static void put_char(struct buffer *out, char character)
{
    if (character == '\n')
        put_char(out, '\r');
    if (out->bytes == sizeof out->text)
        flush(out);
    out->text[out->bytes++] = character;
}

struct field {
    bool left;
    char fill;
    word width;
};

static void put_field(struct buffer *out, const struct field *field, const char *text, word length)
{
    word padding = field->width > length ? field->width - length : 0;

    for (word i = 0; i < padding && !field->left; i++)
        put_char(out, field->fill);
    for (word i = 0; i < length; i++)
        put_char(out, text[i]);
    for (word i = 0; i < padding && field->left; i++)
        put_char(out, ' ');
}

static void put_number(struct buffer *out, const struct field *field, u64 value, unsigned base)
{
    char digits[MAX_DIGITS];
    word start = MAX_DIGITS;

    do {
        digits[--start] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    put_field(out, field, digits + start, MAX_DIGITS - start);
}

static word length_of(const char *text)
{
    word length = 0;

    while (text[length] != '\0')
        length++;
    return length;
}

/* Reads the flags and width after a `%`; returns where the conversion letter is. */
static const char *parse_field(const char *format, struct field *field)
{
    *field = (struct field){ .left = false, .fill = ' ', .width = 0 };
    for (; *format == '-' || *format == '0'; format++) {
        if (*format == '-')
            field->left = true;
        else
            field->fill = '0';
    }
    for (; *format >= '0' && *format <= '9'; format++)
        field->width = field->width * 10 + (word)(*format - '0');
    while (*format == 'l')
        format++;
    return format;
}

void print(const char *format, ...)
{
    struct buffer out = { .bytes = 0 };
    struct field field;
    va_list arguments;

    va_start(arguments, format);
    for (; *format != '\0'; format++) {
        if (*format != '%') {
            put_char(&out, *format);
            continue;
        }
        format = parse_field(format + 1, &field);
        if (*format == 's') {
            const char *text = va_arg(arguments, const char *);
            put_field(&out, &field, text, length_of(text));
        } else if (*format == 'c') {
            put_char(&out, (char)va_arg(arguments, int));
        } else if (*format == 'u' || *format == 'x') {
            put_number(&out, &field, va_arg(arguments, u64), *format == 'x' ? 16 : 10);
        } else {
            put_char(&out, *format);
        }
    }
    va_end(arguments);
    flush(&out);
}
