/* log.h: what ringtape says on standard error. One line a call, prefixed "ringtape: ", or one JSON object with
 * --log-json. Text from the wire is escaped: a log line never carries control bytes. Secrets (header values, bodies,
 * credentials in URLs) are never passed to it. Thread-safe: each line is one write(2). */
#ifndef RINGTAPE_BASE_LOG_H
#define RINGTAPE_BASE_LOG_H

#include <stdbool.h>

#define LOG_LEVELS(X)                                                                                                  \
    X(LOG_ERROR, "error")                                                                                              \
    X(LOG_WARN, "warning")                                                                                             \
    X(LOG_INFO, "info")                                                                                                \
    X(LOG_DEBUG, "debug")

enum log_level {
#define LOG_ENUM(name, word) name,
    LOG_LEVELS(LOG_ENUM)
#undef LOG_ENUM
};

struct log {
    int fd;
    enum log_level level; /* what is more talkative than this is dropped */
    bool json;
    bool over_status; /* a status line may stand on the terminal: each line takes its place */
};

/* `log` may be NULL: nothing is written. `tag` is a short static word such as "tls". */
void log_write(const struct log *log, enum log_level level, const char *tag, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
