/* key.h: when are two requests the same? A key is a hash of what the rules compare; its parts are kept beside it, to find near misses.
 * Both sides of the comparison, the recorded and the live request, go through the functions here. */
#ifndef RINGTAPE_REPLAY_KEY_H
#define RINGTAPE_REPLAY_KEY_H

#include "base/hash.h"
#include "http/head.h"
#include "replay/rules.h"

enum key_part {
    KEY_METHOD,
    KEY_SCHEME,
    KEY_HOST,
    KEY_PORT,
    KEY_PATH,
    KEY_FOLDER,
    KEY_QUERY,
    KEY_BODY,
    KEY_HEADERS,
    KEY_PART_COUNT
};

struct key {
    struct hash128 all;            /* of the parts that the rules compare */
    uint64_t part[KEY_PART_COUNT]; /* KEY_FOLDER, the path up to its last '/', is for near misses only */
};

/* A request, recorded or live. */
struct key_request {
    struct span method, scheme, host;
    unsigned port;
    struct span path;              /* with its query */
    const struct headers *headers; /* NULL: the rules compare none (key_needs_headers()) */
    bool upgraded;                 /* to another protocol (101) */
    uint64_t body;                 /* content_end()'s; 0: no body */
};

/* Room that key and content computations use again and again. Zeroed is valid. */
struct key_pair {
    uint64_t name, value;
    uint32_t seq;
};
struct key_scratch {
    struct key_pair *pairs;
    size_t n, cap;
    struct buf text;
};
void key_scratch_free(struct key_scratch *s);

/* Pairs whose order counts only among equal names: begin, add, end, which gives their hash. May be nested. */
size_t key_pairs_begin(const struct key_scratch *s);
MUST_USE enum err key_pairs_add(struct key_scratch *s, uint64_t name, uint64_t value);
uint64_t key_pairs_end(struct key_scratch *s, size_t begin, const struct hash_key *hash);

/* Hosts are mapped by the caller, before. Fails with ERR_NOMEM. */
MUST_USE enum err key_compute(struct key *out, const struct rules *rules, const struct hash_key *hash,
                              const struct key_request *request, struct key_scratch *scratch);
bool key_needs_headers(const struct rules *rules);

/* Path without its query, and the query without '?'. */
void key_split_path(struct span path, struct span *bare, struct span *query);

#endif
