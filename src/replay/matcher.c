/* matcher.c: look-ups, counters and what the report keeps. A request without a track takes no lock: its place in a group is the group's own
 * atomic. Requests with a track take the lock for their track's counters, and have places of their own in groups that are not their track's. */
#include "replay/matcher_internal.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/util.h"

#include <assert.h>

struct group_wanted {
    struct hash128 key;
    uint32_t track;
};

static uint64_t group_hash(struct hash128 key, uint32_t track)
{
    return key.lo ^ (uint64_t)track * UINT64_C(0x9e3779b97f4a7c15);
}

static uint64_t group_hash_of(const void *ctx, uint32_t index)
{
    const struct group *g = (const struct group *)ctx + index;
    return group_hash(g->key, g->track);
}

static bool group_match(const void *ctx, uint32_t index, const void *wanted)
{
    const struct group *g = (const struct group *)ctx + index;
    const struct group_wanted *w = wanted;
    return g->key.lo == w->key.lo && g->key.hi == w->key.hi && g->track == w->track;
}

uint32_t matcher_find_group(const struct matcher *m, struct hash128 key, uint32_t track)
{
    struct group_wanted wanted = {key, track};
    return slots_get(&m->group_slots, group_hash(key, track), group_match, m->groups, &wanted);
}

enum err matcher_add_group(struct matcher *m, struct hash128 key, uint32_t track, uint32_t *out)
{
    *out = matcher_find_group(m, key, track);
    if (*out != SLOT_NONE)
        return ERR_OK;
    void *at = m->groups;
    enum err e = matcher_grow(&at, m->groups_n, &m->groups_cap, sizeof *m->groups);
    m->groups = at;
    if (e)
        return e;
    m->groups[m->groups_n] = (struct group){.key = key, .track = track};
    e = slots_add(&m->group_slots, group_hash(key, track), (uint32_t)m->groups_n, group_hash_of, m->groups);
    if (!e)
        *out = (uint32_t)m->groups_n++;
    return e;
}

static uint64_t track_hash_of(const void *ctx, uint32_t index)
{
    const struct matcher *m = ctx;
    return hash64(&m->hash, span_of(m->tracks[index].name, m->tracks[index].length));
}

static bool track_match(const void *ctx, uint32_t index, const void *wanted)
{
    const struct matcher *m = ctx;
    return span_eq(span_of(m->tracks[index].name, m->tracks[index].length), *(const struct span *)wanted);
}

enum err matcher_intern_track(struct matcher *m, struct span name, uint32_t *out)
{
    *out = TRACK_NONE;
    if (name.n == 0)
        return ERR_OK;
    uint32_t found = slots_get(&m->track_slots, hash64(&m->hash, name), track_match, m, &name);
    if (found != SLOT_NONE) {
        *out = found;
        return ERR_OK;
    }
    if (m->tracks_n > LIMIT_REPLAY_TRACKS)
        return ERR_LIMIT;
    void *at = m->tracks;
    enum err e = matcher_grow(&at, m->tracks_n, &m->tracks_cap, sizeof *m->tracks);
    m->tracks = at;
    if (e)
        return e;
    struct track *track = &m->tracks[m->tracks_n];
    *track = (struct track){.name = mem_strdup(name.p, name.n), .length = name.n};
    if (!track->name)
        return ERR_NOMEM;
    e = slots_add(&m->track_slots, hash64(&m->hash, name), (uint32_t)m->tracks_n, track_hash_of, m);
    if (e) {
        mem_free(track->name);
        return e;
    }
    *out = (uint32_t)m->tracks_n++;
    return ERR_OK;
}

