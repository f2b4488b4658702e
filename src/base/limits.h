/* limits.h: every bound of the program, in one table. A limit gives backpressure or a clear error on that flow. */
#ifndef RINGTAPE_BASE_LIMITS_H
#define RINGTAPE_BASE_LIMITS_H

/* name, value, what it bounds */
#define LIMIT_TABLE(X)                                                                                                 \
    X(LIMIT_HEAD_BYTES, 65536, "bytes of one message head (start line and fields), and of one trailer block")          \
    X(LIMIT_INFORMATIONAL_BYTES, 65536, "bytes of all 1xx responses to one request")                                   \
    X(LIMIT_HEADERS, 256, "fields in one message head")                                                                \
    X(LIMIT_TARGET_BYTES, 32768, "bytes of a request target")                                                          \
    X(LIMIT_METHOD_BYTES, 64, "bytes of a request method")                                                             \
    X(LIMIT_CHUNK_EXTENSION_BYTES, 4096, "bytes of the extensions of one chunk (RFC 9112, section 7.1.1)")             \
    X(LIMIT_CODINGS, 4, "content codings applied one after the other")                                                 \
    X(LIMIT_H2_STREAMS, 100, "streams of one HTTP/2 client at once (RFC 9113, section 5.1.2)")                         \
    X(LIMIT_H2_STREAM_WINDOW, 262144, "bytes that an HTTP/2 peer may send on one stream before they were taken")       \
    X(LIMIT_H2_WINDOW, 4194304, "the same on all streams of one connection")                                           \
    X(LIMIT_H2_BLOCK_BYTES, 1048576, "bytes that an HTTP/2 header block may unpack to before the connection ends")     \
    X(LIMIT_H2_CONTINUATIONS, 64, "CONTINUATION frames of one header block, or pieces of them that come one by one")   \
    X(LIMIT_H2_IDLE_FRAMES, 4096, "HTTP/2 frames in a row that move no message: more are a flood")                     \
    X(LIMIT_H2_TINY_FRAMES, 16384, "HTTP/2 DATA frames of three bytes or fewer: more are a flood")                     \
    X(LIMIT_H2_RESETS, 500, "streams that an HTTP/2 client began and reset, more than it let end (CVE-2023-44487)")    \
    X(LIMIT_H2_CALM_MS, 10000, "how long such a count goes on before it begins anew")                                  \
    X(LIMIT_H2_ACKS, 128, "answers to PING and SETTINGS that wait to be sent")                                         \
    X(LIMIT_RECV_BUFFERS, 256, "receive buffers of one loop")                                                          \
    X(LIMIT_RECV_BUFFER_BYTES, 16384, "bytes of one receive buffer")                                                   \
    X(LIMIT_SEND_HIGH, 262144, "bytes queued to one socket above which its source is paused")                          \
    X(LIMIT_SEND_LOW, 65536, "bytes queued to one socket below which its source goes on")                              \
    X(LIMIT_SEND_BLOCK_BYTES, 17408, "bytes of one block of a send queue: a receive buffer and its TLS framing fit")   \
    X(LIMIT_SEND_BLOCKS_SPARE, 128, "unused send blocks kept by one loop")                                             \
    X(LIMIT_ACCEPT_RETRY_MS, 100, "delay before accepting is tried again when descriptors have run out")               \
    X(LIMIT_DIAL_ADDRESSES, 16, "addresses of one name that are tried")                                                \
    X(LIMIT_CONNECTIONS, 16384, "client connections of one process")                                                   \
    X(LIMIT_FD_RESERVE, 64, "descriptors kept back for files and the resolver")                                        \
    X(LIMIT_POOL_TOTAL, 512, "idle upstream connections kept by one worker")                                           \
    X(LIMIT_POOL_IDLE_MS, 30000, "how long an idle upstream connection is kept")                                       \
    X(LIMIT_CLIENT_IDLE_MS, 300000, "how long a client connection may be idle between requests")                       \
    X(LIMIT_HEAD_MS, 30000, "how long a client may take for one request head or TLS handshake")                        \
    X(LIMIT_STALL_MS, 600000, "how long a flow may stand still before it ends with an error")                          \
    X(LIMIT_CONNECT_MS, 15000, "resolving and connecting to an origin, all addresses together")                        \
    X(LIMIT_CONNECT_STAGGER_MS, 250, "delay between connection attempts (RFC 8305, section 5)")                        \
    X(LIMIT_TLS_HANDSHAKE_MS, 15000, "TLS handshake with an origin")                                                   \
    X(LIMIT_SETTINGS_MS, 1000,                                                                                         \
      "how long the SETTINGS of an origin that chose HTTP/2 are waited for before its client's handshake goes on")     \
    X(LIMIT_SNIFF_MS, 2000, "how long a silent client after CONNECT is waited for before bytes are tunnelled")         \
    X(LIMIT_SILENT_REFUSAL_MS, 1000,                                                                                   \
      "how soon after the TLS handshake a client that sends nothing leaves because of it")                             \
    X(LIMIT_SILENT_REFUSALS, 3, "times that a client leaves so before its host is passed without interception")        \
    X(LIMIT_AUTO_PASS, 1024, "hosts remembered whose clients took, or refused, our certificate")                       \
    X(LIMIT_SHUTDOWN_MS, 3000, "finishing what is in flight after SIGINT or SIGTERM; and waiting for a peer's FIN")    \
    X(LIMIT_FLUSH_MS, 60000, "how long the last bytes for a peer may stand still after its connection was closed")     \
    X(LIMIT_RESOLVER_THREADS, 2, "threads that run getaddrinfo")                                                       \
    X(LIMIT_RESOLVER_CACHE_MS, 10000, "how long a resolved address is kept")                                           \
    X(LIMIT_RESOLVER_CACHE, 1024, "names kept by the resolver")                                                        \
    X(LIMIT_LEAVES, 1024, "leaf certificates kept")                                                                    \
    X(LIMIT_TLS_SESSIONS, 1024, "upstream TLS sessions kept for resumption")                                           \
    X(LIMIT_CLIENT_HELLO_BYTES, 65536, "bytes of a ClientHello")                                                       \
    X(LIMIT_QUEUE_BYTES, 33554432, "bytes in the recorder's queue")                                                    \
    X(LIMIT_INLINE_BODY_BYTES, 16384, "largest body kept in one piece while a flow is in progress")                    \
    X(LIMIT_CHUNK_BYTES, 65536, "bytes of one body chunk on the tape")                                                 \
    X(LIMIT_MESSAGE_BYTES, 65536, "bytes of one row of a WebSocket, gRPC or event-stream message; longer ones go on")  \
    X(LIMIT_EVENT_FIELD_BYTES, 4096, "bytes kept of the type and of the id of an event of an event stream")            \
    X(LIMIT_COMMIT_MS, 250, "longest time between commits")                                                            \
    X(LIMIT_COMMIT_FLOWS, 1000, "flows in one commit")                                                                 \
    X(LIMIT_COMMIT_BYTES, 8388608, "bytes in one commit")                                                              \
    X(LIMIT_DEDUP_ENTRIES, 65536, "contents remembered for storing equal ones once")                                   \
    X(LIMIT_DECODE_BYTES, 268435456, "bytes that one content decodes to")                                              \
    X(LIMIT_DECODE_RATIO, 2000, "how many times its size one content may decode to")                                   \
    X(LIMIT_WS_RATIO, 250, "the same of one WebSocket message, once it is larger than LIMIT_DECODE_BYTES")             \
    X(LIMIT_EXPORT_KEEP_BYTES, 1048576,                                                                                \
      "decoded bytes of a body that an export keeps from its first look to its second")                                \
    X(LIMIT_HAR_ENTRY_BYTES, 16777216, "memory that one entry of an imported HAR may take, its contents not included") \
    X(LIMIT_FILTER_WINDOW_BYTES, 1048576, "bytes of a body that a filter searches in one piece")                       \
    X(LIMIT_FILTER_OVERLAP_BYTES, 65536, "bytes that two such pieces have in common")                                  \
    X(LIMIT_FILTER_BYTES, 65536, "bytes of a filter expression")                                                       \
    X(LIMIT_FILTER_DEPTH, 64, "parentheses and negations within each other in a filter expression")                    \
    X(LIMIT_NEAREST, 3, "recordings named for a miss")                                                                 \
    X(LIMIT_NEAREST_SEARCH, 2000, "recordings looked at to find the nearest ones")                                     \
    X(LIMIT_REPLAY_KEY_BODY_BYTES, 16777216, "request body bytes that replay compares")                                \
    X(LIMIT_REPLAY_MISSES, 1000, "misses that replay keeps for its report")                                            \
    X(LIMIT_REPLAY_MISS_BYTES, 8388608, "bytes of those misses")                                                       \
    X(LIMIT_REPLAY_TRACKS, 4096, "tracks that replay tells apart")                                                     \
    X(LIMIT_REPLAY_DIFFERENCES, 16, "differences shown for one near miss")                                             \
    X(LIMIT_REPLAY_VALUE_BYTES, 200, "bytes shown of one value that differs")                                          \
    X(LIMIT_REPLAY_COMPARE_BYTES, 4194304,                                                                             \
      "bytes of bodies that are compared field by field to find the nearest, after the first near miss")               \
    X(LIMIT_REPLAY_TURN_MS, 100, "how long a gRPC client is silent before it is taken to wait for an answer")          \
    X(LIMIT_REPLAY_TURN_MESSAGES, 16, "messages of a gRPC request by which recordings are told apart before its end")  \
    X(LIMIT_REPLAY_CANDIDATES, 24, "near misses that are read from the tape to find the nearest")

enum limit {
#define LIMIT_ENUM(name, value, what) name = (value),
    LIMIT_TABLE(LIMIT_ENUM)
#undef LIMIT_ENUM
};

#endif
