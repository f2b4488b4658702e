/* version.c: `ringtape --version`. */
#include "tools/command.h"

#include "http/versions.h"
#include "ring/loop.h"
#include "tape/tape.h"
#include "tls/tls.h"
#include "tools/output.h"
#include "tools/say.h"

int version_main(void)
{
    struct buf text = BUF_INIT, problem = BUF_INIT;
    enum err e =
        buf_printf(&text, "ringtape %s\nwolfSSL %s\nSQLite %s\nnghttp2 %s\nllhttp %s\nliburing %s\nevent backend: %s\n",
                   RINGTAPE_VERSION, tls_library_version(), tape_library_version(), http_nghttp2_version(),
                   http_llhttp_version(), loop_library_version(),
                   loop_io_uring_usable() ? "io_uring" : "epoll (io_uring is refused here)");
    if (!e)
        e = output_stdout(buf_span(&text), &problem);
    if (e)
        say("%s", buf_span(&problem).n > 0 ? say_text(&problem) : err_text(e));
    buf_free(&problem);
    buf_free(&text);
    return e ? 1 : 0;
}