enum err matcher_create(struct matcher **out, const struct matcher_options *options, struct buf *problem)
{
    struct matcher *m = mem_new(1, sizeof *m);
    *out = NULL;
    if (!m)
        return ERR_NOMEM;
    hash_key_random(&m->hash);
    m->rules = options->rules;
    (void)pthread_mutex_init(&m->lock, NULL);
    m->paths = mem_new(options->paths_n, sizeof *m->paths);
    m->tracks = mem_new(1, sizeof *m->tracks);
    enum err e = m->paths && m->tracks ? ERR_OK : ERR_NOMEM;
    m->tracks_n = m->tracks_cap = m->tracks ? 1 : 0;
    for (; !e && m->paths_n < options->paths_n; m->paths_n++) {
        const char *path = options->paths[m->paths_n];
        m->paths[m->paths_n] = mem_strdup(path, strlen(path));
        if (!m->paths[m->paths_n])
            e = ERR_NOMEM;
    }
    if (!e)
        e = matcher_load(m, options, problem);
    if (e)
        matcher_destroy(&m);
    *out = m;
    return e;
}

void matcher_destroy(struct matcher **m)
{
    struct matcher *it = *m;
    *m = NULL;
    if (!it)
        return;
    for (size_t i = 0; i < it->paths_n; i++)
        mem_free(it->paths[i]);
    for (size_t i = 0; i < it->tracks_n; i++)
        mem_free(it->tracks[i].name);
    for (size_t i = 0; i < it->misses_n; i++) {
        mem_free(it->misses[i].json);
        mem_free(it->misses[i].line);
    }
    for (size_t i = 0; i < it->origins_n; i++) {
        mem_free(it->origins[i].host);
        buf_free(&it->origins[i].alpn);
        buf_free(&it->origins[i].names);
    }
    void *blocks[] = {it->paths,  it->tracks, it->misses,    it->origins,    it->entries,
                      it->groups, it->order,  it->positions, it->by_path.at, it->by_host.at};
    for (size_t i = 0; i < ARRAY_LEN(blocks); i++)
        mem_free(blocks[i]);
    struct slots *slots[] = {&it->group_slots,    &it->origin_slots,  &it->track_slots,
                             &it->position_slots, &it->by_path.slots, &it->by_host.slots};
    for (size_t i = 0; i < ARRAY_LEN(slots); i++)
        slots_free(slots[i]);
    matcher_turns_free(&it->turns);
    (void)pthread_mutex_destroy(&it->lock);
    mem_free(it);
}

static uint64_t position_hash(uint32_t track, uint32_t group)
{
    return ((uint64_t)track << 32 | group) * UINT64_C(0x9e3779b97f4a7c15) >> 16;
}

static uint64_t position_hash_of(const void *ctx, uint32_t index)
{
    const struct matcher *m = ctx;
    return position_hash(m->positions[index].track, m->positions[index].group);
}

static bool position_match(const void *ctx, uint32_t index, const void *wanted)
{
    const struct matcher *m = ctx;
    const struct position *w = wanted;
    return m->positions[index].track == w->track && m->positions[index].group == w->group;
}

uint64_t matcher_position(const struct matcher *m, uint32_t track, uint32_t group)
{
    struct position wanted = {track, group, 0};
    uint32_t i = slots_get(&m->position_slots, position_hash(track, group), position_match, m, &wanted);
    return i == SLOT_NONE ? 0 : m->positions[i].next;
}

/* Out of memory: the first. */
uint64_t matcher_position_take(struct matcher *m, uint32_t track, uint32_t group)
{
    struct position wanted = {track, group, 0};
    uint64_t hash = position_hash(track, group);
    uint32_t i = slots_get(&m->position_slots, hash, position_match, m, &wanted);
    if (i == SLOT_NONE) {
        void *at = m->positions;
        enum err e = matcher_grow(&at, m->positions_n, &m->positions_cap, sizeof *m->positions);
        m->positions = at;
        if (e)
            return 0;
        m->positions[m->positions_n] = wanted;
        if (slots_add(&m->position_slots, hash, (uint32_t)m->positions_n, position_hash_of, m) != ERR_OK)
            return 0;
        i = (uint32_t)m->positions_n++;
    }
    return m->positions[i].next++;
}

