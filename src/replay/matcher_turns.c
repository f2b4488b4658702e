/* matcher_turns.c: gRPC requests by what they begin with. Each recorded one is known by its head and its first messages, one row each; a row names the keys of all
 * recordings that begin so. Which of them is served, and that it was, is the business of their groups, as for any other request. */
#include "replay/matcher_internal.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/util.h"

static struct hash128 row_key(const struct matcher *m, struct hash128 head, uint64_t messages, uint64_t sum)
{
    uint64_t all[4] = {head.lo, head.hi, messages, sum};
    struct hash128_state st;
    hash128_begin(&st, &m->hash);
    hash128_add(&st, span_of(all, sizeof all));
    return hash128_end(&st);
}

static bool key_eq(struct hash128 a, struct hash128 b)
{
    return a.lo == b.lo && a.hi == b.hi;
}

static uint64_t row_hash_of(const void *ctx, uint32_t index)
{
    return ((const struct turn_row *)ctx)[index].key.lo;
}

static bool row_match(const void *ctx, uint32_t index, const void *wanted)
{
    return key_eq(((const struct turn_row *)ctx)[index].key, *(const struct hash128 *)wanted);
}

static const struct turn_row *row_find(const struct matcher *m, struct hash128 key)
{
    uint32_t i = slots_get(&m->turns.row_slots, key.lo, row_match, m->turns.rows, &key);
    return i == SLOT_NONE ? NULL : &m->turns.rows[i];
}

static uint64_t link_hash(const struct turn_link *link)
{
    return link->key.lo ^ (uint64_t)link->row * UINT64_C(0x9e3779b97f4a7c15);
}

static uint64_t link_hash_of(const void *ctx, uint32_t index)
{
    return link_hash((const struct turn_link *)ctx + index);
}

static bool link_match(const void *ctx, uint32_t index, const void *wanted)
{
    const struct turn_link *link = (const struct turn_link *)ctx + index, *w = wanted;
    return link->row == w->row && key_eq(link->key, w->key);
}

static enum err row_take(struct turn_index *t, struct hash128 key, uint32_t *out)
{
    *out = slots_get(&t->row_slots, key.lo, row_match, t->rows, &key);
    if (*out != SLOT_NONE)
        return ERR_OK;
    void *at = t->rows;
    enum err e = matcher_grow(&at, t->rows_n, &t->rows_cap, sizeof *t->rows);
    t->rows = at;
    if (e)
        return e;
    t->rows[t->rows_n] = (struct turn_row){.key = key, .first = SLOT_NONE, .last = SLOT_NONE};
    e = slots_add(&t->row_slots, key.lo, (uint32_t)t->rows_n, row_hash_of, t->rows);
    if (!e)
        *out = (uint32_t)t->rows_n++;
    return e;
}

/* Recordings of one key are one link. */
static enum err link_add(struct turn_index *t, uint32_t row, struct hash128 key)
{
    struct turn_link link = {key, row, SLOT_NONE};
    if (slots_get(&t->link_slots, link_hash(&link), link_match, t->links, &link) != SLOT_NONE)
        return ERR_OK;
    void *at = t->links;
    enum err e = matcher_grow(&at, t->links_n, &t->links_cap, sizeof *t->links);
    t->links = at;
    if (e)
        return e;
    uint32_t index = (uint32_t)t->links_n;
    t->links[index] = link;
    e = slots_add(&t->link_slots, link_hash(&link), index, link_hash_of, t->links);
    if (e)
        return e;
    t->links_n++;
    struct turn_row *r = &t->rows[row];
    if (r->n++ == 0)
        r->first = index;
    else
        t->links[r->last].next = index;
    r->last = index;
    return ERR_OK;
}

enum err matcher_turns_add(struct matcher *m, struct hash128 head, struct hash128 key, const struct turn_sum *sums,
                           size_t n, uint32_t turn)
{
    struct turn_index *t = &m->turns;
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < n; i++) {
        uint32_t row;
        if (t->rows_n >= INT32_MAX || t->links_n >= INT32_MAX)
            return ERR_LIMIT;
        e = row_take(t, row_key(m, head, sums[i].messages, sums[i].sum), &row);
        if (e)
            return e;
        t->rows[row].answered |= turn > 0 && sums[i].messages >= turn - 1;
        t->rows[row].turns |= turn > 0;
        e = link_add(t, row, key);
    }
    return e;
}

void matcher_turns_free(struct turn_index *t)
{
    mem_free(t->rows);
    mem_free(t->links);
    slots_free(&t->row_slots);
    slots_free(&t->link_slots);
    *t = (struct turn_index){.rows = NULL};
}

bool matcher_has_turns(const struct matcher *m)
{
    return m->turns.any;
}

