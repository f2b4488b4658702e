/* err.h: every way in which a call can fail, one table.
 * What the peer, the kernel, the disk or the memory may do is an `enum err`; our own bugs are asserts. */
#ifndef RINGTAPE_BASE_ERR_H
#define RINGTAPE_BASE_ERR_H

#define MUST_USE __attribute__((warn_unused_result))

/* name, word (stable: it is written to tapes and reports), sentence */
#define ERR_TABLE(X)                                                                                                   \
    X(ERR_OK, "ok", "no error")                                                                                        \
    X(ERR_NOMEM, "no-memory", "out of memory")                                                                         \
    X(ERR_LIMIT, "limit", "a limit was reached")                                                                       \
    X(ERR_PARSE, "parse", "malformed input")                                                                           \
    X(ERR_AMBIGUOUS, "ambiguous-framing", "message framing that two parsers could read differently")                   \
    X(ERR_UNSUPPORTED, "unsupported", "not supported")                                                                 \
    X(ERR_USAGE, "usage", "wrong usage")                                                                               \
    X(ERR_CONFIG, "config", "unusable setting or file")                                                                \
    X(ERR_IO, "io", "input/output error")                                                                              \
    X(ERR_CLOSED, "closed", "the peer closed the connection")                                                          \
    X(ERR_TRUNCATED, "truncated", "the peer closed the connection before the message ended")                           \
    X(ERR_RESET, "reset", "the peer reset the connection")                                                             \
    X(ERR_REFUSED, "refused", "connection refused")                                                                    \
    X(ERR_UNREACHABLE, "unreachable", "host or network unreachable")                                                   \
    X(ERR_TIMEOUT, "timeout", "timed out")                                                                             \
    X(ERR_RESOLVE, "resolve", "host name not found")                                                                   \
    X(ERR_CANCELLED, "cancelled", "cancelled")                                                                         \
    X(ERR_AGAIN, "again", "not ready; try again")                                                                      \
    X(ERR_EXISTS, "exists", "already exists")                                                                          \
    X(ERR_NOT_FOUND, "not-found", "not found")                                                                         \
    X(ERR_PERMISSION, "permission", "permission denied")                                                               \
    X(ERR_ADDRESS_IN_USE, "address-in-use", "address already in use")                                                  \
    X(ERR_NO_FDS, "no-fds", "too many open files")                                                                     \
    X(ERR_TLS, "tls", "TLS failure")                                                                                   \
    X(ERR_TLS_ALERT, "tls-alert", "the peer refused the TLS handshake")                                                \
    X(ERR_TLS_VERIFY, "tls-verify", "the certificate was not accepted")                                                \
    X(ERR_LOOP, "loop", "the request would loop back into this proxy")                                                 \
    X(ERR_DB, "database", "database error")                                                                            \
    X(ERR_DISK_FULL, "disk-full", "no space left on the device")                                                       \
    X(ERR_NOT_TAPE, "not-a-tape", "the file is not a tape")                                                            \
    X(ERR_TAPE_NEWER, "tape-newer", "the tape was made by a newer ringtape")                                           \
    X(ERR_CORRUPT, "corrupt", "the file is damaged")                                                                   \
    X(ERR_MISS, "miss", "no recording matches")                                                                        \
    X(ERR_SHUTDOWN, "shutdown", "ringtape is stopping")

enum err {
#define ERR_ENUM(name, word, sentence) name,
    ERR_TABLE(ERR_ENUM)
#undef ERR_ENUM
        ERR_COUNT
};

/* The stable word, as written to tapes. Static. */
const char *err_word(enum err e);

/* A sentence fragment for people. Static. */
const char *err_text(enum err e);

/* Translates an errno value (positive). Unknown values give ERR_IO. */
enum err err_from_errno(int errno_value);

#endif
