/* turns.c: sums over messages. Invariant: both sides of a comparison, the recorded and the live request, are read by http/grpc.c. */
#include "replay/turns.h"

#include "http/mime.h"

void turns_said_begin(struct turns_said *t, const struct hash_key *hash)
{
    *t = (struct turns_said){.hash = hash};
}

bool turns_said_add(struct turns_said *t, const struct grpc_message *piece)
{
    if (!t->begun)
        hash128_begin(&t->message, t->hash);
    t->begun = !piece->last;
    hash128_add(&t->message, piece->data);
    if (!piece->last)
        return false;
    struct hash128 message = hash128_end(&t->message);
    uint64_t all[4] = {t->sum, message.lo, message.hi, piece->raw};
    t->sum = hash64(t->hash, span_of(all, sizeof all));
    t->messages++;
    return true;
}

bool turns_spoken(const struct headers *fields)
{
    static const char web[] = "application/grpc-web";
    struct span type;
    return headers_find(fields, SPAN("content-type"), &type) && grpc_is(type) &&
           !span_eq_nocase(span_first(mime_essence(type), sizeof web - 1), span_str(web));
}