bool matcher_pick(enum replay_order order, uint32_t n, uint64_t at, uint32_t *which, bool *repeat)
{
    assert(n > 0);
    *repeat = at >= (order == ORDER_FIRST || order == ORDER_LAST ? 1 : n);
    switch (order) {
    case ORDER_FIRST:
        *which = 0;
        return true;
    case ORDER_LAST:
        *which = n - 1;
        return true;
    case ORDER_CYCLE:
        *which = (uint32_t)(at % n);
        return true;
    case ORDER_SEQUENCE:
        *which = at < n ? (uint32_t)at : n - 1;
        return true;
    case ORDER_ONCE:
        *which = (uint32_t)at;
        return at < n;
    }
    return false;
}

uint32_t matcher_group_for(const struct matcher *m, struct hash128 key, uint32_t track)
{
    bool own = track != TRACK_NONE && m->tracks[track].on_tape;
    uint32_t group = own ? matcher_find_group(m, key, track) : SLOT_NONE;
    if (group == SLOT_NONE)
        group = matcher_find_group(m, key, TRACK_NONE);
    if (group == SLOT_NONE && !own && m->tracked)
        group = matcher_find_group(m, key, TRACK_ALL);
    return group;
}

bool matcher_knows(const struct matcher *m, const struct key *key)
{
    return matcher_find_group(m, key->all, m->tracked ? TRACK_ALL : TRACK_NONE) != SLOT_NONE;
}

bool matcher_has_cut_bodies(const struct matcher *m)
{
    return m->cut;
}

static enum miss_reason miss_reason_of(const struct matcher *m, const struct key *key, bool exhausted)
{
    if (exhausted)
        return MISS_EXHAUSTED;
    if (m->entries_n == 0)
        return MISS_EMPTY_TAPE;
    if (rules_has(m->rules, RULE_HOST) && chains_head(&m->by_host, (uint32_t)key->part[KEY_HOST]) == SLOT_NONE)
        return MISS_UNKNOWN_HOST;
    return MISS_DIFFERENT;
}

void matcher_serve(struct matcher *m, uint32_t entry, struct match *out)
{
    struct entry *it = &m->entries[entry];
    *out = (struct match){.entry = entry, .tape = it->tape, .flow = it->flow};
    out->times = atomic_fetch_add_explicit(&it->served, 1, memory_order_relaxed) + UINT64_C(1);
}

/* Under the lock when the request has a track. */
static bool take(struct matcher *m, const struct key *key, uint32_t track, struct match *out, enum miss_reason *reason,
                 bool *repeat)
{
    uint32_t group = matcher_group_for(m, key->all, track), which;
    *repeat = false;
    if (group == SLOT_NONE) {
        *reason = miss_reason_of(m, key, false);
        return false;
    }
    struct group *g = &m->groups[group];
    bool own = g->track == track || track == TRACK_NONE;
    uint64_t at =
        own ? atomic_fetch_add_explicit(&g->position, 1, memory_order_relaxed) : matcher_position_take(m, track, group);
    if (!matcher_pick(m->rules->order, g->n, at, &which, repeat)) {
        *reason = miss_reason_of(m, key, true);
        return false;
    }
    matcher_serve(m, m->order[g->first + which], out);
    return true;
}

void matcher_count_track(struct matcher *m, uint32_t track, bool hit, bool repeat)
{
    m->tracks[track].served += hit;
    m->tracks[track].missed += !hit;
    m->tracks[track].repeated += hit && repeat;
}

void matcher_count(struct matcher *m, bool hit, bool repeat, const struct match *match)
{
    atomic_fetch_add_explicit(hit ? &m->served : &m->missed, 1, memory_order_relaxed);
    if (hit && match->times == 1)
        atomic_fetch_add_explicit(&m->used, 1, memory_order_relaxed);
    if (hit && repeat)
        atomic_fetch_add_explicit(&m->repeated, 1, memory_order_relaxed);
}

