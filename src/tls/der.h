/* der.h: DER (X.690): an encoder that appends to a buffer, and a bounded reader of tag-length-value items. */
#ifndef RINGTAPE_TLS_DER_H
#define RINGTAPE_TLS_DER_H

#include "base/buf.h"

enum {
    DER_BOOLEAN = 0x01,
    DER_INTEGER = 0x02,
    DER_BIT_STRING = 0x03,
    DER_OCTET_STRING = 0x04,
    DER_NULL = 0x05,
    DER_OID = 0x06,
    DER_UTF8_STRING = 0x0c,
    DER_UTC_TIME = 0x17,
    DER_GENERALIZED_TIME = 0x18,
    DER_BMP_STRING = 0x1e,
    DER_SEQUENCE = 0x30,
    DER_SET = 0x31,
    DER_CONTEXT = 0x80,             /* [n], primitive: DER_CONTEXT | n */
    DER_CONTEXT_CONSTRUCTED = 0xa0, /* [n], constructed */
};

/* The encoder. The first error sticks and later calls do nothing; look at `err` once, at the end. */
struct der {
    struct buf *out;
    enum err err;
};

/* Begins an item whose length is not known yet; items nest. The mark goes to der_end(). */
size_t der_begin(struct der *d, unsigned tag);
void der_end(struct der *d, size_t mark);

/* Bytes as they are: an encoded item, or the content of the item begun. */
void der_raw(struct der *d, struct span bytes);

/* One whole primitive item. */
void der_item(struct der *d, unsigned tag, struct span content);
void der_byte(struct der *d, uint8_t byte);

/* INTEGER from an unsigned big-endian number: minimal and never negative. */
void der_unsigned(struct der *d, struct span big_endian);
void der_number(struct der *d, uint64_t value);

/* BIT STRING without unused bits. */
void der_bits(struct der *d, struct span bytes);

/* Time as RFC 5280 §4.1.2.5 wants it: UTCTime up to 2049, GeneralizedTime from 2050 on. */
void der_time(struct der *d, uint64_t unix_s);

/* The reader. */
struct der_value {
    unsigned tag;
    struct span content;
    struct span whole; /* with tag and length */
};

/* Takes the first item off *in. False when there is none or it is malformed (indefinite or overlong lengths, multi-byte tags). */
bool der_take(struct span *in, struct der_value *out);

/* As der_take(), and the tag must be this one. */
bool der_take_tag(struct span *in, unsigned tag, struct der_value *out);

/* UTCTime or GeneralizedTime (with seconds, Zulu) as Unix seconds; before 1970 counts as 0. */
bool der_read_time(const struct der_value *value, uint64_t *unix_s);

#endif
