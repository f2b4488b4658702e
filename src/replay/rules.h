/* rules.h: what the user asked of a replay: which fields make two requests the same, what to leave out of them, and what to do
 * with repeats, time and misses. Each rules_*() takes one option's text; on ERR_USAGE *problem has one sentence for people and the rules are
 * unchanged. All fail with ERR_USAGE and ERR_NOMEM. Read-only once the matcher has it. */
#ifndef RINGTAPE_REPLAY_RULES_H
#define RINGTAPE_REPLAY_RULES_H

#include "base/buf.h"

/* The parts of a key. name, word of --match, may --ignore take it away */
#define RULE_FIELDS(X)                                                                                                 \
    X(RULE_METHOD, "method", false)                                                                                    \
    X(RULE_SCHEME, "scheme", true)                                                                                     \
    X(RULE_HOST, "host", true)                                                                                         \
    X(RULE_PORT, "port", true)                                                                                         \
    X(RULE_PATH, "path", false)                                                                                        \
    X(RULE_QUERY, "query", true)                                                                                       \
    X(RULE_BODY, "body", true)

enum rule_field {
#define RULE_FIELD_ENUM(name, word, ignorable) name,
    RULE_FIELDS(RULE_FIELD_ENUM)
#undef RULE_FIELD_ENUM
        RULE_FIELD_COUNT
};

/* name, word: which recording answers when several match */
#define REPLAY_ORDERS(X)                                                                                               \
    X(ORDER_SEQUENCE, "sequence") /* one after the other; the last one then sticks */                                  \
    X(ORDER_FIRST, "first")                                                                                            \
    X(ORDER_LAST, "last")                                                                                              \
    X(ORDER_CYCLE, "cycle")                                                                                            \
    X(ORDER_ONCE, "once") /* a further repeat is a miss */

enum replay_order {
#define REPLAY_ORDER_ENUM(name, word) name,
    REPLAY_ORDERS(REPLAY_ORDER_ENUM)
#undef REPLAY_ORDER_ENUM
};

/* name, word: what makes a replay fail; a set of BIT(name), `never` is the empty one */
#define FAIL_ON_CONDITIONS(X)                                                                                          \
    X(FAIL_ON_MISS, "miss")                                                                                            \
    X(FAIL_ON_UNUSED, "unused")                                                                                        \
    X(FAIL_ON_REPEAT, "repeat")

enum fail_on {
#define FAIL_ON_ENUM(name, word) name,
    FAIL_ON_CONDITIONS(FAIL_ON_ENUM)
#undef FAIL_ON_ENUM
        FAIL_ON_COUNT
};

enum { RULE_POINTERS_MAX = 64, RULE_NAMES_MAX = 256 };

struct rule_names {
    char **at; /* terminated */
    size_t n;
};

/* A JSON pointer (RFC 6901), split and unescaped. A segment "*" stands for any member or element. */
struct rule_pointer {
    char *text;            /* the unescaped segments, one after the other */
    struct span *segments; /* of `text` */
    size_t n;
};

struct rule_map {
    char *from, *to;             /* hosts, lower case */
    unsigned from_port, to_port; /* 0: any, the same */
};

struct rules {
    unsigned match, ignore;                         /* sets of BIT(enum rule_field); the key has match & ~ignore */
    struct rule_names match_headers, match_cookies; /* in the key */
    struct rule_names ignore_query, ignore_headers, ignore_forms, ignore_cookies;
    struct rule_pointer *pointers; /* left out of JSON bodies */
    size_t pointers_n;
    struct rule_map *maps;
    size_t maps_n;
    enum replay_order order;
    double pace;      /* recorded delays are multiplied by it; 0: instant */
    unsigned fail_on; /* set of BIT(enum fail_on); the caller sets its own default */
    unsigned miss_status;
    bool tag; /* hits carry a Ringtape field */
};

/* The defaults of docs/replay.md. */
void rules_init(struct rules *rules);
void rules_free(struct rules *rules);

/* --match: comma-separated fields of the key: those of RULE_FIELDS, header:NAME, cookie:NAME. Replaces what was there. */
MUST_USE enum err rules_match(struct rules *rules, const char *text, struct buf *problem);
/* --ignore: query:NAME, header:NAME, json:/POINTER, form:NAME (a field of a form or a part of a multipart body), cookie:NAME, host, scheme, port,
 * query, body. Adds. */
MUST_USE enum err rules_ignore(struct rules *rules, const char *text, struct buf *problem);
MUST_USE enum err rules_order(struct rules *rules, const char *text, struct buf *problem);
/* --pace: instant, recorded, or what recorded delays are multiplied by. */
MUST_USE enum err rules_pace(struct rules *rules, const char *text, struct buf *problem);
/* --fail-on: comma-separated. */
MUST_USE enum err rules_fail_on(struct rules *rules, const char *text, struct buf *problem);
/* --map HOST[:PORT]=HOST[:PORT]: requests for the first are answered with the second's recordings. */
MUST_USE enum err rules_map(struct rules *rules, const char *text, struct buf *problem);
/* --miss-status: 200 to 599. */
MUST_USE enum err rules_miss_status(struct rules *rules, const char *text, struct buf *problem);

/* Is the field part of the key? */
bool rules_has(const struct rules *rules, enum rule_field field);
/* ASCII case-insensitive when `fold`. */
bool rule_names_has(const struct rule_names *names, struct span name, bool fold);
/* The recorded host (and port) to look under. *host stays when nothing maps it; it is borrowed from the rules otherwise. */
void rules_map_host(const struct rules *rules, struct span *host, unsigned *port);

const char *replay_order_word(enum replay_order order);
const char *fail_on_word(enum fail_on condition);

#endif
