/* load.c: from tapes to the index. One pass over the flows, by start; bodies of requests are hashed piece by piece and forgotten. */
#include "replay/matcher_internal.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/text.h"
#include "base/util.h"
#include "http/url.h"
#include "replay/content.h"
#include "replay/turns.h"

enum { LOAD_ENTRIES_MAX = INT32_MAX };

struct load {
    struct matcher *m;
    const struct matcher_options *options;
    struct tape *tape;
    uint32_t tape_index;
    struct headers headers;
    struct content content;
    struct key_scratch scratch;

    /* of a gRPC request; turn 0: no call in turns */
    struct grpc *grpc;
    struct turns_said said;
    struct buf sums; /* struct turn_sum */
    struct hash128 head;
    uint32_t turn;
};

enum err matcher_grow(void **at, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return ERR_OK;
    size_t wanted = *cap ? *cap * 2 : 64;
    void *grown = mem_resize(*at, wanted, size);
    if (!grown)
        return ERR_NOMEM;
    *at = grown;
    *cap = wanted;
    return ERR_OK;
}

static bool chain_match(const void *ctx, uint32_t index, const void *wanted)
{
    const struct chain *chains = ctx;
    return chains[index].hash == *(const uint32_t *)wanted;
}

static uint64_t chain_hash(const void *ctx, uint32_t index)
{
    const struct chain *chains = ctx;
    return chains[index].hash;
}

uint32_t chains_head(const struct chains *c, uint32_t hash)
{
    uint32_t i = slots_get(&c->slots, hash, chain_match, c->at, &hash);
    return i == SLOT_NONE ? SLOT_NONE : c->at[i].head;
}

enum err chains_append(struct chains *c, uint32_t hash, uint32_t entry, uint32_t *last)
{
    uint32_t i = slots_get(&c->slots, hash, chain_match, c->at, &hash);
    *last = SLOT_NONE;
    if (i != SLOT_NONE) {
        *last = c->at[i].tail;
        c->at[i].tail = entry;
        return ERR_OK;
    }
    void *at = c->at;
    enum err e = matcher_grow(&at, c->n, &c->cap, sizeof *c->at);
    c->at = at;
    if (e)
        return e;
    c->at[c->n] = (struct chain){hash, entry, entry};
    e = slots_add(&c->slots, hash, (uint32_t)c->n, chain_hash, c->at);
    c->n += !e;
    return e;
}

static bool word_is(struct span error, struct span word)
{
    return span_eq(span_first(error, span_find(error, ':')), word);
}

/* A client that would not have our certificate: no origin had a part in that, and nothing can ask for it again. */
static bool is_refusal(const struct tape_flow *f)
{
    struct span reason = span_trim(span_from(f->error, span_find(f->error, ':') + 1));
    return span_eq(f->method, SPAN("CONNECT")) &&
           (word_is(f->error, SPAN("tls")) || word_is(f->error, SPAN("tls-alert"))) &&
           span_starts_with(reason, SPAN("the client "));
}

/* Has it anything to say? Not when the client went away, or the recording ended, before there was an answer. */
static bool is_playable(const struct tape_flow *f)
{
    if (f->method.n == 0)
        return false;
    if (f->status != 0)
        return true;
    return f->error.n > 0 && !is_refusal(f) && !word_is(f->error, SPAN("closed")) &&
           !word_is(f->error, SPAN("cancelled")) && !word_is(f->error, SPAN("shutdown"));
}

static bool is_turn(const struct load *l, uint64_t messages)
{
    uint64_t first = l->turn > 0 ? l->turn - 1 : 0;
    return messages <= LIMIT_REPLAY_TURN_MESSAGES ||
           (l->turn > 0 && messages >= first && messages <= first + LIMIT_REPLAY_TURN_MESSAGES);
}

static enum err put_sum(struct load *l)
{
    struct turn_sum sum = {l->said.messages, l->said.sum};
    return is_turn(l, sum.messages) ? buf_put(&l->sums, span_of(&sum, sizeof sum)) : ERR_OK;
}

static enum err on_message(void *ctx, const struct grpc_message *message)
{
    struct load *l = ctx;
    return turns_said_add(&l->said, message) ? put_sum(l) : ERR_OK;
}

/* Was the client still speaking when the answer began? */
static bool is_answered_early(const struct tape_flow *f)
{
    return span_eq(f->kind, SPAN("http")) && f->status != 0 && !f->answered && f->response_begin_ns >= 0 &&
           (f->request_end_ns < 0 || f->response_begin_ns < f->request_end_ns);
}

