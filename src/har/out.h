/* out.h: JSON and text on their way to a har_sink. The first failure is kept in `e` and everything after it does nothing, so that a writer
 * checks once, at the end. Commas come by themselves. Embedded by value; out_free() after out_init(). Internal to har/. */
#ifndef RINGTAPE_HAR_OUT_H
#define RINGTAPE_HAR_OUT_H

#include "har/export.h"

/* Cuts a stream where characters (UTF-8) or triples (base64) end. */
struct carry {
    uint8_t bytes[4];
    size_t n;
};

enum out_form { OUT_TEXT, OUT_BASE64 };

struct out {
    struct buf pending;
    const struct har_sink *sink;
    enum err e;
    bool comma;         /* the next key or element wants one */
    struct carry carry; /* of the long string at hand */
    enum out_form form;
};

void out_init(struct out *o, const struct har_sink *sink);
void out_free(struct out *o);
/* Hands over what is pending; gives the first failure. */
MUST_USE enum err out_flush(struct out *o);

/* As they are: no comma, no quotes. */
void out_raw(struct out *o, struct span s);
void out_str(struct out *o, const char *s);
void out_printf(struct out *o, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* JSON. `bracket` is one of { } [ ]. */
void out_open(struct out *o, char bracket);
void out_close(struct out *o, char bracket);
void out_key(struct out *o, const char *key);
void out_string(struct out *o, struct span s);
void out_u64(struct out *o, uint64_t v);
void out_i64(struct out *o, int64_t v);
void out_bool(struct out *o, bool v);
void out_null(struct out *o);
/* Microseconds as a number of milliseconds; a negative value is -1. */
void out_ms(struct out *o, int64_t us);
/* A value that is JSON already. */
void out_json(struct out *o, struct span json);

/* key and value at once */
void out_member(struct out *o, const char *key, struct span value);
void out_member_str(struct out *o, const char *key, const char *value);
void out_member_u64(struct out *o, const char *key, uint64_t value);
void out_member_i64(struct out *o, const char *key, int64_t value);
void out_member_bool(struct out *o, const char *key, bool value);
void out_member_ms(struct out *o, const char *key, int64_t us);

/* One string value in pieces: text must be UTF-8 as a whole, not in each piece. */
void out_long_begin(struct out *o, enum out_form form);
void out_long_piece(struct out *o, struct span s);
void out_long_end(struct out *o);

/* Splits `in` into what completes the carried character (*first, within `scratch`) and the rest but for an unfinished one, which is carried. */
void carry_utf8(struct carry *c, struct span in, uint8_t scratch[8], struct span *first, struct span *rest);

#endif
