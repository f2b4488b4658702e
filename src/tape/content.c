/* content.c: bodies through their codings. A failure of the tape, of the receiver and of the coding are three different things: only the
 * last is a fact about the recording, and the caller goes on. */
#include "tape/content.h"

#include "http/coding.h"

/* Between the decoder and the receiver: remembers that it was the receiver who failed. */
struct receiver {
    enum err (*sink)(void *ctx, struct span bytes);
    void *ctx;
    enum err failed;
};

static enum err receiver_take(void *ctx, struct span bytes)
{
    struct receiver *r = ctx;
    r->failed = r->sink(r->ctx, bytes);
    return r->failed;
}

/* Sorts a decoder's error: ours goes back to the caller, the content's into *coding. */
static enum err decoder_failed(const struct receiver *r, enum err e, enum err *coding)
{
    if (r->failed || e == ERR_NOMEM)
        return r->failed ? r->failed : e;
    *coding = e;
    return ERR_OK;
}

enum err tape_content(struct tape *tape, const struct tape_body_ref *ref, struct span encoding,
                      enum err (*sink)(void *ctx, struct span bytes), void *ctx, enum err *coding)
{
    struct receiver r = {sink, ctx, ERR_OK};
    struct tape_body *body = NULL;
    struct coding *decoder = NULL;
    enum err e = ERR_OK;
    *coding = ERR_OK;
    if (!coding_is_identity(encoding) && ref->bytes > 0)
        e = coding_create(&decoder, encoding, receiver_take, &r);
    if (e)
        return decoder_failed(&r, e, coding);
    e = tape_body_open(tape, ref, &body);
    while (!e && !*coding) {
        struct span piece;
        int64_t at_ns;
        e = tape_body_next(body, &piece, &at_ns);
        if (e)
            break;
        if (!decoder)
            e = sink(ctx, piece);
        else if ((e = coding_feed(decoder, piece)) != ERR_OK)
            e = decoder_failed(&r, e, coding);
    }
    if (e == ERR_NOT_FOUND && body) {
        e = ERR_OK;
        if (decoder && (e = coding_end(decoder)) != ERR_OK)
            e = decoder_failed(&r, e, coding);
    }
    tape_body_close(&body);
    coding_destroy(&decoder);
    return e;
}