/* How many messages had come by then. Those of the same moment could not be an answer to the answer. */
static enum err load_turn(struct load *l, const struct tape_flow *f)
{
    struct tape_message_cursor *cursor = NULL;
    struct tape_message m;
    uint32_t messages = 0;
    bool any = false;
    enum err e = tape_messages(l->tape, f->id, &cursor);
    while (!e && (e = tape_message_next(cursor, &m)) == ERR_OK) {
        any = true;
        if (!m.from_client || m.at_ns > f->response_begin_ns || messages == INT32_MAX)
            break;
        messages += !m.more && span_eq(m.kind, SPAN("grpc"));
    }
    tape_message_cursor_close(&cursor);
    /* One without rows cannot be told in turns. */
    if (any || f->request_body.wire_bytes == 0)
        l->turn = messages + 1;
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

/* The request's fields are there: is it gRPC, and one in turns? */
static enum err load_grpc(struct load *l, const struct tape_flow *f)
{
    l->turn = 0;
    buf_clear(&l->sums);
    turns_said_begin(&l->said, &l->m->hash);
    if (!turns_spoken(&l->headers))
        return ERR_OK;
    enum err e = is_answered_early(f) ? load_turn(l, f) : ERR_OK;
    if (e || !rules_has(l->m->rules, RULE_BODY))
        return e;
    e = grpc_create(&l->grpc, &l->headers, on_message, l);
    return e ? e : put_sum(l);
}

static enum err load_piece(struct load *l, struct span piece)
{
    enum err e = l->grpc ? grpc_feed(l->grpc, piece) : ERR_OK;
    if (e && e != ERR_NOMEM) { /* what was read until here is known */
        grpc_destroy(&l->grpc);
        e = ERR_OK;
    }
    return e ? e : content_add(&l->content, piece);
}

static enum err load_body(struct load *l, const struct tape_flow *f, uint64_t *out)
{
    struct tape_body *body = NULL;
    enum err e = content_begin(&l->content, &l->headers, &l->m->hash);
    if (!e)
        e = tape_body_open(l->tape, &f->request_body, &body);
    while (!e) {
        struct span piece;
        int64_t at_ns;
        e = tape_body_next(body, &piece, &at_ns);
        if (!e)
            e = load_piece(l, piece);
    }
    tape_body_close(&body);
    return e == ERR_NOT_FOUND ? content_end(&l->content, l->m->rules, &l->m->hash, &l->scratch, out) : e;
}

static enum err load_key(struct load *l, const struct tape_flow *f, struct key *out)
{
    const struct rules *rules = l->m->rules;
    struct key_request r = {.method = f->method,
                            .scheme = f->scheme,
                            .host = f->host,
                            .port = f->port,
                            .path = f->path,
                            .upgraded = f->status == 101};
    /* The bytes of a tunnel or an upgraded connection are no content, and the tape has them elsewhere. */
    bool compared = rules_has(rules, RULE_BODY) && span_eq(f->kind, SPAN("http"));
    bool cut = f->request_body.wire_bytes > f->request_body.bytes;
    bool body = compared && f->request_body.id != 0;
    enum err e = ERR_OK;
    headers_clear(&l->headers);
    if ((body || is_answered_early(f) || key_needs_headers(rules)) && f->request_headers.n > 0)
        e = tape_headers(f->request_headers, &l->headers);
    r.headers = &l->headers;
    if (!e)
        e = load_grpc(l, f);
    if (!e && body && (!cut || l->grpc))
        e = load_body(l, f, &r.body);
    if (compared && cut) {
        r.body = content_cut_key(f->request_body.wire_bytes, &l->m->hash);
        l->m->cut = true;
        /* It is known by the messages that are there, and the others are compared by what is. */
        if (l->turn > 0 && l->said.messages < l->turn - 1)
            l->turn = (uint32_t)l->said.messages + 1;
    }
    grpc_destroy(&l->grpc);
    if (!e)
        e = key_compute(out, rules, &l->m->hash, &r, &l->scratch);
    if (e || l->sums.n == 0)
        return e;
    struct key head;
    r.body = 0;
    e = key_compute(&head, rules, &l->m->hash, &r, &l->scratch);
    l->head = head.all;
    return e;
}

static enum err link_entry(struct matcher *m, uint32_t index)
{
    struct entry *entry = &m->entries[index];
    uint32_t last;
    enum err e = chains_append(&m->by_path, entry->part[KEY_PATH], index, &last);
    if (!e && last != SLOT_NONE)
        m->entries[last].next_path = index;
    if (!e)
        e = chains_append(&m->by_host, entry->part[KEY_HOST], index, &last);
    if (!e && last != SLOT_NONE)
        m->entries[last].next_host = index;
    return e;
}

static enum err load_flow(struct load *l, const struct tape_flow *f)
{
    struct matcher *m = l->m;
    struct key key;
    uint32_t track, group;
    if (m->entries_n >= LOAD_ENTRIES_MAX)
        return ERR_LIMIT;
    enum err e = load_key(l, f, &key);
    if (!e)
        e = matcher_intern_track(m, f->track, &track);
    if (!e)
        e = matcher_add_group(m, key.all, track, &group);
    if (!e && l->sums.n > 0)
        e = matcher_turns_add(m, l->head, key.all, (const struct turn_sum *)(const void *)buf_span(&l->sums).p,
                              l->sums.n / sizeof(struct turn_sum), l->turn);
    m->turns.any |= l->turn > 0;
    void *at = m->entries;
    if (!e)
        e = matcher_grow(&at, m->entries_n, &m->entries_cap, sizeof *m->entries);
    m->entries = at;
    if (e)
        return e;
    struct entry *entry = &m->entries[m->entries_n];
    *entry = (struct entry){.flow = f->id,
                            .group = group,
                            .next_path = SLOT_NONE,
                            .next_host = SLOT_NONE,
                            .tape = l->tape_index,
                            .turn = l->turn};
    for (size_t i = 0; i < KEY_PART_COUNT; i++)
        entry->part[i] = (uint32_t)key.part[i];
    m->groups[group].n++;
    m->upgrades |= f->status == 101 && span_eq(f->request_version, SPAN("HTTP/2"));
    if (track != TRACK_NONE) {
        m->tracks[track].on_tape = true;
        m->tracked = true;
    }
    return link_entry(m, (uint32_t)m->entries_n++);
}

static enum err load_flows(struct load *l)
{
    struct tape_query query = {.by_start = true};
    struct tape_cursor *cursor = NULL;
    struct tape_flow flow;
    enum err e = tape_flows(l->tape, &query, &cursor);
    while (!e) {
        e = tape_flow_next(cursor, &flow);
        bool included =
            !e && is_playable(&flow) && (!l->options->keep || l->options->keep(l->options->keep_ctx, &flow));
        if (included && l->options->include)
            e = l->options->include(l->options->include_ctx, l->tape, &flow, &included);
        if (!e && included)
            e = load_flow(l, &flow);
    }
    tape_cursor_close(&cursor);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

struct origin_wanted {
    struct span host;
    unsigned port;
};

static bool origin_match(const void *ctx, uint32_t index, const void *wanted)
{
    const struct known_origin *o = (const struct known_origin *)ctx + index;
    const struct origin_wanted *w = wanted;
    return o->port == w->port && span_eq_nocase(span_str(o->host), w->host);
}

/* Hosts on a tape are lower case as a rule; the port tells enough for the few that are not. */
static uint64_t origin_hash(const struct hash_key *hash, struct span host, unsigned port)
{
    uint64_t h = port;
    for (size_t i = 0; i < host.n; i++)
        h = (h ^ (host.p[i] | 0x20u)) * UINT64_C(0x100000001b3);
    return hash64(hash, span_of(&h, sizeof h));
}

static uint64_t origin_hash_of(const void *ctx, uint32_t index)
{
    const struct matcher *m = ctx;
    return origin_hash(&m->hash, span_str(m->origins[index].host), m->origins[index].port);
}

static enum err origin_add(struct matcher *m, struct span host, unsigned port, uint32_t *out)
{
    void *at = m->origins;
    enum err e = matcher_grow(&at, m->origins_n, &m->origins_cap, sizeof *m->origins);
    m->origins = at;
    if (e)
        return e;
    struct known_origin *o = &m->origins[m->origins_n];
    *o = (struct known_origin){.host = mem_strdup(host.p, host.n), .port = port, .alpn = BUF_INIT, .names = BUF_INIT};
    if (!o->host)
        return ERR_NOMEM;
    *out = (uint32_t)m->origins_n++;
    return slots_add(&m->origin_slots, origin_hash(&m->hash, host, port), *out, origin_hash_of, m);
}

/* The names of the first certificate of a chain; one that cannot be read has none. */
static enum err leaf_names(const struct load *l, struct span chain, struct buf *out)
{
    if (!l->options->names_from_certificate || chain.n < 4)
        return ERR_OK;
    size_t n = (size_t)chain.p[0] << 24 | (size_t)chain.p[1] << 16 | (size_t)chain.p[2] << 8 | chain.p[3];
    struct span der = span_from(chain, 4);
    if (n > der.n)
        return ERR_OK;
    enum err e = l->options->names_from_certificate(span_first(der, n), out);
    if (e && e != ERR_NOMEM) {
        buf_clear(out);
        e = ERR_OK;
    }
    return e;
}

static enum err load_origins(struct load *l)
{
    struct matcher *m = l->m;
    struct tape_connection c;
    int64_t after = 0;
    enum err e = ERR_OK;
    while (!e) {
        e = tape_connection_next(l->tape, &after, &c);
        if (e || c.host.n == 0 || (c.alpn.n == 0 && c.chain.n == 0) || memchr(c.host.p, 0, c.host.n))
            continue;
        struct origin_wanted wanted = {c.host, c.port};
        uint32_t i =
            slots_get(&m->origin_slots, origin_hash(&m->hash, c.host, c.port), origin_match, m->origins, &wanted);
        if (i == SLOT_NONE)
            e = origin_add(m, c.host, c.port, &i);
        if (!e && m->origins[i].alpn.n == 0)
            e = buf_put(&m->origins[i].alpn, c.alpn);
        if (!e && m->origins[i].names.n == 0)
            e = leaf_names(l, c.chain, &m->origins[i].names);
    }
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

bool matcher_origin(const struct matcher *m, struct span host, unsigned port, struct matcher_origin *out)
{
    rules_map_host(m->rules, &host, &port);
    struct origin_wanted wanted = {host, port};
    uint32_t i = slots_get(&m->origin_slots, origin_hash(&m->hash, host, port), origin_match, m->origins, &wanted);
    *out = (struct matcher_origin){SPAN_EMPTY, SPAN_EMPTY, m->upgrades};
    if (i == SLOT_NONE)
        return false;
    *out = (struct matcher_origin){buf_span(&m->origins[i].alpn), buf_span(&m->origins[i].names), m->upgrades};
    return true;
}

static enum err load_tape(struct load *l, const char *path, struct buf *problem)
{
    enum err e = tape_open(&l->tape, path, problem);
    if (e)
        return e;
    e = load_flows(l);
    if (!e)
        e = load_origins(l);
    if (e) {
        const char *why = e == ERR_DB || e == ERR_CORRUPT ? tape_problem(l->tape) : err_text(e);
        enum err put = text_escape_terminal(problem, span_str(path));
        if (!put)
            put = buf_printf(problem, " cannot be replayed: %s", why);
        e = put ? put : e;
    }
    tape_close(&l->tape);
    return e;
}

/* Groups over all tracks, for requests of no track and of tracks that the tape does not know. */
static enum err group_all(struct matcher *m)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && m->tracked && i < m->entries_n; i++) {
        uint32_t group;
        e = matcher_add_group(m, m->groups[m->entries[i].group].key, TRACK_ALL, &group);
        if (!e)
            m->groups[group].n++;
    }
    return e;
}

/* Lays the entries of each group side by side, in recorded order. */
static enum err lay_out(struct matcher *m)
{
    m->order = mem_new(m->entries_n * (m->tracked ? 2 : 1), sizeof *m->order);
    if (!m->order)
        return ERR_NOMEM;
    uint32_t at = 0;
    for (size_t i = 0; i < m->groups_n; i++) {
        m->groups[i].first = at;
        at += m->groups[i].n;
        m->groups[i].n = 0;
    }
    for (size_t i = 0; i < m->entries_n; i++) {
        struct group *own = &m->groups[m->entries[i].group];
        m->order[own->first + own->n++] = (uint32_t)i;
        if (!m->tracked)
            continue;
        struct group *all = &m->groups[matcher_find_group(m, own->key, TRACK_ALL)];
        m->order[all->first + all->n++] = (uint32_t)i;
    }
    return ERR_OK;
}

enum err matcher_load(struct matcher *m, const struct matcher_options *options, struct buf *problem)
{
    struct load l = {.m = m, .options = options, .headers = HEADERS_INIT};
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < options->paths_n; i++) {
        l.tape_index = (uint32_t)i;
        e = load_tape(&l, options->paths[i], problem);
    }
    if (!m->turns.any)
        matcher_turns_free(&m->turns);
    if (!e)
        e = group_all(m);
    if (!e)
        e = lay_out(m);
    headers_free(&l.headers);
    content_free(&l.content);
    grpc_destroy(&l.grpc);
    buf_free(&l.sums);
    key_scratch_free(&l.scratch);
    return e;
}