bool matcher_take(struct matcher *m, const struct key *key, struct span track, struct match *out,
                  enum miss_reason *reason)
{
    bool repeat, hit;
    if (track.n == 0) {
        hit = take(m, key, TRACK_NONE, out, reason, &repeat);
    } else {
        uint32_t index;
        (void)pthread_mutex_lock(&m->lock);
        if (matcher_intern_track(m, track, &index) != ERR_OK)
            index = TRACK_NONE;
        hit = take(m, key, index, out, reason, &repeat);
        matcher_count_track(m, index, hit, repeat);
        (void)pthread_mutex_unlock(&m->lock);
    }
    matcher_count(m, hit, repeat, out);
    return hit;
}

void matcher_count_miss(struct matcher *m, struct span track)
{
    uint32_t index;
    atomic_fetch_add_explicit(&m->missed, 1, memory_order_relaxed);
    (void)pthread_mutex_lock(&m->lock);
    if (matcher_intern_track(m, track, &index) == ERR_OK && index != TRACK_NONE)
        m->tracks[index].missed++;
    (void)pthread_mutex_unlock(&m->lock);
}

void matcher_keep_miss(struct matcher *m, struct span json, struct span line)
{
    (void)pthread_mutex_lock(&m->lock);
    void *at = m->misses;
    enum err e = m->misses_n >= LIMIT_REPLAY_MISSES || m->misses_bytes + json.n + line.n > LIMIT_REPLAY_MISS_BYTES
                     ? ERR_LIMIT
                     : ERR_OK;
    if (!e)
        e = matcher_grow(&at, m->misses_n, &m->misses_cap, sizeof *m->misses);
    m->misses = at;
    if (!e) {
        struct miss_kept *kept = &m->misses[m->misses_n];
        *kept = (struct miss_kept){mem_strdup(json.p, json.n), mem_strdup(line.p, line.n), json.n, line.n};
        if (kept->json && kept->line) {
            m->misses_n++;
            m->misses_bytes += json.n + line.n;
        } else {
            mem_free(kept->json);
            mem_free(kept->line);
        }
    }
    (void)pthread_mutex_unlock(&m->lock);
}

/* How alike a recording is, 0 to 127: the host counts most, then the path, its folder, the method and the rest. */
static unsigned likeness(const struct entry *entry, const struct key *key)
{
    static const unsigned weights[KEY_PART_COUNT] = {
        [KEY_HOST] = 40, [KEY_PATH] = 30,   [KEY_FOLDER] = 10, [KEY_METHOD] = 12, [KEY_QUERY] = 6,
        [KEY_BODY] = 6,  [KEY_HEADERS] = 3, [KEY_SCHEME] = 3,  [KEY_PORT] = 3,
    };
    unsigned sum = 0;
    for (size_t i = 0; i < KEY_PART_COUNT; i++)
        if (entry->part[i] == (uint32_t)key->part[i])
            sum += weights[i];
    return sum;
}

struct nearest {
    const struct matcher *m;
    const struct key *key;
    struct match *out;
    unsigned scores[LIMIT_REPLAY_CANDIDATES];
    size_t n, max;
};

/* Keeps the best, in order; of equal ones the earlier. Recordings of one key are one candidate. */
static void nearest_consider(struct nearest *near, uint32_t index)
{
    const struct entry *entries = near->m->entries, *entry = &entries[index];
    unsigned score = likeness(entry, near->key);
    for (size_t i = 0; i < near->n; i++)
        if (entries[near->out[i].entry].group == entry->group)
            return;
    size_t at = near->n;
    while (at > 0 && near->scores[at - 1] < score)
        at--;
    if (at == near->max)
        return;
    if (near->n < near->max)
        near->n++;
    for (size_t i = near->n - 1; i > at; i--) {
        near->out[i] = near->out[i - 1];
        near->scores[i] = near->scores[i - 1];
    }
    near->out[at] = (struct match){.entry = index, .tape = entry->tape, .flow = entry->flow};
    near->scores[at] = score;
}

