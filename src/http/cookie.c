/* cookie.c: the Cookie and Set-Cookie fields (RFC 6265 §4.2, §5.2), read as a lenient user agent reads them. */
#include "http/mime.h"

#include "base/util.h"

enum { COOKIE_YEAR_MIN = 1601 };

bool cookie_next(struct span *rest, struct span *name, struct span *value)
{
    while (rest->n > 0) {
        size_t end = span_find(*rest, ';');
        struct span pair = span_trim(span_first(*rest, end));
        *rest = span_from(*rest, end + 1);
        if (pair.n == 0)
            continue;
        size_t equals = span_find(pair, '=');
        *name = span_trim(span_first(pair, equals));
        *value = span_trim(span_from(pair, equals + 1));
        return true;
    }
    *name = *value = SPAN_EMPTY;
    return false;
}

static void cookie_attribute(struct cookie *out, struct span name, struct span value)
{
    const struct {
        const char *name;
        struct span *to;
    } texts[] = {
        {"path", &out->path},       {"domain", &out->domain},      {"expires", &out->expires},
        {"max-age", &out->max_age}, {"samesite", &out->same_site},
    };
    if (span_eq_nocase(name, SPAN("httponly")))
        out->http_only = true;
    if (span_eq_nocase(name, SPAN("secure")))
        out->secure = true;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (span_eq_nocase(name, span_str(texts[i].name)))
            *texts[i].to = value;
}

bool cookie_parse_set(struct span value, struct cookie *out)
{
    size_t end = span_find(value, ';');
    struct span pair = span_first(value, end), rest = span_from(value, end + 1), name, attribute;
    size_t equals = span_find(pair, '=');
    *out = (struct cookie){.secure = false};
    out->name = span_trim(span_first(pair, equals));
    out->value = span_trim(span_from(pair, equals + 1));
    if (equals == pair.n || out->name.n == 0)
        return false;
    while (cookie_next(&rest, &name, &attribute))
        cookie_attribute(out, name, attribute);
    return true;
}

/* ---- dates (RFC 6265 §5.1.1) ---- */

struct date {
    bool has_time, has_day, has_month, has_year;
    unsigned hour, minute, second, day, month, year;
};

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static bool is_date_delimiter(uint8_t c)
{
    return c == 0x09 || (c >= 0x20 && c <= 0x2f) || (c >= 0x3b && c <= 0x40) || (c >= 0x5b && c <= 0x60) ||
           (c >= 0x7b && c <= 0x7e);
}

/* Takes min to max digits from the front; what follows must not be a digit. */
static bool take_number(struct span *s, size_t min, size_t max, unsigned *out)
{
    size_t n = 0;
    unsigned value = 0;
    while (n < s->n && n < max && is_digit(s->p[n]))
        value = value * 10 + (unsigned)(s->p[n++] - '0');
    if (n < min || (n < s->n && is_digit(s->p[n])))
        return false;
    *s = span_from(*s, n);
    *out = value;
    return true;
}

static bool take_colon(struct span *s)
{
    if (s->n == 0 || s->p[0] != ':')
        return false;
    *s = span_from(*s, 1);
    return true;
}

static bool date_time(struct span token, struct date *d)
{
    return take_number(&token, 1, 2, &d->hour) && take_colon(&token) && take_number(&token, 1, 2, &d->minute) &&
           take_colon(&token) && take_number(&token, 1, 2, &d->second);
}

static bool date_month(struct span token, struct date *d)
{
    static const char names[] = "janfebmaraprmayjunjulaugsepoctnovdec";
    for (unsigned i = 0; i < 12; i++) {
        if (token.n >= 3 && span_eq_nocase(span_first(token, 3), span_of(names + (size_t)3 * i, 3))) {
            d->month = i + 1;
            return true;
        }
    }
    return false;
}

static void date_token(struct span token, struct date *d)
{
    struct span rest = token;
    if (!d->has_time && date_time(token, d))
        d->has_time = true;
    else if (!d->has_day && take_number(&rest, 1, 2, &d->day))
        d->has_day = true;
    else if (!d->has_month && date_month(token, d))
        d->has_month = true;
    else if (!d->has_year && take_number(&token, 2, 4, &d->year))
        d->has_year = true;
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar; the year begins in March, so that leap days come last. */
static int64_t days_from_civil(int64_t year, unsigned month, unsigned day)
{
    year -= month <= 2;
    int64_t era = year / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (int64_t)(month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

static unsigned days_in_month(unsigned year, unsigned month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap ? 1u : 0u);
}

bool cookie_date(struct span text, int64_t *unix_s)
{
    struct date d = {.has_time = false};
    size_t i = 0;
    while (i < text.n) {
        size_t start = i;
        while (i < text.n && !is_date_delimiter(text.p[i]))
            i++;
        if (i > start)
            date_token(span_of(text.p + start, i - start), &d);
        i++;
    }
    if (d.has_year && d.year >= 70 && d.year <= 99)
        d.year += 1900;
    else if (d.has_year && d.year <= 69)
        d.year += 2000;
    if (!d.has_time || !d.has_day || !d.has_month || !d.has_year || d.year < COOKIE_YEAR_MIN || d.day < 1 ||
        d.day > days_in_month(d.year, d.month) || d.hour > 23 || d.minute > 59 || d.second > 59)
        return false;
    *unix_s =
        days_from_civil(d.year, d.month, d.day) * 86400 + (int64_t)d.hour * 3600 + (int64_t)d.minute * 60 + d.second;
    return true;
}
