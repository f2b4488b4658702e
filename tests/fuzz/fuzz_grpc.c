/* fuzz_grpc.c: gRPC and gRPC-Web messages. Input: a byte (which type and encoding), a byte (the size of the pieces), then the content. What is told
 * must not hang on how it came. */
#include "http/grpc.h"

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

static enum err tell(void *ctx, const struct grpc_message *message)
{
    struct told *told = ctx;
    must(message->last || message->data.n == LIMIT_MESSAGE_BYTES);
    must(message->data.n <= LIMIT_MESSAGE_BYTES && (message->compressed || !message->raw));
    must((message->compressed && !message->raw) || message->wire_bytes >= message->data.n);
    told->wire_bytes += message->wire_bytes;
    must(buf_printf(&told->text, "%d%d%d%d %zu:", message->last, message->compressed, message->raw, message->trailers,
                    message->data.n) == ERR_OK);
    must(buf_put(&told->text, message->data) == ERR_OK);
    /* Bytes of content that hardly grows memory would take for ever: a bomb is a matter of the unit tests. */
    return told->text.n > (4 << 20) ? ERR_LIMIT : ERR_OK;
}

static enum err read_all(struct told *told, const struct headers *fields, struct span wire, size_t chunk)
{
    struct grpc *g;
    enum err e = grpc_create(&g, fields, tell, told);
    must(e == ERR_OK);
    for (size_t at = 0; !e && at < wire.n; at += chunk)
        e = grpc_feed(g, span_first(span_from(wire, at), chunk));
    grpc_destroy(&g);
    must(e == ERR_OK || e == ERR_PARSE || e == ERR_LIMIT);
    must(told->wire_bytes <= wire.n);
    return e;
}

static void statuses(struct span text)
{
    const char *word = grpc_status_word(text);
    must(!word || word[0] != '\0');
    (void)grpc_is(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const types[] = {"application/grpc", "application/grpc-web+proto", "application/grpc-web-text"};
    static const char *const encodings[] = {"identity", "gzip", "deflate", "snappy"};
    struct told whole = {.text = BUF_INIT}, parts = {.text = BUF_INIT};
    struct headers fields = HEADERS_INIT;
    if (size < 2)
        return 0;
    struct span wire = span_of(data + 2, size - 2);
    statuses(wire);
    must(headers_add(&fields, SPAN("content-type"), span_str(types[data[0] % ARRAY_LEN(types)])) == ERR_OK);
    must(headers_add(&fields, SPAN("grpc-encoding"), span_str(encodings[data[0] / 16 % ARRAY_LEN(encodings)])) ==
         ERR_OK);
    enum err one = read_all(&whole, &fields, wire, size), other = read_all(&parts, &fields, wire, (size_t)data[1] + 1);
    /* How much of a content is decoded before its bomb is known depends on the pieces. */
    if (one != ERR_LIMIT && other != ERR_LIMIT) {
        must(one == other);
        must(span_eq(buf_span(&whole.text), buf_span(&parts.text)));
    }
    headers_free(&fields);
    buf_free(&whole.text);
    buf_free(&parts.text);
    return 0;
}
