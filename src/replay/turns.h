/* turns.h: a gRPC request by its messages, as they come. What was said so far amounts to one number, so that a call in turns, whose request does not end
 * before it was answered, can be looked up among the recordings that began so. How DATA was cut does not count, nor does compression. */
#ifndef RINGTAPE_REPLAY_TURNS_H
#define RINGTAPE_REPLAY_TURNS_H

#include "base/hash.h"
#include "http/grpc.h"

/* Embedded. */
struct turns_said {
    const struct hash_key *hash;
    struct hash128_state message; /* the one under way */
    bool begun;
    uint64_t messages; /* whole ones */
    uint64_t sum;      /* stands for these, in their order; 0: for none */
};

void turns_said_begin(struct turns_said *t, const struct hash_key *hash);
/* True: the message ends with this piece. */
bool turns_said_add(struct turns_said *t, const struct grpc_message *piece);

/* Is a request with these fields gRPC proper? A gRPC-Web client says all before it listens. */
bool turns_spoken(const struct headers *fields);

#endif
