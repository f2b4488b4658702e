/* fields.h: field lists in the form in which they go from a worker to the writer: counted, packed, one block of bytes. Internal to tape/
 * and record/. Layout: n lengths pairs (uint32 name, uint32 value), then all bytes, name and value by turns. */
#ifndef RINGTAPE_TAPE_FIELDS_H
#define RINGTAPE_TAPE_FIELDS_H

#include "http/head.h"

struct fields_packed {
    uint32_t n;
    const uint8_t *lengths; /* n pairs; not aligned */
    struct span bytes;
};

/* How many bytes fields_pack() writes. */
size_t fields_size(const struct headers *h);
/* Writes fields_size() bytes at `out`. */
void fields_pack(const struct headers *h, uint8_t *out);
/* The inverse: a view of packed bytes that n fields make up. False: they do not. */
bool fields_unpack(uint32_t n, struct span packed, struct fields_packed *out);

/* Walks: *at and *offset start as 0. False at the end. */
bool fields_next(const struct fields_packed *f, uint32_t *at, size_t *offset, struct header *out);

/* As JSON [[name, value], ...]; bytes that are no UTF-8, or hold a NUL, as {"base64": "..."}. Appends. Fails with ERR_NOMEM. */
MUST_USE enum err fields_json(const struct fields_packed *f, struct buf *out);

/* One JSON value of that kind: a string, or {"base64": "..."}. Appends. */
MUST_USE enum err fields_json_value(struct span s, struct buf *out);

#endif
