/* tape_input.c: opening tapes for reading, and telling what went wrong. */
#include "tools/tape_input.h"

#include "tools/say.h"

bool tape_input_open(struct tape **out, const char *path, int *code)
{
    struct buf problem = BUF_INIT;
    enum err e = tape_open(out, path, &problem);
    if (e) {
        if (buf_span(&problem).n > 0)
            say("%s", say_text(&problem));
        else
            say("cannot read %s: %s", path, err_text(e));
        *code = EXIT_UNREADABLE;
    }
    buf_free(&problem);
    return !e;
}

int tape_input_failed(const struct tape *tape, enum err e, struct buf *problem)
{
    if (e == ERR_CLOSED)
        return 0;
    bool tape_failed = e == ERR_DB || e == ERR_CORRUPT;
    if (problem && buf_span(problem).n > 0)
        say("%s", say_text(problem));
    else if (tape_failed)
        say("%s: %s: %s", tape_path(tape), err_text(e), tape_problem(tape));
    else
        say("%s", err_text(e));
    return tape_failed ? EXIT_UNREADABLE : 1;
}

enum err tape_input_operand(const char **words, size_t *n, size_t max, const char *text, struct buf *problem)
{
    if (*n < max) {
        words[(*n)++] = text;
        return ERR_OK;
    }
    enum err e = buf_printf(problem, "'%s' is one word too many", text);
    return e ? e : ERR_USAGE;
}
