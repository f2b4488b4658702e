/* output.c: a small buffered writer over write(2). Whoever writes ignores SIGPIPE from then on, so that a closed pipe is an error like
 * any other; where CMD is to be started, signals_open() has done so before, and CMD gets the signal as it was. */
#include "tools/output.h"

#include "base/alloc.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OUTPUT_BUFFER_BYTES = 65536, OUTPUT_SUFFIX_LEN = 8 };

struct output {
    int fd;
    char *path;      /* NULL: standard output */
    char *temporary; /* NULL: written directly */
    enum err error;  /* the first one */
    int errno_value; /* of opening, closing or renaming it; 0: none */
    struct buf pending;
};

static enum err write_all(int fd, struct span bytes)
{
    signal(SIGPIPE, SIG_IGN);
    while (bytes.n > 0) {
        ssize_t n = write(fd, bytes.p, bytes.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EPIPE ? ERR_CLOSED : err_from_errno(errno);
        bytes = span_from(bytes, (size_t)n);
    }
    return ERR_OK;
}

/* With the system's own words, which tell a folder that is missing from a file that is a folder. */
static void explain(struct buf *problem, const char *path, enum err e, int errno_value)
{
    if (buf_printf(problem, "cannot write %s: %s", path ? path : "standard output",
                   errno_value ? strerror(errno_value) : err_text(e)))
        buf_clear(problem);
}

/* Keeps errno for the sentence. */
static enum err failed(struct output *o)
{
    o->errno_value = errno;
    return err_from_errno(errno);
}

/* A symbolic link stays one: the new file takes the place of what it points to (/dev/stdout, where that is a file). */
static enum err follow_link(struct output *o)
{
    struct stat st;
    char *target = lstat(o->path, &st) == 0 && S_ISLNK(st.st_mode) ? realpath(o->path, NULL) : NULL;
    if (!target)
        return ERR_OK;
    mem_free(o->path);
    o->path = mem_strdup(target, strlen(target));
    free(target);
    return o->path ? ERR_OK : ERR_NOMEM;
}

static enum err open_file(struct output *o, unsigned mode)
{
    struct stat st;
    if (stat(o->path, &st) == 0 && !S_ISREG(st.st_mode)) {
        o->fd = open(o->path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
        return o->fd < 0 ? failed(o) : ERR_OK;
    }
    enum err e = follow_link(o);
    if (e)
        return e;
    size_t n = strlen(o->path);
    o->temporary = mem_new(n + OUTPUT_SUFFIX_LEN + 1, 1);
    if (!o->temporary)
        return ERR_NOMEM;
    snprintf(o->temporary, n + OUTPUT_SUFFIX_LEN + 1, "%s.XXXXXX", o->path);
    o->fd = mkostemp(o->temporary, O_CLOEXEC);
    if (o->fd < 0) {
        e = failed(o);
        mem_free(o->temporary);
        o->temporary = NULL;
        return e;
    }
    mode_t mask = umask(0);
    umask(mask);
    return fchmod(o->fd, (mode_t)mode & ~mask) < 0 ? failed(o) : ERR_OK;
}

enum err output_open(struct output **out, const char *path, unsigned mode, struct buf *problem)
{
    *out = NULL;
    struct output *o = mem_new(1, sizeof *o);
    if (!o)
        return ERR_NOMEM;
    o->fd = STDOUT_FILENO;
    enum err e = ERR_OK;
    if (path && strcmp(path, "-") != 0) {
        o->fd = -1;
        o->path = mem_strdup(path, strlen(path));
        e = o->path ? open_file(o, mode) : ERR_NOMEM;
    }
    if (e) {
        explain(problem, path, e, o->errno_value);
        output_discard(&o);
        return e;
    }
    *out = o;
    return ERR_OK;
}

int output_fd(const struct output *o)
{
    return o->fd;
}

static enum err flush(struct output *o)
{
    if (!o->error)
        o->error = write_all(o->fd, buf_span(&o->pending));
    buf_clear(&o->pending);
    return o->error;
}

enum err output_put(struct output *o, struct span bytes)
{
    if (o->error)
        return o->error;
    if (bytes.n >= OUTPUT_BUFFER_BYTES) {
        if (flush(o))
            return o->error;
        return o->error = write_all(o->fd, bytes);
    }
    o->error = buf_put(&o->pending, bytes);
    return o->error || buf_span(&o->pending).n < OUTPUT_BUFFER_BYTES ? o->error : flush(o);
}

enum err output_put_foreign(struct output *o, struct span bytes)
{
    if (!isatty(o->fd))
        return output_put(o, bytes);
    struct buf safe = BUF_INIT;
    enum err e = ERR_OK;
    while (!e && bytes.n > 0) {
        size_t n = span_find(bytes, '\n'), line = n;
        bool ends = n < bytes.n;
        if (ends && n > 0 && bytes.p[n - 1] == '\r')
            line--;
        e = text_escape_terminal(&safe, span_first(bytes, line));
        if (!e && ends)
            e = buf_put(&safe, span_of(bytes.p + line, n + 1 - line));
        bytes = span_from(bytes, n + ends);
    }
    if (!e)
        e = output_put(o, buf_span(&safe));
    buf_free(&safe);
    return e;
}

enum err output_commit(struct output **out, struct buf *problem)
{
    struct output *o = *out;
    enum err e = flush(o);
    /* A full disk may show at close only (NFS), so before the file takes its name. */
    if (!e && o->temporary) {
        int fd = o->fd;
        o->fd = -1;
        if (close(fd) < 0)
            e = failed(o);
    }
    if (!e && o->temporary) {
        if (rename(o->temporary, o->path) < 0) {
            e = failed(o);
        } else {
            mem_free(o->temporary);
            o->temporary = NULL;
        }
    }
    if (e)
        explain(problem, o->path, e, o->errno_value);
    output_discard(out);
    return e;
}

void output_discard(struct output **out)
{
    struct output *o = *out;
    if (!o)
        return;
    if (o->path && o->fd >= 0)
        close(o->fd);
    if (o->temporary)
        unlink(o->temporary);
    mem_free(o->temporary);
    mem_free(o->path);
    buf_free(&o->pending);
    mem_free(o);
    *out = NULL;
}

enum err output_probe(const char *path, struct buf *problem)
{
    struct stat st;
    if (strcmp(path, "-") == 0)
        return ERR_OK;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
        if (access(path, W_OK) == 0) /* not opened: a pipe's reader would see it end */
            return ERR_OK;
        explain(problem, path, err_from_errno(errno), errno);
        return ERR_PERMISSION;
    }
    struct output *o;
    enum err e = output_open(&o, path, 0600, problem);
    if (!e)
        output_discard(&o);
    return e;
}

enum err output_file(const char *path, unsigned mode, struct span bytes, struct buf *problem)
{
    struct output *o;
    enum err e = output_open(&o, path, mode, problem);
    if (e)
        return e;
    enum err put = output_put(o, bytes);
    e = output_commit(&o, problem); /* explains a failed put, too */
    return e ? e : put;
}

enum err output_stdout(struct span bytes, struct buf *problem)
{
    enum err e = write_all(STDOUT_FILENO, bytes);
    if (e == ERR_CLOSED)
        return ERR_OK;
    if (e)
        explain(problem, NULL, e, 0);
    return e;
}

enum err input_file(const char *path, size_t max, struct buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return err_from_errno(errno);
    struct stat st;
    enum err e = fstat(fd, &st) < 0 ? err_from_errno(errno) : S_ISREG(st.st_mode) ? ERR_OK : ERR_CONFIG;
    size_t total = 0;
    while (!e) {
        uint8_t *at;
        e = buf_reserve(out, 16384, &at);
        ssize_t n = e ? 0 : read(fd, at, 16384);
        if (n < 0 && errno != EINTR)
            e = err_from_errno(errno);
        if (e || n == 0)
            break;
        buf_commit(out, n > 0 ? (size_t)n : 0);
        total += n > 0 ? (size_t)n : 0;
        if (total > max)
            e = ERR_LIMIT;
    }
    close(fd);
    return e;
}

bool output_colours(int fd)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(fd) && !(no && *no) && !(term && strcmp(term, "dumb") == 0);
}
