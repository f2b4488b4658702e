/* matcher_internal.h: the index, as load.c builds it and matcher.c asks it. Internal to replay/.
 *
 *     entries: every flow that can be served, in recorded order
 *     groups:  entries of one key and one track; order[first .. first + n) are its entries
 *     paths, hosts: chains through the entries, for near misses
 *
 * After loading only what is atomic, or under `lock`, changes. */
#ifndef RINGTAPE_REPLAY_MATCHER_INTERNAL_H
#define RINGTAPE_REPLAY_MATCHER_INTERNAL_H

#include "replay/matcher.h"
#include "replay/matcher_turns.h"
#include "replay/slots.h"

#include <pthread.h>
#include <stdatomic.h>

#define TRACK_NONE UINT32_C(0)
#define TRACK_ALL  (UINT32_MAX - 1) /* groups over all tracks; only when the tape has tracks */

struct entry {
    int64_t flow;
    uint32_t part[KEY_PART_COUNT]; /* the low halves of the key's parts */
    uint32_t group;
    uint32_t next_path, next_host; /* SLOT_NONE at the end */
    uint32_t tape;
    uint32_t turn; /* a gRPC call in turns: 1 + how many messages its client said before it was answered; 0: none */
    _Atomic uint32_t served;
};

struct group {
    struct hash128 key;
    uint32_t track;
    uint32_t first, n;
    _Atomic uint64_t position; /* of requests of its own track */
};

struct chain {
    uint32_t hash, head, tail;
};
struct chains {
    struct chain *at;
    size_t n, cap;
    struct slots slots;
};

struct track {
    char *name;
    size_t length;
    bool on_tape;
    uint64_t served, missed, repeated; /* under `lock` */
};

/* The place of one track in a group that is not its own. */
struct position {
    uint32_t track, group;
    uint64_t next;
};

struct known_origin {
    char *host;
    unsigned port;
    struct buf alpn, names;
};

struct miss_kept {
    char *json, *line;
    size_t json_n, line_n;
};

struct matcher {
    struct hash_key hash;
    const struct rules *rules;
    char **paths;
    size_t paths_n;

    struct entry *entries;
    size_t entries_n, entries_cap;
    struct group *groups;
    size_t groups_n, groups_cap;
    struct slots group_slots;
    uint32_t *order;
    struct chains by_path, by_host;
    struct known_origin *origins;
    size_t origins_n, origins_cap;
    struct slots origin_slots;
    struct turn_index turns;
    bool tracked;  /* the tape has tracks */
    bool cut;      /* it holds parts of some request bodies only */
    bool upgrades; /* some came over HTTP/2 */

    _Atomic uint64_t served, missed, repeated, used;

    pthread_mutex_t lock;
    struct track *tracks; /* from 1; 0 stands for none */
    size_t tracks_n, tracks_cap;
    struct slots track_slots;
    struct position *positions;
    size_t positions_n, positions_cap;
    struct slots position_slots;
    struct miss_kept *misses;
    size_t misses_n, misses_cap, misses_bytes;
};

/* Room for one more element. Fails with ERR_NOMEM. */
MUST_USE enum err matcher_grow(void **at, size_t n, size_t *cap, size_t size);

/* Under the lock (or while loading): the track's index, made when it is new. TRACK_NONE: no name. Fails with ERR_NOMEM, ERR_LIMIT. */
MUST_USE enum err matcher_intern_track(struct matcher *m, struct span name, uint32_t *out);

uint32_t matcher_find_group(const struct matcher *m, struct hash128 key, uint32_t track);
MUST_USE enum err matcher_add_group(struct matcher *m, struct hash128 key, uint32_t track, uint32_t *out);

/* The group that answers requests of that key and track, or SLOT_NONE. */
uint32_t matcher_group_for(const struct matcher *m, struct hash128 key, uint32_t track);
/* Which of n recordings answers request number `at` of its key (from 0). False: none does any more. */
bool matcher_pick(enum replay_order order, uint32_t n, uint64_t at, uint32_t *which, bool *repeat);
/* The place of a track in a group that is not its own, under the lock: asked, and moved on. */
uint64_t matcher_position(const struct matcher *m, uint32_t track, uint32_t group);
uint64_t matcher_position_take(struct matcher *m, uint32_t track, uint32_t group);
/* The entry is served once more. */
void matcher_serve(struct matcher *m, uint32_t entry, struct match *out);
/* Counts an answer; the track's share of it under the lock. */
void matcher_count_track(struct matcher *m, uint32_t track, bool hit, bool repeat);
void matcher_count(struct matcher *m, bool hit, bool repeat, const struct match *match);

uint32_t chains_head(const struct chains *c, uint32_t hash);
/* Appends an entry; *last was the last one (SLOT_NONE: there was none): the caller links it. */
MUST_USE enum err chains_append(struct chains *c, uint32_t hash, uint32_t entry, uint32_t *last);

/* Reads the tapes and builds the index. */
MUST_USE enum err matcher_load(struct matcher *m, const struct matcher_options *options, struct buf *problem);

#endif
