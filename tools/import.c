/* import.c: `ringtape import`: HAR files into a new tape. */
#include "tools/command.h"

#include "base/alloc.h"
#include "base/util.h"
#include "har/import.h"
#include "tools/say.h"
#include "tools/signals.h"
#include "tools/tape_input.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct import {
    const char **files; /* at most argc */
    size_t files_n, files_max;
    const char *output;
    bool force;
    struct signals signals;
    int fd;      /* of the file at hand */
    int stopped; /* the signal; 0: none */
};

static enum err import_option(void *ctx, enum option_id id, const char *value, struct buf *problem)
{
    struct import *m = ctx;
    if (id == OPT_FORCE) {
        m->force = true;
        return ERR_OK;
    }
    m->output = value;
    if (*value && strcmp(value, "-") != 0)
        return ERR_OK;
    enum err e = buf_put_str(problem, "a tape is a database and needs a file: -o TAPE");
    return e ? e : ERR_USAGE;
}

static enum err import_operand(void *ctx, const char *text, struct buf *problem)
{
    struct import *m = ctx;
    return tape_input_operand(m->files, &m->files_n, m->files_max, text, problem);
}

static bool is_stdin(const char *file)
{
    return strcmp(file, "-") == 0;
}

/* Waits for bytes or for a signal, whichever comes first: a pipe may say nothing for long. */
static enum err read_file(void *ctx, uint8_t *to, size_t n, size_t *got)
{
    struct import *m = ctx;
    struct signal_event event;
    *got = 0;
    for (;;) {
        struct pollfd fds[] = {{.fd = m->fd, .events = POLLIN}, {.fd = m->signals.fd, .events = POLLIN}};
        if (poll(fds, ARRAY_LEN(fds), -1) < 0 && errno != EINTR)
            return err_from_errno(errno);
        while (fds[1].revents && signals_next(&m->signals, &event))
            if (event.meaning == SIGNAL_STOP) {
                m->stopped = event.number;
                return ERR_CANCELLED;
            }
        if (!fds[0].revents)
            continue;
        ssize_t r = read(m->fd, to, n);
        if (r >= 0) {
            *got = (size_t)r;
            return ERR_OK;
        }
        if (errno != EINTR && errno != EAGAIN)
            return err_from_errno(errno);
    }
}

/* A file without a name, in the tape's folder: there must be room for it there anyway. */
static int open_spool(const char *output)
{
    struct buf name = BUF_INIT;
    const char *slash = strrchr(output, '/');
    struct span folder = slash ? span_of(output, (size_t)(slash - output) + 1) : SPAN("./");
    enum err e = buf_put(&name, folder);
    const char *path = e ? NULL : buf_cstr(&name);
    int fd = path ? open(path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) : -1;
    if (fd < 0 && path && !buf_put_str(&name, ".ringtape-XXXXXX") && buf_cstr(&name)) {
        char *made = mem_strdup(buf_span(&name).p, name.n);
        fd = made ? mkostemp(made, O_CLOEXEC) : -1;
        if (fd >= 0)
            (void)unlink(made);
        mem_free(made);
    }
    buf_free(&name);
    return fd;
}

static void say_mends(const char *file, const struct mends *mends)
{
    for (int left_out = 0; left_out <= 1; left_out++)
        for (size_t i = 0; i < MEND_COUNT; i++) {
            const struct mend *m = &mends->at[i];
            if (m->times == 0 || mend_is_left_out((enum mend_kind)i) != (bool)left_out)
                continue;
            const char *what = left_out ? "left out" : "mended", *sentence = mend_sentence((enum mend_kind)i);
            if (m->entry == 0)
                say("%s: %s: %s (line %llu)", file, what, sentence, (unsigned long long)m->line);
            else
                say("%s: %s: %s (%llu time%s, first in entry %llu, line %llu)", file, what, sentence,
                    (unsigned long long)m->times, m->times == 1 ? "" : "s", (unsigned long long)m->entry,
                    (unsigned long long)m->line);
        }
}

/* What was wrong with a file that could not be read, or with the tape. */
static int say_failure(struct import *m, const char *file, enum err e, bool of_input, struct buf *problem)
{
    if (m->stopped) {
        say("stopped: no tape was made");
        return 128 + m->stopped;
    }
    if (of_input && buf_span(problem).n > 0)
        say("%s: %s", file, say_text(problem));
    else if (of_input && e == ERR_UNSUPPORTED)
        say("%s: a zip file in which no HAR can be read (none there, encrypted, or compressed otherwise)", file);
    else if (of_input)
        say("cannot read %s: %s", file,
            e == ERR_PARSE       ? "its compressed data is damaged"
            : e == ERR_TRUNCATED ? "its compressed data ends early"
                                 : err_text(e));
    else
        say("%s", buf_span(problem).n > 0 ? say_text(problem) : err_text(e));
    return of_input ? EXIT_UNREADABLE : 1;
}

