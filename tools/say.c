/* say.c: lines on standard error. */
#include "tools/say.h"

#include "base/log.h"

void say(const char *format, ...)
{
    struct log log = {.fd = 2, .level = LOG_INFO};
    struct buf text = BUF_INIT;
    va_list args;
    va_start(args, format);
    enum err e = buf_vprintf(&text, format, args);
    va_end(args);
    log_write(&log, LOG_INFO, "cli", "%s", e ? err_text(e) : say_text(&text));
    buf_free(&text);
}

const char *say_text(struct buf *b)
{
    const char *text = buf_cstr(b);
    return text && *text ? text : "out of memory";
}
