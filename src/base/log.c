/* log.c: formats a line, makes it harmless, writes it with one write(2). */
#include "base/log.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/text.h"

#include <errno.h>
#include <unistd.h>

static const char *const log_words[] = {
#define LOG_WORD(name, word) [name] = word,
    LOG_LEVELS(LOG_WORD)
#undef LOG_WORD
};

static enum err log_line_text(struct buf *out, enum log_level level, bool over_status, struct span message)
{
    enum err e = buf_put_str(out, over_status ? "\r\033[Kringtape: " : "ringtape: ");
    if (!e && level <= LOG_WARN)
        e = buf_printf(out, "%s: ", log_words[level]);
    if (!e)
        e = text_escape_terminal(out, message);
    return e;
}

static enum err log_line_json(struct buf *out, enum log_level level, const char *tag, struct span message)
{
    char when[CLOCK_ISO_LEN];
    clock_iso8601(clock_wall_ns(), when);
    enum err e =
        buf_printf(out, "{\"time\":\"%s\",\"level\":\"%s\",\"tag\":\"%s\",\"message\":", when, log_words[level], tag);
    if (!e)
        e = text_json_string(out, message);
    if (!e)
        e = buf_put_byte(out, '}');
    return e;
}

void log_write(const struct log *log, enum log_level level, const char *tag, const char *format, ...)
{
    if (!log || level > log->level)
        return;
    struct buf message = BUF_INIT, line = BUF_INIT;
    va_list args;
    va_start(args, format);
    enum err e = buf_vprintf(&message, format, args);
    va_end(args);
    if (!e)
        e = log->json ? log_line_json(&line, level, tag, buf_span(&message))
                      : log_line_text(&line, level, log->over_status, buf_span(&message));
    if (!e)
        e = buf_put_byte(&line, '\n');
    if (!e) {
        struct span s = buf_span(&line);
        ssize_t n;
        do
            n = write(log->fd, s.p, s.n);
        while (n < 0 && errno == EINTR);
    }
    buf_free(&message);
    buf_free(&line);
}
