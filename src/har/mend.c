/* mend.c: the table's words. */
#include "har/mend.h"

static const struct {
    bool left_out;
    const char *sentence;
} table[] = {
#define MEND_ROW(name, left_out, sentence) [name] = {left_out, sentence},
    MEND_TABLE(MEND_ROW)
#undef MEND_ROW
};

const char *mend_sentence(enum mend_kind kind)
{
    return table[kind].sentence;
}

bool mend_is_left_out(enum mend_kind kind)
{
    return table[kind].left_out;
}
