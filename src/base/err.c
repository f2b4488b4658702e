/* err.c: the texts of err.h's table, and the translation of errno values. */
#include "base/err.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>

static const struct {
    const char *word, *text;
} err_texts[] = {
#define ERR_TEXT(name, word, sentence) [name] = {word, sentence},
    ERR_TABLE(ERR_TEXT)
#undef ERR_TEXT
};

const char *err_word(enum err e)
{
    assert((unsigned)e < ERR_COUNT);
    return err_texts[e].word;
}

const char *err_text(enum err e)
{
    assert((unsigned)e < ERR_COUNT);
    return err_texts[e].text;
}

enum err err_from_errno(int errno_value)
{
    static const struct {
        int from;
        enum err to;
    } map[] = {
        {ENOMEM, ERR_NOMEM},
        {ECONNREFUSED, ERR_REFUSED},
        {ECONNRESET, ERR_RESET},
        {EPIPE, ERR_RESET},
        {ECONNABORTED, ERR_RESET},
        {ETIMEDOUT, ERR_TIMEOUT},
        {ENETUNREACH, ERR_UNREACHABLE},
        {EHOSTUNREACH, ERR_UNREACHABLE},
        {EADDRNOTAVAIL, ERR_UNREACHABLE},
        {EADDRINUSE, ERR_ADDRESS_IN_USE},
        {EACCES, ERR_PERMISSION},
        {EPERM, ERR_PERMISSION},
        {EMFILE, ERR_NO_FDS},
        {ENFILE, ERR_NO_FDS},
        {ENOSPC, ERR_DISK_FULL},
        {EDQUOT, ERR_DISK_FULL},
        {EEXIST, ERR_EXISTS},
        {ENOENT, ERR_NOT_FOUND},
        {ENOTDIR, ERR_NOT_FOUND},
        {ECANCELED, ERR_CANCELLED},
        {EAGAIN, ERR_AGAIN},
        {EROFS, ERR_PERMISSION},
    };
    if (errno_value == 0)
        return ERR_OK;
    for (size_t i = 0; i < sizeof map / sizeof map[0]; i++)
        if (map[i].from == errno_value)
            return map[i].to;
    return ERR_IO;
}
