/* fuzz_ws.c: one direction of a WebSocket. Input: a byte (the side, compression, its window), a byte (the size of the pieces), then frames. What is told must not
 * hang on how it came, and what was not told must be there to be told as bytes. */
#include "http/ws.h"

#include "base/limits.h"
#include "base/util.h"

#include <stdlib.h>

struct told {
    struct buf text;
    uint64_t wire_bytes;
};

static void must(bool holds)
{
    if (!holds)
        abort();
}

static enum err tell(void *ctx, const struct ws_message *m)
{
    struct told *told = ctx;
    must(m->last || m->data.n == LIMIT_MESSAGE_BYTES);
    must(m->data.n <= LIMIT_MESSAGE_BYTES && (m->last || !m->flaw) && (m->kind == WS_CLOSE || m->code == 0));
    told->wire_bytes += m->wire_bytes;
    must(buf_printf(&told->text, "%s%d%u%s %zu:", ws_kind_word(m->kind), m->last, m->code, m->flaw ? m->flaw : "",
                    m->data.n) == ERR_OK);
    must(buf_put(&told->text, m->data) == ERR_OK);
    return told->text.n > (4 << 20) ? ERR_LIMIT : ERR_OK;
}

static enum err read_all(struct told *told, unsigned how, struct span wire, size_t chunk)
{
    struct ws_extensions x = {.deflate = how & 2, .no_takeover = {how & 4, how & 4}};
    struct ws *ws;
    x.window_bits[0] = x.window_bits[1] = 8 + (how >> 3) % 8;
    must(ws_create(&ws, how & 1 ? WS_CLIENT : WS_SERVER, &x, tell, told) == ERR_OK);
    enum err e = ERR_OK;
    for (size_t at = 0; !e && at < wire.n; at += chunk) {
        struct span piece = span_first(span_from(wire, at), chunk);
        e = ws_feed(ws, piece);
        must(ws_unread(ws, piece).n <= piece.n);
        must(e != ERR_PARSE || ws_error(ws)[0] != '\0');
    }
    must(!ws_ambiguous(ws) || e == ERR_PARSE);
    ws_destroy(&ws);
    must(e == ERR_OK || e == ERR_PARSE || e == ERR_LIMIT);
    must(told->wire_bytes <= wire.n);
    return e;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct told whole = {.wire_bytes = 0}, pieces = {.wire_bytes = 0};
    if (size < 2)
        return 0;
    struct span wire = span_of(data + 2, size - 2);
    enum err a = read_all(&whole, data[0], wire, wire.n ? wire.n : 1);
    enum err b = read_all(&pieces, data[0], wire, data[1] % 64u + 1);
    must(a == b);
    must(a == ERR_LIMIT || span_eq(buf_span(&whole.text), buf_span(&pieces.text)));
    buf_free(&whole.text);
    buf_free(&pieces.text);
    return 0;
}