size_t matcher_nearest(const struct matcher *m, const struct key *key, struct match *out, size_t max)
{
    struct nearest near = {.m = m, .key = key, .out = out, .max = MIN(max, (size_t)LIMIT_REPLAY_CANDIDATES)};
    size_t budget = LIMIT_NEAREST_SEARCH;
    uint32_t i = chains_head(&m->by_path, (uint32_t)key->part[KEY_PATH]);
    if (near.max == 0)
        return 0;
    for (; i != SLOT_NONE && budget > LIMIT_NEAREST_SEARCH / 2; i = m->entries[i].next_path, budget--)
        nearest_consider(&near, i);
    i = chains_head(&m->by_host, (uint32_t)key->part[KEY_HOST]);
    for (; i != SLOT_NONE && budget > 0; i = m->entries[i].next_host, budget--)
        nearest_consider(&near, i);
    bool nothing = near.n == 0;
    for (size_t k = 0; nothing && k < MIN(m->entries_n, budget); k++)
        nearest_consider(&near, (uint32_t)k);
    return near.n;
}

void matcher_get_counters(const struct matcher *m, struct matcher_counters *out)
{
    uint64_t used = atomic_load_explicit(&m->used, memory_order_relaxed);
    *out = (struct matcher_counters){
        .flows = m->entries_n,
        .served = atomic_load_explicit(&m->served, memory_order_relaxed),
        .missed = atomic_load_explicit(&m->missed, memory_order_relaxed),
        .repeated = atomic_load_explicit(&m->repeated, memory_order_relaxed),
        .unused = m->entries_n - used,
    };
}

bool matcher_next_flow(const struct matcher *m, size_t *at, struct match *out)
{
    if (*at >= m->entries_n)
        return false;
    const struct entry *entry = &m->entries[*at];
    *out = (struct match){(uint32_t)*at, entry->tape, entry->flow,
                          atomic_load_explicit(&entry->served, memory_order_relaxed)};
    ++*at;
    return true;
}

bool matcher_next_miss(const struct matcher *m, size_t *at, struct matcher_miss *out)
{
    if (*at >= m->misses_n)
        return false;
    const struct miss_kept *kept = &m->misses[(*at)++];
    *out = (struct matcher_miss){span_of(kept->json, kept->json_n), span_of(kept->line, kept->line_n)};
    return true;
}

bool matcher_next_track(const struct matcher *m, size_t *at, struct matcher_track *out)
{
    if (m->tracks_n < 2 || *at >= m->tracks_n)
        return false;
    const struct track *track = &m->tracks[*at];
    *out = (struct matcher_track){span_of(track->name, track->length), track->served, track->missed, track->repeated};
    if (*at == 0) { /* what is not on any track */
        struct matcher_counters all;
        matcher_get_counters(m, &all);
        *out = (struct matcher_track){SPAN_EMPTY, all.served, all.missed, all.repeated};
        for (size_t i = 1; i < m->tracks_n; i++) {
            out->served -= m->tracks[i].served;
            out->missed -= m->tracks[i].missed;
            out->repeated -= m->tracks[i].repeated;
        }
    }
    ++*at;
    return true;
}

size_t matcher_tapes(const struct matcher *m)
{
    return m->paths_n;
}

const char *matcher_tape_path(const struct matcher *m, size_t tape)
{
    assert(tape < m->paths_n);
    return m->paths[tape];
}

const struct rules *matcher_rules(const struct matcher *m)
{
    return m->rules;
}

const struct hash_key *matcher_hash_key(const struct matcher *m)
{
    return &m->hash;
}

enum err matcher_put_flow(const struct matcher *m, const struct match *match, struct buf *out)
{
    enum err e = ERR_OK;
    if (m->paths_n > 1)
        e = buf_printf(out, "%u:", match->tape + 1);
    return e ? e : buf_printf(out, "%lld", (long long)match->flow);
}

const char *miss_reason_word(enum miss_reason reason)
{
    static const char *const words[] = {
#define MISS_REASON_ROW(name, word) [name] = word,
        MISS_REASONS(MISS_REASON_ROW)
#undef MISS_REASON_ROW
    };
    return words[reason];
}
