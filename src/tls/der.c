/* der.c: the DER encoder and reader. The encoder writes a one-byte length first and moves the content up when it turns
 * out to be longer; certificates are some hundred bytes, so that the moves cost less than a second pass would. */
#include "tls/der.h"

#include <assert.h>
#include <stdio.h>
#include <time.h>

static void der_note(struct der *d, enum err e)
{
    if (!d->err)
        d->err = e;
}

void der_raw(struct der *d, struct span bytes)
{
    if (!d->err)
        der_note(d, buf_put(d->out, bytes));
}

void der_byte(struct der *d, uint8_t byte)
{
    der_raw(d, span_of(&byte, 1));
}

size_t der_begin(struct der *d, unsigned tag)
{
    assert(tag <= 0xff);
    const uint8_t head[] = {(uint8_t)tag, 0};
    der_raw(d, span_of(head, sizeof head));
    return d->out->n;
}

void der_end(struct der *d, size_t mark)
{
    if (d->err)
        return;
    assert(mark <= d->out->n);
    size_t n = d->out->n - mark, extra = 0;
    if (n > 0x7f)
        for (size_t rest = n; rest > 0; rest >>= 8)
            extra++;
    uint8_t *unused;
    enum err e = buf_reserve(d->out, extra, &unused);
    if (e) {
        der_note(d, e);
        return;
    }
    uint8_t *content = d->out->p + d->out->head + mark;
    content[-1] = (uint8_t)(extra ? 0x80 | extra : n);
    if (extra) {
        memmove(content + extra, content, n);
        for (size_t i = 0; i < extra; i++)
            content[i] = (uint8_t)(n >> 8 * (extra - 1 - i));
        buf_commit(d->out, extra);
    }
}

void der_item(struct der *d, unsigned tag, struct span content)
{
    size_t mark = der_begin(d, tag);
    der_raw(d, content);
    der_end(d, mark);
}

void der_unsigned(struct der *d, struct span big_endian)
{
    while (big_endian.n > 0 && big_endian.p[0] == 0)
        big_endian = span_from(big_endian, 1);
    size_t mark = der_begin(d, DER_INTEGER);
    if (big_endian.n == 0 || big_endian.p[0] & 0x80)
        der_byte(d, 0);
    der_raw(d, big_endian);
    der_end(d, mark);
}

void der_number(struct der *d, uint64_t value)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(value >> 8 * (sizeof bytes - 1 - i));
    der_unsigned(d, span_of(bytes, sizeof bytes));
}

void der_bits(struct der *d, struct span bytes)
{
    size_t mark = der_begin(d, DER_BIT_STRING);
    der_byte(d, 0);
    der_raw(d, bytes);
    der_end(d, mark);
}

void der_time(struct der *d, uint64_t unix_s)
{
    time_t t = (time_t)unix_s;
    struct tm tm;
    char text[32];
    if (!gmtime_r(&t, &tm) || tm.tm_year + 1900 > 9999) {
        der_note(d, ERR_LIMIT);
        return;
    }
    size_t n = strftime(text, sizeof text, "%Y%m%d%H%M%SZ", &tm);
    /* UTCTime is the same text without the century. */
    bool utc = tm.tm_year < 150;
    der_item(d, utc ? DER_UTC_TIME : DER_GENERALIZED_TIME, span_from(span_of(text, n), utc ? 2 : 0));
}

bool der_take(struct span *in, struct der_value *out)
{
    struct span s = *in;
    if (s.n < 2 || (s.p[0] & 0x1f) == 0x1f)
        return false;
    size_t head = 2, n = s.p[1];
    if (n > 0x7f) {
        size_t count = n & 0x7f;
        if (count == 0 || count > 4 || s.n < 2 + count || s.p[2] == 0)
            return false;
        n = 0;
        for (size_t i = 0; i < count; i++)
            n = n << 8 | s.p[2 + i];
        if (n <= 0x7f)
            return false;
        head += count;
    }
    if (n > s.n - head)
        return false;
    *in = span_from(s, head + n); /* first: `in` may be the content of *out */
    out->tag = s.p[0];
    out->content = span_of(s.p + head, n);
    out->whole = span_first(s, head + n);
    return true;
}

bool der_take_tag(struct span *in, unsigned tag, struct der_value *out)
{
    struct span before = *in;
    if (der_take(in, out) && out->tag == tag)
        return true;
    *in = before;
    return false;
}

bool der_read_time(const struct der_value *value, uint64_t *unix_s)
{
    struct span s = value->content;
    bool utc = value->tag == DER_UTC_TIME;
    size_t year_digits = utc ? 2 : 4;
    if ((!utc && value->tag != DER_GENERALIZED_TIME) || s.n != year_digits + 11 || s.p[s.n - 1] != 'Z')
        return false;
    uint64_t year, part[5];
    if (!span_to_u64(span_first(s, year_digits), 9999, &year))
        return false;
    for (size_t i = 0; i < 5; i++)
        if (!span_to_u64(span_of(s.p + year_digits + 2 * i, 2), 60, &part[i]))
            return false;
    if (utc)
        year += year < 50 ? 2000 : 1900;
    if (part[0] < 1 || part[0] > 12 || part[1] < 1 || part[1] > 31 || part[2] > 23 || part[3] > 59)
        return false;
    struct tm tm = {.tm_year = (int)year - 1900,
                    .tm_mon = (int)part[0] - 1,
                    .tm_mday = (int)part[1],
                    .tm_hour = (int)part[2],
                    .tm_min = (int)part[3],
                    .tm_sec = (int)part[4]};
    time_t t = timegm(&tm);
    *unix_s = t < 0 ? 0 : (uint64_t)t;
    return true;
}
