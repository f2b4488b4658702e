/* span.h: a view of bytes. A span owns nothing: it is borrowed unless a name says `take`.
 * A span of length 0 may have a null pointer. */
#ifndef RINGTAPE_BASE_SPAN_H
#define RINGTAPE_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
    const uint8_t *p;
    size_t n;
};

#define SPAN_EMPTY ((struct span){NULL, 0})
/* A string literal as a span. */
#define SPAN(literal) ((struct span){(const uint8_t *)("" literal), sizeof(literal) - 1})

static inline struct span span_of(const void *p, size_t n)
{
    return (struct span){p, n};
}

/* `s` may be NULL: the empty span. */
static inline struct span span_str(const char *s)
{
    return (struct span){(const uint8_t *)s, s ? strlen(s) : 0};
}

/* The part from `at` on; empty when `at` lies beyond the end. */
static inline struct span span_from(struct span s, size_t at)
{
    return at >= s.n ? SPAN_EMPTY : (struct span){s.p + at, s.n - at};
}

static inline struct span span_first(struct span s, size_t n)
{
    return (struct span){s.p, n < s.n ? n : s.n};
}

static inline bool span_eq(struct span a, struct span b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* ASCII case-insensitive, as RFC 9110 asks of field names. */
bool span_eq_nocase(struct span a, struct span b);

bool span_starts_with(struct span s, struct span prefix);

/* The index of the first `c`, or s.n. */
size_t span_find(struct span s, uint8_t c);

/* The index of the first occurrence of `needle`, or s.n. */
size_t span_search(struct span s, struct span needle);

/* Without leading and trailing spaces and tabs (OWS, RFC 9110 §5.6.3). */
struct span span_trim(struct span s);

/* Orders by bytes, then by length, as memcmp does. */
int span_cmp(struct span a, struct span b);

/* Decimal digits only, no sign or space. False when empty, malformed or above `max`. */
bool span_to_u64(struct span s, uint64_t max, uint64_t *out);

#endif
