/* head.h: a message head, version-neutral (RFC 9110 §6): control data and fields in wire order and case. One block of
 * memory a head, reused by head_clear(), so that steady traffic allocates nothing. Spans returned here are borrowed and
 * die at the next call that changes the head. Not thread-safe. */
#ifndef RINGTAPE_HTTP_HEAD_H
#define RINGTAPE_HTTP_HEAD_H

#include "base/buf.h"

/* Offsets into the block of the headers or head that holds it. */
struct slice {
    uint32_t at, n;
};

struct header {
    struct span name, value;
};

/* A list of fields. `struct headers h = HEADERS_INIT;` is valid and empty. */
struct headers {
    struct buf block;
    struct header_slice {
        struct slice name, value;
    } * fields;
    uint32_t n, cap;
};

#define HEADERS_INIT ((struct headers){.n = 0})

void headers_free(struct headers *h);
void headers_clear(struct headers *h);
/* Copies both. Fails with ERR_NOMEM, ERR_LIMIT (more than LIMIT_HEADERS, or LIMIT_HEAD_BYTES in all). */
MUST_USE enum err headers_add(struct headers *h, struct span name, struct span value);
/* For a codec whose field already lies in the block (which is how it adds one without a copy). Fails with ERR_NOMEM, ERR_LIMIT. */
MUST_USE enum err headers_add_slices(struct headers *h, struct slice name, struct slice value);
struct header headers_at(const struct headers *h, size_t i);
/* The first field of that name (any case). False: none, *value is empty. */
bool headers_find(const struct headers *h, struct span name, struct span *value);
/* Does a list-valued field (all its lines) hold this token, any case (RFC 9110 §5.6.1)? */
bool headers_has_token(const struct headers *h, struct span name, struct span token);
/* Removes all fields of that name; returns how many. */
size_t headers_remove(struct headers *h, struct span name);
/* Takes every element that is this token (any case) out of a list-valued field; a line that has no other goes, too. Returns how many there were. */
size_t headers_remove_token(struct headers *h, struct span name, struct span token);
/* The first field of that name gets this value, in its place and spelling, and the others go; one is added where there is none. Fails as headers_add(). */
MUST_USE enum err headers_set(struct headers *h, struct span name, struct span value);
MUST_USE enum err headers_copy(struct headers *to, const struct headers *from);

enum head_kind { HEAD_REQUEST, HEAD_RESPONSE };

struct head {
    enum head_kind kind;
    unsigned status;             /* response */
    unsigned port;               /* request: the effective port */
    struct headers headers;      /* its block holds the control data too */
    struct slice method, scheme; /* request: "GET"; "http" or "https" */
    struct slice host;           /* request: lower case, no port, IPv6 without brackets */
    struct slice path;           /* request: path and query as sent, "/a?b", "*"; "" for CONNECT */
    struct slice reason;         /* response: reason phrase, may be empty */
    struct slice version;        /* "HTTP/1.1", "HTTP/2": a label, no behaviour hangs on it above http/ */
};

#define HEAD_INIT ((struct head){.port = 0})

void head_free(struct head *h);
void head_clear(struct head *h, enum head_kind kind);
static inline struct span head_span(const struct head *h, struct slice s)
{
    return (struct span){h->headers.block.p ? h->headers.block.p + h->headers.block.head + s.at : NULL, s.n};
}
/* Copies bytes into the block and points *slot (a member of h) there. Fails with ERR_NOMEM, ERR_LIMIT. */
MUST_USE enum err head_set(struct head *h, struct slice *slot, struct span bytes);
MUST_USE enum err head_copy(struct head *to, const struct head *from);

/* scheme://host[:port]path, without the scheme's default port; CONNECT gives host:port. Appends. Fails with ERR_NOMEM. */
MUST_USE enum err head_url(const struct head *h, struct buf *out);

/* Fields that concern one connection only and are not passed on: Connection and what it names, Keep-Alive, Proxy-Connection,
 * Proxy-Authenticate/-Authorization/-Authentication-Info, TE (but for "trailers"), Transfer-Encoding, Upgrade (RFC 9110 §7.6.1). */
bool head_is_hop_by_hop(const struct headers *h, struct span name);
/* The same without looking at Connection's list: a fixed set of names (TE always). */
bool head_is_connection_field(struct span name);

#endif
