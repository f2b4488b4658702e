/* note.h: what the tap writes down for the writer thread: one note an event, in blocks of memory. Internal to record/.
 * A note is its header, a fixed part by kind, and bytes; padded to NOTE_ALIGN. Read and written by memcpy, never by cast. */
#ifndef RINGTAPE_RECORD_NOTE_H
#define RINGTAPE_RECORD_NOTE_H

#include "base/limits.h"
#include "flow/exchange.h"

enum note_kind {
    NOTE_BEGIN,         /* struct note_begin, track */
    NOTE_HEAD,          /* struct note_head, texts, packed fields */
    NOTE_INFORMATIONAL, /* the same */
    NOTE_BODY,          /* struct note_body, bytes */
    NOTE_TRAILERS,      /* struct note_trailers, packed fields */
    NOTE_END,           /* struct note_facts: this side is complete */
    NOTE_ERROR,         /* struct note_error, reason */
    NOTE_DONE,          /* struct note_facts: nothing more comes */
    NOTE_MESSAGE,       /* struct note_message, event, event id, payload */
    NOTE_CONNECTION,    /* struct note_connection, texts, certificate chain */
};

enum { NOTE_ALIGN = 8 };

struct note {
    uint32_t bytes;    /* all of it, padding included */
    uint8_t kind;      /* enum note_kind */
    uint8_t response;  /* 0: request; 1: response */
    uint8_t flow_kind; /* enum flow_kind at this moment */
    uint8_t flag;      /* NOTE_ERROR: the origin gave up and the client is still there */
    uint64_t id;       /* exchange->id or connection->id */
    uint64_t at_ns;    /* monotonic */
};

/* What changes while a flow goes on. */
struct note_facts {
    uint64_t server; /* connection->id; 0 none */
    uint64_t sent_ns;
    uint64_t request_bytes, response_bytes, request_wire_bytes, response_wire_bytes;
    uint64_t reused; /* 0, 1 */
};

struct note_begin {
    uint64_t started_wall_ns, started_ns, client;
    uint64_t track_n;
};

enum { NOTE_HEAD_TEXTS = 5 }; /* request: method, scheme, host, path, version; response: reason, version */

struct note_head {
    struct note_facts facts;
    uint32_t number; /* port or status */
    uint32_t text_n[NOTE_HEAD_TEXTS];
    uint32_t fields; /* how many */
    uint32_t fields_bytes;
    uint32_t unused;
};

struct note_body {
    uint64_t total; /* content bytes of this side so far, this piece and what is not kept included */
    uint64_t n;     /* bytes here */
};

struct note_trailers {
    uint32_t fields, fields_bytes;
};

struct note_error {
    struct note_facts facts;
    uint32_t error; /* enum err */
    uint32_t reason_n;
};

struct note_message {
    uint64_t wire_bytes;
    int64_t retry_ms;
    uint32_t kind; /* enum message_kind */
    uint32_t code, event_n, event_id_n, n;
    uint8_t more, has_event_id, unused[2];
};

enum { NOTE_CONNECTION_TEXTS = 8 }; /* peer, local, host, sni, alpn, tls_version, tls_cipher, reason */

struct note_connection {
    uint64_t opened_wall_ns, opened_ns, dns_ns, connected_ns, tls_ns, closed_ns;
    uint32_t server, port, tls_resumed, error;
    uint32_t text_n[NOTE_CONNECTION_TEXTS];
    uint32_t chain_n, unused;
};

enum {
    NOTE_REASON_BYTES_MAX = 1024,
    NOTE_CHAIN_BYTES_MAX = 65536,
    /* The longest note: a head of LIMIT_HEAD_BYTES, or a chain, and all that is around it. */
    NOTE_BYTES_MAX = 65536 + 8192,
    /* Given to the writer when this much has gathered. */
    BLOCK_FULL_BYTES = 65536,
    BLOCK_BYTES = BLOCK_FULL_BYTES + NOTE_BYTES_MAX,
};

_Static_assert(LIMIT_HEAD_BYTES + LIMIT_HEADERS * 8 + 4096 <= NOTE_BYTES_MAX, "a head fits in a note");
_Static_assert(LIMIT_MESSAGE_BYTES + 2 * NOTE_REASON_BYTES_MAX + 256 <= NOTE_BYTES_MAX,
               "a piece of a message fits in a note");
_Static_assert(LIMIT_TARGET_BYTES <= LIMIT_HEAD_BYTES, "a target is part of a head");

#endif
