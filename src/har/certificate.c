/* certificate.c: just enough DER. The bytes come from a tape: every length is checked against what is there. */
#include "har/certificate.h"

#include <time.h>

enum {
    TAG_INTEGER = 0x02,
    TAG_OID = 0x06,
    TAG_UTC_TIME = 0x17,
    TAG_GENERALIZED_TIME = 0x18,
    TAG_SEQUENCE = 0x30,
    TAG_SET = 0x31,
    TAG_VERSION = 0xa0,
};

/* Takes one element off the front. */
static bool der_take(struct span *in, uint8_t *tag, struct span *value)
{
    if (in->n < 2)
        return false;
    size_t n = in->p[1], at = 2;
    if (n >= 0x80) {
        size_t octets = n & 0x7f;
        if (octets == 0 || octets > 4 || in->n < 2 + octets)
            return false;
        for (n = 0; octets > 0; octets--)
            n = n << 8 | in->p[at++];
    }
    if (n > in->n - at)
        return false;
    *tag = in->p[0];
    *value = span_of(in->p + at, n);
    *in = span_from(*in, at + n);
    return true;
}

static bool der_expect(struct span *in, uint8_t tag, struct span *value)
{
    uint8_t found;
    return der_take(in, &found, value) && found == tag;
}

/* The last common name: the most specific one. */
static struct span common_name(struct span name)
{
    static const uint8_t id_at_common_name[] = {0x55, 0x04, 0x03};
    struct span set, pair, oid, value, found = SPAN_EMPTY;
    uint8_t tag;
    while (der_expect(&name, TAG_SET, &set))
        while (der_expect(&set, TAG_SEQUENCE, &pair))
            if (der_expect(&pair, TAG_OID, &oid) && der_take(&pair, &tag, &value) &&
                span_eq(oid, span_of(id_at_common_name, sizeof id_at_common_name)))
                found = value;
    return found;
}

static bool digits(struct span s, size_t at, size_t n, int *out)
{
    uint64_t v;
    bool good = at + n <= s.n && span_to_u64(span_of(s.p + at, n), 9999, &v);
    *out = good ? (int)v : 0;
    return good;
}

static bool der_time(struct span *in, int64_t *unix_s)
{
    uint8_t tag;
    struct span text;
    struct tm tm = {.tm_isdst = 0};
    if (!der_take(in, &tag, &text) || (tag != TAG_UTC_TIME && tag != TAG_GENERALIZED_TIME))
        return false;
    size_t year_n = tag == TAG_UTC_TIME ? 2 : 4;
    if (!digits(text, 0, year_n, &tm.tm_year) || !digits(text, year_n, 2, &tm.tm_mon) ||
        !digits(text, year_n + 2, 2, &tm.tm_mday) || !digits(text, year_n + 4, 2, &tm.tm_hour) ||
        !digits(text, year_n + 6, 2, &tm.tm_min) || !digits(text, year_n + 8, 2, &tm.tm_sec))
        return false;
    if (tag == TAG_GENERALIZED_TIME)
        tm.tm_year -= 1900;
    else if (tm.tm_year < 50)
        tm.tm_year += 100;
    tm.tm_mon--;
    *unix_s = (int64_t)timegm(&tm);
    return true;
}

bool certificate_first(struct span chain, struct certificate *out)
{
    struct span outer, tbs, skipped, issuer, validity, subject;
    *out = (struct certificate){.valid_from_s = 0};
    if (chain.n < 4)
        return false;
    size_t n = (size_t)chain.p[0] << 24 | (size_t)chain.p[1] << 16 | (size_t)chain.p[2] << 8 | chain.p[3];
    struct span der = span_from(chain, 4);
    if (n > der.n)
        return false;
    der = span_first(der, n);
    if (!der_expect(&der, TAG_SEQUENCE, &outer) || !der_expect(&outer, TAG_SEQUENCE, &tbs))
        return false;
    if (tbs.n > 0 && tbs.p[0] == TAG_VERSION && !der_expect(&tbs, TAG_VERSION, &skipped))
        return false;
    if (!der_expect(&tbs, TAG_INTEGER, &skipped) || !der_expect(&tbs, TAG_SEQUENCE, &skipped) ||
        !der_expect(&tbs, TAG_SEQUENCE, &issuer) || !der_expect(&tbs, TAG_SEQUENCE, &validity) ||
        !der_expect(&tbs, TAG_SEQUENCE, &subject))
        return false;
    out->issuer = common_name(issuer);
    out->subject = common_name(subject);
    return der_time(&validity, &out->valid_from_s) && der_time(&validity, &out->valid_to_s);
}