/* One file. False: *code says how it failed. */
static bool take_file(struct import *m, const char *file, struct har_importer *importer, struct tape_writer *writer,
                      uint64_t *flows, int *code)
{
    struct har_source source = {read_file, m};
    struct har_import_result *result = mem_new(1, sizeof *result);
    struct har_inflate *inflate = NULL;
    struct buf problem = BUF_INIT;
    m->fd = is_stdin(file) ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC);
    enum err e = m->fd < 0 ? err_from_errno(errno) : result ? ERR_OK : ERR_NOMEM;
    if (!e)
        e = har_inflate_create(&inflate, &source);
    if (!e)
        e = har_import(importer, har_inflate_source(inflate), result, &problem);
    if (e) {
        bool of_tape = tape_writer_failed(writer) || e == ERR_NOMEM || e == ERR_DISK_FULL;
        if (of_tape && buf_span(&problem).n == 0 && buf_put_str(&problem, tape_writer_problem(writer, e)))
            buf_clear(&problem);
        *code = say_failure(m, is_stdin(file) ? "standard input" : file, e, !of_tape, &problem);
    } else {
        say_mends(is_stdin(file) ? "standard input" : file, &result->mends);
        *flows += result->flows;
    }
    har_inflate_destroy(&inflate);
    if (m->fd > STDIN_FILENO)
        (void)close(m->fd);
    buf_free(&problem);
    mem_free(result);
    return !e;
}

static int import_files(struct import *m, struct tape_writer **writer, int spool)
{
    struct har_importer *importer = NULL;
    struct buf problem = BUF_INIT;
    uint64_t flows = 0;
    int code = 0;
    enum err e = har_importer_create(&importer, *writer, spool);
    if (e) {
        say("%s", err_text(e));
        code = 1;
    }
    for (size_t i = 0; code == 0 && i < m->files_n; i++)
        if (!take_file(m, m->files[i], importer, *writer, &flows, &code))
            break;
    har_importer_destroy(&importer);
    if (code == 0 && (e = tape_writer_close(writer, &problem)) != ERR_OK) {
        say("%s", buf_span(&problem).n > 0 ? say_text(&problem) : err_text(e));
        code = 1;
    }
    tape_writer_abandon(writer);
    if (code == 0)
        say("imported %llu flow%s to %s", (unsigned long long)flows, flows == 1 ? "" : "s", m->output);
    buf_free(&problem);
    return code;
}

static int run(struct import *m)
{
    const struct log log = {.fd = 2, .level = LOG_WARN};
    struct tape_writer *writer = NULL;
    struct tape_writer_options options = {
        .path = m->output, .force = m->force, .whole = true, .version = RINGTAPE_VERSION, .log = &log};
    struct buf problem = BUF_INIT;
    int code = 1, spool = -1;
    if (signals_open(&m->signals, false) != ERR_OK) {
        say("cannot wait for signals");
        return 1;
    }
    enum err e = tape_writer_open(&writer, &options, &problem);
    if (e)
        say("%s", buf_span(&problem).n > 0 ? say_text(&problem) : err_text(e));
    else if ((spool = open_spool(m->output)) < 0)
        say("cannot write beside %s: %s", m->output, err_text(err_from_errno(errno)));
    else
        code = import_files(m, &writer, spool);
    tape_writer_abandon(&writer);
    if (spool >= 0)
        (void)close(spool);
    signals_close(&m->signals);
    buf_free(&problem);
    return code;
}

int import_main(int argc, char **argv)
{
    struct import m = {.files = mem_new((size_t)argc + 1, sizeof(char *)), .files_max = (size_t)argc};
    struct option_sink sink = {import_option, import_operand, &m};
    int code = m.files ? options_read(COMMAND_IMPORT, argc, argv, &sink, NULL) : 1;
    if (code < 0 && (m.files_n == 0 || !m.output)) {
        say(m.files_n == 0 ? "which files? ringtape import FILE... -o TAPE"
                           : "which tape? ringtape import FILE... -o TAPE");
        code = 2;
    }
    if (code < 0)
        code = run(&m);
    mem_free(m.files);
    return code;
}
