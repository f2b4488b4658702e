/* stream.h: a connected TCP socket on a loop. Received bytes come as borrowed spans straight from the loop's buffers; sent
 * bytes are copied once into the stream's send queue, and all that one turn queued goes to the kernel in one send. */
#ifndef RINGTAPE_RING_STREAM_H
#define RINGTAPE_RING_STREAM_H

#include "base/span.h"
#include "ring/loop.h"

#include <sys/socket.h>

struct stream;

/* All run from the loop. Any of them may call stream_close() on the stream itself (then nothing more is called for it). */
struct stream_events {
    void (*data)(void *ctx, struct span in); /* `in` dies on return; never empty */
    void (*eof)(void *ctx);                  /* the peer sent FIN: no more data; sending still works */
    void (*drained)(void *ctx);              /* the queue fell to LIMIT_SEND_LOW after it had reached LIMIT_SEND_HIGH */
    void (*failed)(void *ctx, enum err why); /* reset and the like: only stream_close() is valid now */
};

/* Takes the connected descriptor (closed on failure too), sets TCP_NODELAY, starts reading. `events` must outlive the stream.
 * Fails with ERR_NOMEM, ERR_IO. */
MUST_USE enum err stream_open(struct stream **out, struct loop *loop, int fd, const struct stream_events *events,
                              void *ctx);

/* Other callbacks from now on (a connection that changes its owner). */
void stream_set_events(struct stream *s, const struct stream_events *events, void *ctx);

/* Queues a copy. Never refuses for size: the caller asks stream_full() and pauses its source. Bytes for a stream that has failed
 * are dropped. Fails with ERR_NOMEM. */
MUST_USE enum err stream_send(struct stream *s, struct span bytes);

/* Bytes not yet taken by the kernel. */
size_t stream_queued(const struct stream *s);

/* Queued bytes have reached LIMIT_SEND_HIGH; `drained` will be called. */
bool stream_full(const struct stream *s);

/* After stream_pause() returns no `data` and no `eof` is called until stream_resume(); what had already been received is
 * delivered then, in order, from the loop. */
void stream_pause(struct stream *s);
void stream_resume(struct stream *s);

/* FIN once all that is queued has gone. Receiving goes on. */
void stream_shutdown(struct stream *s);

enum stream_close_how {
    STREAM_FLUSH, /* sends what is queued first (at most LIMIT_FLUSH_MS without progress), then FIN and close, lingering so that the peer gets it all */
    STREAM_ABORT, /* at once; RST if anything is unsent or unread */
};

/* Ends it and clears *closing (may be NULL). No callback comes after this; the memory goes when the kernel has let go. */
void stream_close(struct stream **closing, enum stream_close_how how);

/* Streams that were closed with STREAM_FLUSH and still hold bytes that the kernel has not taken. */
size_t stream_count_flushing(const struct loop *loop);

/* Streams that were closed and whose descriptors are still in use. */
size_t stream_count_closing(const struct loop *loop);

/* Addresses of both ends. False when the kernel does not know any more. */
bool stream_peer(const struct stream *s, struct sockaddr_storage *out);
bool stream_local(const struct stream *s, struct sockaddr_storage *out);

#endif
