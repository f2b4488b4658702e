/* pair.h: two ends of a TLS connection joined in memory, and a CA in a temporary folder; for the tests of this layer. */
#ifndef RINGTAPE_TESTS_TLS_PAIR_H
#define RINGTAPE_TESTS_TLS_PAIR_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/util.h"
#include "tls/ca.h"
#include "tls/leaf.h"
#include "tls/tls_internal.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct end {
    struct tls *tls;
    struct buf out;   /* ciphertext for the other end */
    struct buf plain; /* what was received */
    int established, closed;
    enum err error;
};

struct world {
    char dir[64];
    struct ca *ca;
    struct leaf_cache *leaves;
    struct tls_server_config *server;
    struct tls_client_config *client;
};

static inline enum err end_send(void *ctx, struct span cipher)
{
    struct end *end = ctx;
    return buf_put(&end->out, cipher);
}

static inline enum err end_established(void *ctx)
{
    struct end *end = ctx;
    end->established++;
    return ERR_OK;
}

static inline enum err end_data(void *ctx, struct span plain)
{
    struct end *end = ctx;
    return buf_put(&end->plain, plain);
}

static inline enum err end_closed(void *ctx)
{
    struct end *end = ctx;
    end->closed++;
    return ERR_OK;
}

static const struct tls_events end_events = {end_send, end_established, end_data, end_closed};

static inline void end_free(struct end *end)
{
    tls_destroy(&end->tls);
    buf_free(&end->out);
    buf_free(&end->plain);
    *end = (struct end){0};
}

/* Moves what one end sent to the other, `chunk` bytes at a time. False when there was nothing. */
static inline bool end_deliver(struct end *from, struct end *to, size_t chunk)
{
    bool moved = from->out.n > 0;
    while (from->out.n > 0 && !to->error) {
        /* A copy of exactly these bytes, so that a read beyond them is seen. */
        size_t n = MIN(chunk, from->out.n);
        uint8_t *copy = malloc(n);
        assert_non_null(copy);
        memcpy(copy, buf_span(&from->out).p, n);
        buf_consume(&from->out, n);
        to->error = tls_feed(to->tls, span_of(copy, n));
        free(copy);
    }
    buf_clear(&from->out);
    return moved;
}

static inline void pair_run(struct end *client, struct end *server, size_t chunk)
{
    for (int i = 0; i < 50; i++) {
        bool moved = end_deliver(client, server, chunk);
        moved |= end_deliver(server, client, chunk);
        if (!moved)
            return;
    }
    fail_msg("the two ends do not come to rest");
}

/* Both ends, not yet started. version: TLS1_2_VERSION, or 0 for the newest. */
static inline void pair_open(struct world *w, struct end *client, struct end *server, const char *host,
                             struct span client_alpn, struct span server_alpn, int version)
{
    *client = *server = (struct end){0};
    struct leaf *leaf;
    char old[300];
    if (version) {
        /* A session of the newer version is no use to a client that is held to the older one. */
        snprintf(old, sizeof old, "v%x-%s", (unsigned)version, host);
        host = old;
    }
    assert_int_equal(leaf_get(w->leaves, span_str(host), SPAN_EMPTY, &leaf), ERR_OK);
    assert_int_equal(tls_accept(&server->tls, w->server, leaf, server_alpn, &end_events, server), ERR_OK);
    leaf_unref(&leaf);
    assert_int_equal(tls_connect(&client->tls, w->client, span_str(host), 443, client_alpn, &end_events, client),
                     ERR_OK);
    if (version)
        assert_int_equal(wolfSSL_set_max_proto_version(client->tls->ssl, version), WOLFSSL_SUCCESS);
}

static inline void pair_handshake(struct world *w, struct end *client, struct end *server, const char *host,
                                  int version)
{
    pair_open(w, client, server, host, SPAN_EMPTY, SPAN_EMPTY, version);
    assert_int_equal(tls_start(client->tls), ERR_OK);
    pair_run(client, server, SIZE_MAX);
    if (client->error || server->error)
        print_error("client: %s %s, server: %s %s\n", err_word(client->error), tls_error(client->tls),
                    err_word(server->error), tls_error(server->tls));
    assert_int_equal(client->established, 1);
    assert_int_equal(server->established, 1);
}

static inline void pair_close(struct end *client, struct end *server)
{
    end_free(client);
    end_free(server);
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

static inline void remove_tree(const char *dir)
{
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static inline void make_folder(char *dir, size_t n)
{
    snprintf(dir, n, "%s/ringtape-tls-XXXXXX",
             getenv("TMPDIR") && strlen(getenv("TMPDIR")) < n - 24 ? getenv("TMPDIR") : "/tmp");
    assert_non_null(mkdtemp(dir));
}

/* A client that trusts our CA (and the system's). */
static inline void world_client(struct world *w, bool insecure)
{
    char path[96];
    snprintf(path, sizeof path, "%s/ca.pem", w->dir);
    struct buf problem = BUF_INIT;
    struct tls_client_options options = {.insecure = insecure, .ca_file = path, .sessions_max = 8};
    tls_client_config_destroy(&w->client);
    assert_int_equal(tls_client_config_create(&w->client, &options, &problem), ERR_OK);
    buf_free(&problem);
}

static inline int world_open(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    make_folder(w->dir, sizeof w->dir);
    struct buf problem = BUF_INIT;
    assert_int_equal(ca_open(&w->ca, w->dir, &problem), ERR_OK);
    buf_free(&problem);
    assert_int_equal(leaf_cache_create(&w->leaves, w->ca, 16, NULL), ERR_OK);
    assert_int_equal(tls_server_config_create(&w->server, w->leaves, NULL, NULL), ERR_OK);
    world_client(w, false);
    *state = w;
    return 0;
}

static inline int world_close(void **state)
{
    struct world *w = *state;
    tls_client_config_destroy(&w->client);
    tls_server_config_destroy(&w->server);
    leaf_cache_destroy(&w->leaves);
    ca_close(&w->ca);
    remove_tree(w->dir);
    free(w);
    return 0;
}

#endif
