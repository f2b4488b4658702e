/* suggest.c: optimal string alignment distance over short words. */
#include "tools/suggest.h"

#include "base/util.h"

#include <string.h>

enum { WORD_MAX_LEN = 64 };

size_t suggest_distance(const char *a, const char *b)
{
    size_t rows[3][WORD_MAX_LEN + 1];
    size_t na = strnlen(a, WORD_MAX_LEN), nb = strnlen(b, WORD_MAX_LEN);
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= nb; j++)
        last[j] = before[j] = j;
    for (size_t i = 1; i <= na; i++) {
        now[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t change = last[j - 1] + (a[i - 1] != b[j - 1]);
            now[j] = MIN(change, MIN(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = MIN(now[j], before[j - 2] + 1);
        }
        size_t *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[nb];
}

const char *suggest_nearest(const char *word, const char *const *candidates, size_t n)
{
    size_t length = strlen(word);
    size_t best = length <= 3 ? 2 : length / 3 + 2; /* what is this far off was not meant */
    const char *nearest = NULL;
    for (size_t i = 0; i < n; i++) {
        size_t d = suggest_distance(word, candidates[i]);
        if (length >= 3 && strncmp(word, candidates[i], length) == 0)
            d = 1; /* its beginning */
        if (d < best) {
            best = d;
            nearest = candidates[i];
        }
    }
    return nearest;
}