bool matcher_knows_turns(const struct matcher *m, struct hash128 head)
{
    const struct turn_row *row = row_find(m, row_key(m, head, 0, 0));
    return row && row->turns;
}

enum turn matcher_turn(const struct matcher *m, const struct turn_at *at)
{
    const struct turn_row *row = row_find(m, row_key(m, at->head, at->messages, at->sum));
    /* Of a body that --max-body cut not all messages are known, and of no body those beyond the limit. */
    bool all_known = !m->cut && at->messages <= LIMIT_REPLAY_TURN_MESSAGES;
    if (!row)
        return all_known ? TURN_LOST : TURN_BEYOND;
    if (!row->answered)
        return TURN_CLIENT;
    /* Before its first message there is nothing by which to know a request. */
    return row->n == 1 && all_known && at->messages > 0 ? TURN_ORIGIN : TURN_EITHER;
}

struct choice {
    uint64_t at, round; /* the group's place, and how often all of it was given */
    uint32_t group, entry;
    bool own, repeat;
};

/* Does `a` come before `b`? */
static bool is_before(enum replay_order order, const struct choice *a, const struct choice *b)
{
    if (order == ORDER_FIRST)
        return a->entry < b->entry;
    if (order == ORDER_LAST)
        return a->entry > b->entry;
    if (a->repeat != b->repeat)
        return b->repeat;
    if (order == ORDER_CYCLE && a->round != b->round)
        return a->round < b->round;
    /* All were given: the last one stays. */
    return a->repeat && order == ORDER_SEQUENCE ? a->entry > b->entry : a->entry < b->entry;
}

/* Under the lock when the request has a track. */
static enum turn_taken choose(const struct matcher *m, const struct turn_row *row, uint64_t messages, uint32_t track,
                              struct choice *best)
{
    enum turn_taken taken = TURN_FOREIGN; /* what is found later is better */
    for (uint32_t i = row->first; i != SLOT_NONE; i = m->turns.links[i].next) {
        struct choice c = {.group = matcher_group_for(m, m->turns.links[i].key, track)};
        uint32_t which;
        if (c.group == SLOT_NONE)
            continue;
        const struct group *g = &m->groups[c.group];
        c.own = g->track == track || track == TRACK_NONE;
        c.at = c.own ? atomic_load_explicit(&g->position, memory_order_relaxed) : matcher_position(m, track, c.group);
        c.round = c.at / g->n;
        if (!matcher_pick(m->rules->order, g->n, c.at, &which, &c.repeat)) {
            taken = MIN(taken, TURN_EXHAUSTED);
            continue;
        }
        taken = MIN(taken, TURN_NOT_YET);
        c.entry = m->order[g->first + which];
        uint32_t turn = m->entries[c.entry].turn;
        if (turn == 0 || turn - 1 > messages || (taken == TURN_TAKEN && !is_before(m->rules->order, &c, best)))
            continue;
        *best = c;
        taken = TURN_TAKEN;
    }
    return taken;
}

/* False: another thread was faster, and what is best may be another one now. */
static bool claim(struct matcher *m, const struct choice *c, uint32_t track)
{
    if (!c->own) {
        (void)matcher_position_take(m, track, c->group);
        return true;
    }
    uint64_t expected = c->at;
    return atomic_compare_exchange_strong_explicit(&m->groups[c->group].position, &expected, c->at + 1,
                                                   memory_order_relaxed, memory_order_relaxed);
}

enum turn_taken matcher_turn_take(struct matcher *m, const struct turn_at *at, struct span track, struct match *out)
{
    const struct turn_row *row = row_find(m, row_key(m, at->head, at->messages, at->sum));
    struct choice best = {.group = SLOT_NONE};
    uint32_t index = TRACK_NONE;
    enum turn_taken taken;
    if (!row || !row->answered)
        return TURN_NOT_YET;
    if (track.n > 0) {
        (void)pthread_mutex_lock(&m->lock);
        if (matcher_intern_track(m, track, &index) != ERR_OK)
            index = TRACK_NONE;
    }
    do
        taken = choose(m, row, at->messages, index, &best);
    while (taken == TURN_TAKEN && !claim(m, &best, index));
    if (taken == TURN_TAKEN && track.n > 0)
        matcher_count_track(m, index, true, best.repeat);
    if (track.n > 0)
        (void)pthread_mutex_unlock(&m->lock);
    if (taken != TURN_TAKEN)
        return taken;
    matcher_serve(m, best.entry, out);
    matcher_count(m, true, best.repeat, out);
    return TURN_TAKEN;
}

bool matcher_turn_of(const struct matcher *m, const struct match *match, uint64_t *messages)
{
    uint32_t turn = m->entries[match->entry].turn;
    *messages = turn > 0 ? turn - 1 : 0;
    return turn > 0;
}
